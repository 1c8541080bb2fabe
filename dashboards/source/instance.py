"""One exporter: the questions of the person who was paged, from top to bottom."""

from source.blocks import (
    BAD, BELOW_ALL, COLORED, EXPIRY_LEVELS, FLEET_UID, GOOD, INSTANCE_UID, KINDS, NEUTRAL, SDK_REFUSES_BELOW, SERIES,
    SKEW_LEVELS, STEPS, WARN, annotation, bars, dashboard, graph, heatmap, layout, levels, m, override, quantile, query,
    rate, remaining, rows, runbook, slower_than_1_s, stat, steps, stuck, table, timeline, to_dashboard, to_page,
    variables, words,
)

FINE_OR_FAILING = words({0: ("FAILING", BAD), 1: ("fine", GOOD)})
USABLE = words({0: ("no credentials", BAD), 1: ("usable", GOOD)})
CREATED = words({
    "now": "now",
    "before_outage": "while credentials were there",
    "at_start": "when the exporter started",
})

UP = m("imds_up")
# The state in force began with the last success, the end of the last outage, or the exporter's own start.
SINCE = f"""
    time() - (
      ({m('imds_fetch_last_success_timestamp_seconds')} and {UP} == 0)
      or ({m('imds_outage_last_end_timestamp_seconds')} and {UP} == 1)
      or ({m('process_start_time_seconds')} and {UP})
    )
"""

NOW = [
    stat("IMDS", "Whether the last finished poll returned credentials. *No data*: the exporter is not scraped, or no "
         "poll has ended yet.", UP, mappings=FINE_OR_FAILING, no_value="no data", links=[runbook()]),
    stat("For", "How long the state beside has lasted: since the last success while failing; since the end of the last "
         "outage, or the start of the exporter, while fine.", SINCE, unit="dtdurations", decimals=1, background=False,
         no_value="no data"),
    stat("Expires in", "Time to the `Expiration` of the last document seen. Kept while polls fail; negative once past. "
         "From 15 minutes on boto3 refuses to sign when it cannot refresh.", remaining(), unit="dtdurations",
         decimals=1, thresholds=EXPIRY_LEVELS, no_value="no credentials seen",
         links=[runbook(anchor="ImdsCredentialsExpired")]),
    stat("Failure in force", "The kind of the last failure and the request that met it. The link opens the exporter's "
         "own runbook at this kind.", m("imds_failure_active"), "{{kind}} ({{step}})", text="name", unit="short",
         no_value="none", thresholds=levels((1, BAD)),
         links=[runbook(anchor="${__field.labels.kind}", title="What ${__field.labels.kind} means and what to do")]),
    stat("Stuck clients", "IMDS answers, but boto3 clients that were created when the exporter started hold no "
         "credentials and never will: only creating them again, or a restart of the workload, cures them.", stuck(),
         mappings=words({0: ("no", GOOD), 1: ("STUCK: restart the workload", BAD)}),
         no_value="no data", links=[runbook(anchor="ImdsClientsStuck")]),
    stat("Role", "The role in force. *None*: IMDS itself says that no role is attached.", m("imds_role_info"),
         "{{role}}", text="name", unit="short", background=False, no_value="none",
         thresholds=levels((0, GOOD))),
    timeline("State over time", "Would a poll, and would boto3 clients, have had credentials at that time? "
             "`created` tells when the client was created.", [
                 query(UP, "IMDS {{instance}}"),
                 query(m("imds_client_usable"), "client created {{created}} {{instance}}"),
             ], mappings=USABLE, no_value="no data", height=7),
]

EXPIRY = [
    graph("Time to expiry", "The saw-tooth: a new document lifts it, an outage lets it run down. The line stands at 15 "
          "minutes: from there on boto3 clients fail when they cannot refresh.", [query(remaining(), "{{instance}}")],
          width=16, unit="s", line_at=SDK_REFUSES_BELOW, fill=10,
          thresholds=steps((None, BAD), (SDK_REFUSES_BELOW, "transparent"))),
    graph("Rotations", "New documents seen, and changes of the role's name.", [
        query(rate("imds_credentials_rotations_total", function="increase"), "new document {{instance}}"),
        query(rate("imds_role_changes_total", function="increase"), "role changed {{instance}}"),
    ], width=8, unit="short", bars=True, min=0, colors={"^new": GOOD, "^role": WARN}),
    stat("Document's age", "Since `LastUpdated` of the last document seen. IMDS renews well before expiry; an age near "
         "the whole lifetime means that it does not.",
         f"time() - {m('imds_credentials_last_updated_timestamp_seconds')}", width=8, unit="dtdurations", decimals=1,
         background=False, no_value="no credentials seen"),
    stat("Expires at", "`Expiration` of the last document seen.",
         f"{m('imds_credentials_expiration_timestamp_seconds')} * 1000", width=8, unit="dateTimeAsIso",
         background=False, no_value="no credentials seen"),
    stat("Expected role", "Whether the role in force is the configured one.", m("imds_role_expected"), width=8,
         mappings=words({0: ("ANOTHER ROLE", BAD), 1: ("yes", GOOD)}),
         no_value="none configured", links=[runbook(anchor="ImdsUnexpectedRole")]),
]

