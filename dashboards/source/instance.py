"""The dashboard of one exporter: the questions of the on-call engineer, from top to bottom."""

from source.blocks import (
    BAD, COLORED, EXPIRY_LEVELS, FLEET_UID, GOOD, INSTANCE_UID, KINDS, LOWEST, NEUTRAL, SDK_REFUSES_BELOW, SERIES,
    SKEW_LEVELS, STEPS, WARN, annotation, bar_gauge, clients_stuck, dashboard, dashboard_link, graph, heatmap, layout,
    override, page_link, quantile, query, rate, runbook_link, selector, slower_than_1_s, stat, stat_thresholds, table,
    table_query, threshold_steps, time_to_expiry, timeline, value_mappings, variables,
)

FINE_OR_FAILING = value_mappings({0: ("FAILING", BAD), 1: ("fine", GOOD)})
USABLE = value_mappings({0: ("no credentials", BAD), 1: ("usable", GOOD)})
CREATED = value_mappings({
    "now": "now",
    "before_outage": "while credentials were available",
    "at_start": "when the workload started",
})

UP = selector("imds_up")
# The current state began with the last success, the end of the last outage, or the exporter's own start.
SINCE = f"""
    time() - (
      ({selector('imds_fetch_last_success_timestamp_seconds')} and {UP} == 0)
      or ({selector('imds_outage_last_end_timestamp_seconds')} and {UP} == 1)
      or ({selector('process_start_time_seconds')} and {UP})
    )
"""
OUTAGE_START = selector("imds_outage_last_start_timestamp_seconds")
OUTAGE_END = selector("imds_outage_last_end_timestamp_seconds")

NOW = [
    stat("IMDS", "Whether the last finished poll returned credentials. *No data*: the exporter is not scraped, or no "
         "poll has ended yet.", UP, mappings=FINE_OR_FAILING, no_value="no data", links=[runbook_link()]),
    stat("In this state for", "How long the current state has lasted. Failing: since the last success. Fine: since the "
         "end of the last outage, or since the exporter started.", SINCE, unit="dtdurations", decimals=1,
         background=False, no_value="no data"),
    stat("Expires in", "Time until the `Expiration` of the last document seen. Kept while polls fail; negative once "
         "past. In the last 15 minutes, boto3 refuses to sign if it cannot refresh.", time_to_expiry(),
         unit="dtdurations", decimals=1, thresholds=EXPIRY_LEVELS, no_value="no credentials seen",
         links=[runbook_link(anchor="ImdsCredentialsExpired")]),
    stat("Current failure", "The kind of the last failure, and the request that failed. The link opens the exporter's "
         "own runbook at this kind.", selector("imds_failure_active"), "{{kind}} ({{step}})", text="name",
         unit="short", no_value="none", thresholds=stat_thresholds((1, BAD)),
         links=[runbook_link(anchor="${__field.labels.kind}",
                             title="What ${__field.labels.kind} means and what to do")]),
    stat("Stuck clients", "IMDS answers, but boto3 clients that were created when the declared workload started hold no "
         "credentials permanently. To fix this, restart the workload, and then the exporter. *No workload declared*: "
         "`IMDS_EXPORTER_WORKLOAD` is `independent`, or the SDKs do not ask IMDS.", clients_stuck(),
         mappings=value_mappings({0: ("no", GOOD), 1: ("STUCK: restart the workload", BAD)}),
         no_value="no workload declared", links=[runbook_link(anchor="ImdsClientsStuck")]),
    stat("Role", "The current role. *None*: IMDS itself reports that no role is attached.", selector("imds_role_info"),
         "{{role}}", text="name", unit="short", background=False, no_value="none",
         thresholds=stat_thresholds((0, GOOD))),
    timeline("State over time", "Whether a poll, and whether boto3 clients, would have had credentials at that time. "
             "`created` shows when the client was created.", [
                 query(UP, "IMDS {{instance}}"),
                 query(selector("imds_client_usable"), "client created {{created}} {{instance}}"),
             ], mappings=USABLE, no_value="no data", height=7),
]