FAILURES = [
    timeline("Failures", "Which failure each poll met, and in which request. Empty while all is fine.",
             [query(m("imds_failure_active"), "{{kind}} ({{step}}) {{instance}}")],
             mappings=words({1: ("in force", BAD)}),
             no_value="no failure", height=6,
             links=[runbook(anchor="${__field.labels.kind}", title="What this kind means and what to do")]),
    graph("Failed polls by kind", "How many polls failed, by kind.",
          [query(f"sum by (kind) ({rate('imds_fetch_failures_total', function='increase')}) > 0", "{{kind}}")],
          unit="short", bars=True, stack=True, min=0, no_value="no failure", colors=KINDS),
    graph("Share of failed polls", "Failed polls of all polls.",
          [query(f"sum by (instance) ({rate('imds_fetch_failures_total')}) "
                 f"/ sum by (instance) ({rate('imds_fetches_total')})", "{{instance}}")],
          unit="percentunit", min=0, max=1, fill=20),
    bars("Failed polls in the chosen time", "How many polls failed in the chosen time, by kind.",
         f"sort_desc(sum by (kind) (increase({m('imds_fetch_failures_total')}[$__range])) > 0)", "{{kind}}",
         no_value="no failure", decimals=0, min=0, thresholds=levels((0, WARN))),
    graph("Polls failed in a row", "The length of the present run of failures.",
          [query(m("imds_fetch_consecutive_failures"), "{{instance}}")], unit="short", min=0, fill=20),
]

CLIENTS = [
    table("Would a boto3 client have credentials now?", "By when the client was created. *No credentials* beside a "
          "usable `now` is the stuck state: IMDS is fine, those clients are not.",
          [rows(f"max by (instance, sdk, created) ({m('imds_client_usable')})")],
          columns={"instance": "Instance", "sdk": "SDK", "created": "Client was created", "Value": "Now"},
          width=12, height=7, overrides=[
              override("Client was created", mappings=CREATED),
              override("Now", mappings=USABLE, custom__cellOptions=COLORED),
          ], unit="short"),
    table("Suspects", "Watched processes that started in an outage that is over and still run, the longest "
          "running first, 16 at most. A suspicion, never a proof: the process may have created its clients again.",
          [rows(f"max by (instance, pid, command) ({m('imds_suspect_process_start_time_seconds')}) * 1000")],
          columns={"instance": "Instance", "pid": "Process", "command": "Command", "Value": "Started"},
          width=12, height=7, sort=("Started", False), overrides=[override("Started", unit="dateTimeAsIso")],
          unit="short", no_value="none"),
    stat("Last outage lasted", "From the last success before it to the first success after it.",
         f"{m('imds_outage_last_end_timestamp_seconds')} - {m('imds_outage_last_start_timestamp_seconds')}",
         unit="dtdurations", decimals=1, background=False, no_value="no outage"),
    stat("Last outage began", "The last success before it, or the start of the exporter. Clients created from here to "
         "its end may be stuck.", f"{m('imds_outage_last_start_timestamp_seconds')} * 1000", unit="dateTimeAsIso",
         background=False, no_value="no outage"),
    stat("Last outage ended", "The first success after it.", f"{m('imds_outage_last_end_timestamp_seconds')} * 1000",
         unit="dateTimeAsIso", background=False, no_value="no outage"),
    stat("Outages in the chosen time", "Runs of failed polls that began.",
         f"increase({m('imds_outages_total')}[$__range])", unit="short", decimals=0, background=False),
    stat("Suspect processes", "Watched processes that started in an outage that is over and still run: a suspicion, "
         "never a proof.", m("imds_suspect_processes"), width=8, unit="short",
         thresholds=levels((0, GOOD), (1, WARN)), no_value="watching is off",
         links=[runbook(anchor="ImdsSuspectProcesses")]),
]

SPEED = [
    graph("Requests: half and 99 % are faster than", "By request, against the 1 second after which every AWS SDK gives "
          "up by default.", [
              query(quantile(0.5, "imds_request_duration_seconds", "step"), "50 % {{step}}"),
              query(quantile(0.99, "imds_request_duration_seconds", "step"), "99 % {{step}}"),
          ], unit="s", line_at=1, min=0, colors=STEPS, links=[runbook("${instance}", "ImdsFetchSlow")]),
    graph("Requests slower than 1 second", "The share of requests on which an AWS SDK with default settings would have "
          "given up.", [query(slower_than_1_s(), "{{step}}")], unit="percentunit", min=0, max=1, fill=10, colors=STEPS),
    heatmap("Duration of whole polls", "How many polls took how long, successful and failed ones.",
            f"sum by (le) ({rate('imds_fetch_duration_seconds_bucket', function='increase')})", unit="s"),
    graph("Whole polls: 99 % are faster than", "By how they went.",
          [query(quantile(0.99, "imds_fetch_duration_seconds", "outcome"), "{{outcome}}")], unit="s", line_at=1, min=0,
          colors={"success": GOOD, "failure": BAD}),
]