EXPIRY = [
    graph("Time to expiry", "A sawtooth: it rises with each new document and falls during an outage. The line marks 15 "
          "minutes: below it, boto3 clients fail if they cannot refresh.", [query(time_to_expiry(), "{{instance}}")],
          width=16, unit="s", line_at=SDK_REFUSES_BELOW, fill=10,
          thresholds=threshold_steps((None, BAD), (SDK_REFUSES_BELOW, "transparent"))),
    graph("Rotations", "New documents seen, and changes of the role's name.", [
        query(rate("imds_credentials_rotations_total", function="increase"), "new document {{instance}}"),
        query(rate("imds_role_changes_total", function="increase"), "role changed {{instance}}"),
    ], width=8, unit="short", bars=True, min=0, colors={"^new": GOOD, "^role": WARN}),
    stat("Age of the document", "Time since `LastUpdated` of the last document seen. IMDS renews documents well before "
         "they expire; an age close to the whole lifetime means that it does not.",
         f"time() - {selector('imds_credentials_last_updated_timestamp_seconds')}", width=5, unit="dtdurations",
         decimals=1, background=False, no_value="no credentials seen"),
    stat("Expires at", "`Expiration` of the last document seen.",
         f"{selector('imds_credentials_expiration_timestamp_seconds')} * 1000", width=5, unit="dateTimeAsIso",
         background=False, no_value="no credentials seen"),
    stat("Expected role", "Whether the current role is the configured one.", selector("imds_role_expected"),
         mappings=value_mappings({0: ("ANOTHER ROLE", BAD), 1: ("yes", GOOD)}),
         no_value="none configured", links=[runbook_link(anchor="ImdsUnexpectedRole")]),
    stat("IMDSv1 only", "Credentials resolve only because IMDSv1 answers; the kind is why the token request of IMDSv2 "
         "fails.", selector("imds_v1_fallback_active"), "{{kind}}", text="name", unit="short", width=5,
         no_value="no", thresholds=stat_thresholds((1, WARN)), links=[runbook_link(anchor="ImdsV1Fallback")]),
    stat("Credentials from elsewhere", "What the SDKs' default chain finds in the exporter's environment before it would "
         "ask IMDS: static keys (environment), IRSA (web_identity), Pod Identity or a task role (container). Then nothing "
         "is said of clients, and no alert about IMDS fires.", selector("imds_chain_shadowed"), "{{by}}", text="name",
         unit="short", width=5, no_value="no", background=False),
]

FAILURES = [
    timeline("Failures", "How each poll failed, and at which request. Empty if no poll failed.",
             [query(selector("imds_failure_active"), "{{kind}} ({{step}}) {{instance}}")],
             mappings=value_mappings({1: ("failing", BAD)}),
             no_value="no failure", height=6,
             links=[runbook_link(anchor="${__field.labels.kind}", title="What this kind means and what to do")]),
    graph("Failed polls by kind", "Number of failed polls, by kind.",
          [query(f"sum by (kind) ({rate('imds_fetch_failures_total', function='increase')}) > 0", "{{kind}}")],
          unit="short", bars=True, stack=True, min=0, no_value="no failure", colors=KINDS),
    graph("Share of failed polls", "Failed polls divided by all polls.",
          [query(f"sum by (instance) ({rate('imds_fetch_failures_total')}) "
                 f"/ sum by (instance) ({rate('imds_fetches_total')})", "{{instance}}")],
          unit="percentunit", min=0, max=1, fill=20),
    bar_gauge("Failed polls in the time range", "Number of failed polls in the selected time range, by kind.",
              f"sort_desc(sum by (kind) (increase({selector('imds_fetch_failures_total')}[$__range])) > 0)",
              "{{kind}}", no_value="no failure", decimals=0, min=0, thresholds=stat_thresholds((0, WARN))),
    graph("Consecutive failed polls", "Number of polls that have failed in a row.",
          [query(selector("imds_fetch_consecutive_failures"), "{{instance}}")], unit="short", min=0, fill=20),
]