EXPORTER = [
    stat("Scraped", "Whether Prometheus reaches the exporter.", m("up"),
         mappings=words({0: ("NO", BAD), 1: ("yes", GOOD)}), no_value="unknown"),
    stat("Last poll", "How long ago the last poll ended, in poll intervals. Above 5 the exporter counts as stalled.",
         f"(time() - {m('imds_fetch_last_attempt_timestamp_seconds')}) / {m('imds_poll_interval_seconds')}",
         unit="short", decimals=1, thresholds=levels((BELOW_ALL, GOOD), (3, WARN), (5, BAD)), no_value="no poll yet",
         links=[runbook(anchor="ImdsPollStalled")]),
    stat("Running for", "Since the exporter's process started.", f"time() - {m('process_start_time_seconds')}",
         unit="dtdurations", decimals=1, background=False, no_value="no data"),
    stat("Version", "The exporter's version and revision.", m("imds_exporter_build_info"), "{{version}} ({{revision}})",
         text="name", unit="short", background=False, width=6, no_value="no data"),
    stat("Clock skew", "IMDS's clock minus the local one. AWS rejects signatures from a clock that is off by 5 "
         "minutes, and expiry is misjudged by as much.", m("imds_clock_skew_seconds"), unit="s", width=6,
         thresholds=SKEW_LEVELS, no_value="unknown",
         links=[runbook(anchor="ImdsClockSkew")]),
    graph("Polls and token renewals", "Polls and new session tokens per second.", [
        query(rate("imds_fetches_total"), "polls {{instance}}"),
        query(rate("imds_token_renewals_total"), "token renewals {{instance}}"),
    ], width=8, unit="ops", min=0, colors={"^polls": SERIES[0], "^token": SERIES[1]}),
    graph("Clock skew over time", "IMDS's clock minus the local one; IMDS tells whole seconds.",
          [query(m("imds_clock_skew_seconds"), "{{instance}}")], width=8, unit="s"),
    graph("Duration of a scrape", "How long Prometheus waits for `/metrics`.",
          [query(m("scrape_duration_seconds"), "{{instance}}")], width=8, unit="s", min=0),
    graph("Memory", "Resident memory.", [query(m("process_resident_memory_bytes"), "{{instance}}")], width=8,
          unit="bytes", min=0),
    graph("Processor", "Share of one processor.", [query(rate("process_cpu_seconds_total"), "{{instance}}")], width=8,
          unit="percentunit", min=0),
    graph("Open files", "Open file descriptors and their limit.", [
        query(m("process_open_fds"), "open {{instance}}"), query(m("process_max_fds"), "limit {{instance}}"),
    ], width=8, unit="short", min=0, colors={"^open": SERIES[0], "^limit": SERIES[1]}),
]

ANNOTATIONS = [
    annotation("Outage", f"{UP} == 0", BAD, "IMDS is failing", "{{instance}}"),
    annotation("Outage ended", f"{m('imds_outage_last_end_timestamp_seconds')} * 1000", GOOD, "Outage ended",
               "{{instance}}", at_value=True),
    annotation("Alert", 'ALERTS{alertname=~"Imds.*", alertstate="firing", job=~"$job", instance=~"$instance"}', WARN,
               "{{alertname}}", "{{severity}} {{instance}}"),
    annotation("Exporter started", f"{m('process_start_time_seconds')} * 1000", NEUTRAL, "Exporter started",
               "{{instance}}", at_value=True),
    annotation("New document", f"{m('imds_credentials_last_updated_timestamp_seconds')} * 1000", SERIES[4],
               "IMDS renewed the credentials", "{{instance}}", at_value=True, enable=False),
]

DASHBOARD = dashboard(
    INSTANCE_UID, "IMDS exporter: one instance",
    "Role credentials from IMDSv2 as one exporter sees them: is it working, until when, what fails, who is stuck.",
    panels=layout(
        ("Is it working now, and since when?", NOW),
        ("How long until the credentials expire?", EXPIRY),
        ("What failed, in which step, how often?", FAILURES),
        ("Are clients stuck?", CLIENTS),
        ("How slow is each step against the SDKs' 1 second?", SPEED),
        ("Is the exporter itself well?", EXPORTER),
    ),
    variables=variables(all_instances=False),
    annotations=ANNOTATIONS,
    links=[
        to_dashboard("All instances", FLEET_UID),
        to_page("Status page", "http://${instance}/", "The exporter's own page"),
        to_page("Runbook", "http://${instance}/runbook", "Every alert and every kind of failure, from the exporter"),
    ],
    refresh="30s", past="6h",
)