CLIENTS = [
    table("Would a boto3 client have credentials now?", "By the time at which the client was created. *No credentials* "
          "together with a usable `now` is the stuck state: IMDS is fine, but those clients are not.",
          [table_query(f"max by (instance, sdk, created) ({selector('imds_client_usable')})")],
          columns={"instance": "Instance", "sdk": "SDK", "created": "Client was created", "Value": "Now"},
          width=12, height=7, overrides=[
              override("Client was created", mappings=CREATED),
              override("Now", mappings=USABLE, custom__cellOptions=COLORED),
          ], unit="short"),
    table("Suspect processes", "Watched processes that started during an outage that is over and still run, the "
          "longest-running first, at most 16. A suspicion, never a proof: the process may have re-created its clients.",
          [table_query("max by (instance, pid, command, unit, container_id, pod_uid) "
                       f"({selector('imds_suspect_process_start_time_seconds')}) * 1000")],
          columns={"instance": "Instance", "pid": "PID", "command": "Command", "unit": "Unit",
                   "container_id": "Container", "pod_uid": "Pod UID", "Value": "Started"},
          width=12, height=7, sort=("Started", False), overrides=[override("Started", unit="dateTimeAsIso")],
          unit="short", no_value="none"),
    stat("Last outage: duration", "From the last success before it to the first success after it.",
         f"{OUTAGE_END} - {OUTAGE_START}", unit="dtdurations", decimals=1, background=False, no_value="no outage"),
    stat("Last outage: start", "The last success before it, or the start of the exporter. Clients created between the "
         "start and the end may be stuck.", f"{OUTAGE_START} * 1000", unit="dateTimeAsIso", background=False,
         no_value="no outage"),
    stat("Last outage: end", "The first success after it.", f"{OUTAGE_END} * 1000", unit="dateTimeAsIso",
         background=False, no_value="no outage"),
    stat("Outages in the time range", "Number of outages that began in the selected time range.",
         f"increase({selector('imds_outages_total')}[$__range])", unit="short", decimals=0, background=False),
    stat("Suspect processes", "Watched processes that started during an outage that is over and still run: a "
         "suspicion, never a proof.", selector("imds_suspect_processes"), unit="short",
         thresholds=stat_thresholds((0, GOOD), (1, WARN)), no_value="watching is disabled",
         links=[runbook_link(anchor="ImdsSuspectProcesses")]),
    stat("Watched processes", "Processes that match the configured pattern and can be seen. 0 for a long time means that "
         "the pattern is wrong, or that the exporter does not share the PID namespace.",
         selector("imds_watched_processes"), unit="short", background=False, no_value="watching is disabled"),
]

SPEED = [
    graph("Request duration: median and 99th percentile", "By request. The line marks 1 second, the default timeout of "
          "every AWS SDK.", [
              query(quantile(0.5, "imds_request_duration_seconds", "step"), "p50 {{step}}"),
              query(quantile(0.99, "imds_request_duration_seconds", "step"), "p99 {{step}}"),
          ], unit="s", line_at=1, min=0, colors=STEPS, links=[runbook_link("${instance}", "ImdsFetchSlow")]),
    graph("Requests slower than 1 second", "The share of requests on which an AWS SDK with default settings would have "
          "timed out.", [query(slower_than_1_s(), "{{step}}")], unit="percentunit", min=0, max=1, fill=10,
          colors=STEPS),
    heatmap("Poll duration: distribution", "Number of polls by duration, both successful and failed ones.",
            f"sum by (le) ({rate('imds_fetch_duration_seconds_bucket', function='increase')})", unit="s"),
    graph("Poll duration: 99th percentile", "By outcome.",
          [query(quantile(0.99, "imds_fetch_duration_seconds", "outcome"), "{{outcome}}")], unit="s", line_at=1, min=0,
          colors={"success": GOOD, "failure": BAD}),
]

EXPORTER = [
    stat("Scraped", "Whether Prometheus reaches the exporter.", selector("up"),
         mappings=value_mappings({0: ("NO", BAD), 1: ("yes", GOOD)}), no_value="unknown"),
    stat("Last poll", "Time since the last poll ended, in poll intervals. Above 5, the exporter counts as stalled.",
         f"(time() - {selector('imds_fetch_last_attempt_timestamp_seconds')}) / "
         f"{selector('imds_poll_interval_seconds')}", unit="short", decimals=1,
         thresholds=stat_thresholds((LOWEST, GOOD), (3, WARN), (5, BAD)), no_value="no poll yet",
         links=[runbook_link(anchor="ImdsPollStalled")]),
    stat("Uptime", "Time since the exporter's process started.", f"time() - {selector('process_start_time_seconds')}",
         unit="dtdurations", decimals=1, background=False, no_value="no data"),
    stat("Version", "The exporter's version and revision.", selector("imds_exporter_build_info"),
         "{{version}} ({{revision}})", text="name", unit="short", background=False, width=6, no_value="no data"),
    stat("Clock skew", "The clock of IMDS minus the local clock. AWS refuses signatures from a clock that is off by 5 "
         "minutes, and the time to expiry is wrong by the same amount.", selector("imds_clock_skew_seconds"), unit="s",
         width=6, thresholds=SKEW_LEVELS, no_value="unknown", links=[runbook_link(anchor="ImdsClockSkew")]),
    graph("Polls", "Polls per second.", [query(rate("imds_fetches_total"), "{{instance}}")], width=8, unit="ops", min=0),
    graph("Clock skew over time", "The clock of IMDS minus the local clock. IMDS reports whole seconds.",
          [query(selector("imds_clock_skew_seconds"), "{{instance}}")], width=8, unit="s"),
    graph("Scrape duration", "How long Prometheus waits for `/metrics`.",
          [query(selector("scrape_duration_seconds"), "{{instance}}")], width=8, unit="s", min=0),
    graph("Memory", "Resident memory.", [query(selector("process_resident_memory_bytes"), "{{instance}}")], width=8,
          unit="bytes", min=0),
    graph("CPU", "Share of one CPU.", [query(rate("process_cpu_seconds_total"), "{{instance}}")], width=8,
          unit="percentunit", min=0),
    graph("Open files", "Open file descriptors and their limit.", [
        query(selector("process_open_fds"), "open {{instance}}"),
        query(selector("process_max_fds"), "limit {{instance}}"),
    ], width=8, unit="short", min=0, colors={"^open": SERIES[0], "^limit": SERIES[1]}),
]

ANNOTATIONS = [
    annotation("Outage", f"{UP} == 0", BAD, "IMDS is failing", "{{instance}}"),
    annotation("Outage ended", f"{OUTAGE_END} * 1000", GOOD, "Outage ended", "{{instance}}", at_value=True),
    annotation("Alert", 'ALERTS{alertname=~"Imds.*", alertstate="firing", job=~"$job", instance=~"$instance"}', WARN,
               "{{alertname}}", "{{severity}} {{instance}}"),
    annotation("Exporter started", f"{selector('process_start_time_seconds')} * 1000", NEUTRAL, "Exporter started",
               "{{instance}}", at_value=True),
    annotation("New document", f"{selector('imds_credentials_last_updated_timestamp_seconds')} * 1000", SERIES[4],
               "IMDS renewed the credentials", "{{instance}}", at_value=True, enable=False),
]

DASHBOARD = dashboard(
    INSTANCE_UID, "IMDS exporter: one instance",
    "Role credentials from IMDSv2 as one exporter sees them: whether they are available, when they expire, what fails, "
    "which clients are stuck.",
    panels=layout(
        ("Is it working now, and since when?", NOW),
        ("How long until the credentials expire?", EXPIRY),
        ("What failed, at which step, how often?", FAILURES),
        ("Are clients stuck?", CLIENTS),
        ("How slow is each step, compared with the SDKs' timeout of 1 second?", SPEED),
        ("Is the exporter itself working?", EXPORTER),
    ),
    variables=variables(all_instances=False),
    annotations=ANNOTATIONS,
    links=[
        dashboard_link("All instances", FLEET_UID),
        page_link("Status page", "http://${instance}/", "The exporter's own status page"),
        page_link("Runbook", "http://${instance}/runbook",
                  "Every alert and every kind of failure, served by the exporter"),
    ],
    refresh="30s", past="6h",
)
