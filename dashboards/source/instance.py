"""The dashboard of one exporter: the questions of the on-call engineer, from top to bottom.

Every tile tells apart a value, that something is off or does not apply, and that nothing is known, as of an instance that
does not exist. Where the absence of a metric has a meaning, the query turns it into a number that no value has.
"""

from source.blocks import (
    BAD, CLIENTS_FINE, CLIENTS_STUCK, CLIENTS_UNKNOWN, EXPIRY_LEVELS, FILLED, FLEET_UID, GOOD, HOUR, INSTANCE_UID,
    LOWEST, NEUTRAL, REFUSED, SDK_REFUSES_BELOW, SERIES, SKEW_LEVELS, STEPS, WARN, alerts_table, counts,
    dashboard, dashboard_link, firing, for_one_instance, graph, heatmap, labelled, layout, mark, name_stat, override,
    page_link, per_instance, per_minute, quantile, query, rate, region, roles, runbook_link, selector, slower_than_1_s, stat,
    stat_thresholds, status_link, suspects, table, table_query, threshold_steps, timeline, value_mappings, variables, verdict,
    verdict_overrides, width_of, with_machine,
)
from source.problems import (
    CLIENTS, ROLE_EXPECTED, FAILING_SINCE, OUTAGE_END, PROBLEMS, PROXIED, REMAINING, SCRAPED, STARTED, UNUSED, UP,
)

EXPIRATION = per_instance(selector("imds_credentials_expiration_timestamp_seconds"))
LAST_UPDATED = per_instance(selector("imds_credentials_last_updated_timestamp_seconds"))
OUTAGE_START = per_instance(selector("imds_outage_last_start_timestamp_seconds"))
FINE_SINCE = f"(({OUTAGE_END} or {STARTED}) and {UP} == 1)"
LAST_ATTEMPT = per_instance(selector("imds_fetch_last_attempt_timestamp_seconds"))
SKEW = per_instance(selector("imds_clock_skew_seconds"))
SIGNED_UP = per_instance(selector("imds_signed_call_up"))
NO_DATA = "no data"


def otherwise(expr, code):
    """The expression or, where it has no value although the exporter answers, the code."""
    return f"({expr}) or (0 * {SCRAPED} + {code} and {SCRAPED} == 1)"


# Times and durations that do not exist. No true one is as large.
NONE, GOES_ON = 1000000000000000, 2000000000000000


def times(absent, goes_on="not over"):
    """The texts of the two."""
    return value_mappings({NONE: (absent, NEUTRAL), GOES_ON: (goes_on, BAD)})


def last_outage(expr, while_failing):
    """A fact about the outage that goes on or, if there is none, about the last one."""
    return otherwise(f"({while_failing}) or ({expr})", NONE)


def label_or_no(expr, label):
    """The series or, if there is none although the exporter answers, one with the label `no`."""
    return f"({expr}) or on () {labelled(f'0 * ({SCRAPED} == 1)', **{label: 'no'})}"


def unless_unused(expr):
    """Nothing where no SDK asks IMDS."""
    return f"({expr} unless on (instance) {UNUSED})"


# Numbers beside 0 and 1.
NOT_USED, NOT_DECLARED, NOT_REACHED, NOT_CHECKED, NOT_YET, SENT_TO_PROXY = 3, 4, 5, 6, 7, 8
IMDS_STATES = {0: ("FAILING", BAD), 1: ("fine", GOOD), NOT_USED: ("unused", NEUTRAL), NOT_YET: ("first poll runs", NEUTRAL),
               SENT_TO_PROXY: ("sent to a proxy", WARN)}
ACCEPTED = {0: ("REFUSED", BAD), 1: ("yes", GOOD), NOT_REACHED: ("STS not reached", WARN),
            NOT_CHECKED: ("unchecked", NEUTRAL), NOT_YET: ("first call runs", NEUTRAL)}
STUCK = {
    CLIENTS_FINE: ("no", GOOD), CLIENTS_STUCK: ("STUCK", BAD), CLIENTS_UNKNOWN: ("unknown while failing", WARN),
    NOT_DECLARED: ("no workload declared", NEUTRAL), NOT_USED: ("unused", NEUTRAL), SENT_TO_PROXY: ("sent to a proxy", WARN),
}
USABLE = value_mappings({0: ("no credentials", BAD), 1: ("usable", GOOD)})

# Where a poll says nothing of the clients.
NO_SAY = f"0 * {UNUSED} + {NOT_USED} or 0 * {PROXIED} + {SENT_TO_PROXY}"

NOT_REFUSED = f'reason!~"{REFUSED}"'
SIGNED_CALL = f"""
    0 * {per_instance(selector('imds_signed_call_failure_active', NOT_REFUSED))} + {NOT_REACHED}
    or {SIGNED_UP}
    or 0 * {per_instance(rate('imds_signed_calls_total'))} + {NOT_YET}
"""

NOW = [
    stat("Scraped", "Whether Prometheus reaches the exporter. *Unknown instance*: Prometheus has no such target.", SCRAPED,
         width=3, mappings=value_mappings({0: ("NO", BAD), 1: ("yes", GOOD)}), no_value="unknown instance"),
    stat("IMDS", "Whether the last finished poll returned credentials. *Unused*: the SDKs find other credentials before they "
         "would ask IMDS, or `AWS_EC2_METADATA_DISABLED` is true. *Sent to a proxy*: the proxy variables would send boto3's "
         "requests to a proxy, which polls do not use. *No data*: the exporter is not scraped.",
         otherwise(f"{NO_SAY} or {UP}", NOT_YET), mappings=value_mappings(IMDS_STATES),
         no_value=NO_DATA, links=[status_link()]),
    stat("In this state for", "How long the current state has lasted. Failing: since the last success. Fine: since the "
         "end of the last outage, or since the exporter started.", f"time() - ({FAILING_SINCE} or {FINE_SINCE})",
         unit="dtdurations", decimals=1, filled=False, no_value=NO_DATA),
    stat("Expires in", "Time until the `Expiration` of the last document seen. Kept while polls fail; negative once "
         "past. In the last 15 minutes, boto3 refuses to sign if it cannot refresh. *Unknown*: no document has been seen.",
         otherwise(REMAINING, NONE), width=5, unit="dtdurations", decimals=1, thresholds=EXPIRY_LEVELS,
         mappings=times("unknown"), no_value=NO_DATA, links=[runbook_link(anchor="ImdsCredentialsExpired")]),
    stat("Clients stuck", "Stuck: IMDS answers, but a client that was created when the declared workload started has no "
         "credentials. To fix this, restart the workload, and then the exporter. While IMDS fails, such a client cannot be "
         "told from one that recovers by itself. *No workload declared*: `IMDS_EXPORTER_WORKLOAD` is `independent`.",
         otherwise(f"{NO_SAY} or {CLIENTS}", NOT_DECLARED), mappings=value_mappings(STUCK),
         no_value=NO_DATA, links=[runbook_link(anchor="ImdsClientsStuck")]),
    stat("AWS accepts them", "Whether AWS accepted the last call that was signed with these credentials. *STS not reached*: "
         "AWS did not judge them. *Unchecked*: `IMDS_EXPORTER_SIGNED_CALL_INTERVAL` is not set.",
         otherwise(SIGNED_CALL, NOT_CHECKED), mappings=value_mappings(ACCEPTED), no_value=NO_DATA,
         links=[runbook_link()]),
    PROBLEMS,
    alerts_table("alertname, severity", {"alertname": "Alert", "Value": "Active for", "severity": "Severity",
                                         "summary": "Summary"}),
]

STATES = [
    timeline("Verdict over time", "What the exporter concluded at each time, as its status page says it: one line for each verdict.",
             [query(f"max by (state) ({verdict()}) == 1", "{{state}}")], no_value=NO_DATA, height=6,
             mappings=value_mappings({1: "in force"}), overrides=verdict_overrides()),
    timeline("State over time", "Whether a poll, a signed call, and boto3 clients had credentials at each time. Outages are the "
             "red bands of IMDS; they are marked on the graphs below too.", [
                 query(f"0 * {UNUSED} + {NOT_USED} or 0 * ({PROXIED} and {UP} == 1) + {SENT_TO_PROXY} or {UP}", "IMDS"),
                 query(SIGNED_UP, "AWS accepts"),
                 query(f"min by (created) {unless_unused(selector('imds_client_usable'))}", "client created {{created}}"),
             ], mappings=USABLE, overrides=[
                 override("IMDS", mappings=value_mappings({0: ("failing", BAD), 1: ("fine", GOOD),
                                                          NOT_USED: ("unused", NEUTRAL),
                                                          SENT_TO_PROXY: ("sent to a proxy", WARN)})),
                 override("AWS accepts", mappings=value_mappings({0: ("refused or not reached", BAD), 1: ("yes", GOOD)})),
             ], no_value=NO_DATA, height=7),
]

EXPIRY = [
    graph("Time to expiry", "A sawtooth: it rises with each new document and falls during an outage. The line marks 15 "
          "minutes: below it, boto3 clients fail if they cannot refresh.",
          [query(f"({REMAINING}) / {HOUR}", "time to expiry")], width=16, unit="suffix:h", decimals=1, fill=10,
          line_at=SDK_REFUSES_BELOW / HOUR, soft_min=0,
          thresholds=threshold_steps((None, BAD), (SDK_REFUSES_BELOW / HOUR, "transparent"))),
    name_stat("Role", "The current role. *None known*: IMDS reports that no role is attached, or has not answered yet.",
              f"max by (role) ({roles()})", "role", absent="none known", filled=False),
    stat("Expected role", "Whether the current role is the configured one.",
         otherwise(f"{ROLE_EXPECTED} or 0 * {per_instance(selector('imds_role_expected'))} + {NOT_YET}", NOT_CHECKED),
         mappings=value_mappings({0: ("ANOTHER ROLE", BAD), 1: ("yes", GOOD), NOT_CHECKED: ("unchecked", NEUTRAL),
                                  NOT_YET: ("unknown", NEUTRAL)}),
         no_value=NO_DATA, links=[runbook_link(anchor="ImdsUnexpectedRole")]),
    stat("Expires at", "`Expiration` of the last document seen.", otherwise(f"{EXPIRATION} * 1000", NONE),
         unit="dateTimeAsIso", filled=False, mappings=times("unknown"), no_value=NO_DATA),
    stat("Age of the document", "Time since `LastUpdated` of the last document seen. IMDS renews documents about every "
         "hour; an age of half the lifetime means that it does not.", otherwise(f"time() - {LAST_UPDATED}", NONE),
         unit="dtdurations", decimals=1, filled=False, mappings=times("unknown"), no_value=NO_DATA),
]

FAILURES = [
    timeline("Failures over time", "How each poll failed, and at which request.",
             [query(f"max by (kind, step) ({selector('imds_failure_active')})", "{{kind}} ({{step}})")],
             mappings=value_mappings({1: ("failing", BAD)}), no_value="no failure", width=12, height=8,
             links=[runbook_link("${instance}", "${__field.labels.kind}", "What this kind means and what to do")]),
    counts("Failed polls per minute", "Polls that failed, by kind. While failing, the exporter polls every 5 seconds.",
           [query(f"sum by (kind) ({per_minute('imds_fetch_failures_total')}) > 0", "{{kind}}")], stack=True, palette=True),
]

CREATED_AT = 'created="{}"'
CREATED = {"now": "Created now", "before_outage": "Before an outage", "at_start": "At workload start"}

CLIENTS_AND_PROCESSES = [
    table("Would a client have credentials now?", "By SDK, and by the time at which the client was created. *No "
          "credentials* beside a usable client that is created now is the stuck state: IMDS is fine, but those clients are "
          "not. Empty cells: nothing is known, or no workload is declared.",
          [table_query(f"max by (sdk) {unless_unused(selector('imds_client_usable', CREATED_AT.format(created)))}")
           for created in CREATED],
          columns={"sdk": "SDK"} | {f"Value #{'ABC'[n]}": heading for n, heading in enumerate(CREATED.values())},
          width=12, height=8, merge=True,
          overrides=[override("SDK", **width_of(110)),
                     *(override(heading, mappings=USABLE, **FILLED) for heading in CREATED.values())]),
    stat("Current or last outage: start", "The last success before it, or the start of the exporter. Clients created "
         "between the start and the end may be stuck.",
         last_outage(f"{OUTAGE_START} * 1000", f"{FAILING_SINCE} * 1000"), width=6, unit="dateTimeAsIso", filled=False,
         mappings=times("none"), no_value=NO_DATA),
    stat("Current or last outage: end", "The first success after it.",
         last_outage(f"{OUTAGE_END} * 1000", f"0 * {FAILING_SINCE} + {GOES_ON}"), width=6, unit="dateTimeAsIso",
         filled=False, mappings=times("none"), no_value=NO_DATA),
    stat("Suspect processes", "Watched processes that started during an outage that is over and still run: a suspicion, "
         "never a proof. *Off*: no processes are watched.", otherwise(per_instance(selector("imds_suspect_processes")), NONE), unit="none",
         thresholds=stat_thresholds((0, GOOD), (1, WARN)), mappings=times("off"), no_value=NO_DATA,
         links=[runbook_link(anchor="ImdsSuspectProcesses")]),
    stat("Unread processes", "Processes that the last scan could not read, because the exporter lacked file descriptors or "
         "memory: suspects may be missing.", otherwise(per_instance(selector("imds_unread_processes")), NONE), unit="none",
         thresholds=stat_thresholds((0, GOOD), (1, WARN)), mappings=times("off"), no_value=NO_DATA),
    stat("Watched processes", "Processes that match the configured pattern and can be seen. 0 for a long time means that "
         "the pattern is wrong, or that the exporter does not share the PID namespace. *Off*: "
         "`IMDS_EXPORTER_WATCH_PROCESSES` is not set.",
         otherwise(per_instance(selector("imds_watched_processes")), NONE), unit="none", filled=False,
         mappings=times("off"), no_value=NO_DATA),
    table("Suspect processes by unit and pod", "Watched processes that started during an outage that is over and still run, "
          "at most 16. A suspicion, never a proof: the process may have re-created its clients. A host's process has a "
          "systemd unit, that of a pod has a container and a pod.",
          [table_query(suspects("command, pid, unit, pod_uid, container_id"))],
          columns={"command": "Command", "Value": "Started", "unit": "Unit", "pod_uid": "Pod UID",
                   "container_id": "Container", "pid": "PID"},
          width=24, height=6, sort=("Started", False), overrides=[
              override("Command", **width_of(240)),
              override("Started", unit="dateTimeAsIso", **width_of(190)),
              override("PID", **width_of(90)),
          ]),
]



def beside(metric):
    """The increase of a counter of the programs on this machine, by job. Their instances are others."""
    exporters = with_machine(selector("imds_exporter_build_info"))
    return f"sum by (job) ({with_machine(f'increase({metric}[$__rate_interval])')} and on (cluster, machine) {exporters})"


HEALED = [
    counts("Clients that never_stuck found stuck, and healed", "By job, of the programs on this machine that use `never_stuck.heal()` "
           "with prometheus_client and are scraped. What is found and not healed has no credentials yet.", [
               query(beside("boto3_stuck_clients_total"), "{{job}}: found stuck"),
               query(beside("boto3_healed_clients_total"), "{{job}}: healed"),
           ], bars=True, colors={": found stuck$": BAD, ": healed$": GOOD}),
    counts("Calls without credentials", "By job, of the same programs: each of these calls failed.",
           [query(beside("boto3_calls_without_credentials_total"), "{{job}}")], bars=True, colors={".": BAD},
           links=[runbook_link("${instance}", "ImdsBoto3CallsWithoutCredentials")]),
]

SPEED = [
    graph("Request duration: median and 99th percentile", "By request, over half an hour each. The line marks 1 second, the "
          "default timeout of every AWS SDK.", [
              query(quantile(0.5, "imds_request_duration_seconds", "step"), "p50 {{step}}"),
              query(quantile(0.99, "imds_request_duration_seconds", "step"), "p99 {{step}}"),
          ], unit="s", line_at=1, soft_max=2, log=True, links=[runbook_link("${instance}", "ImdsFetchSlow")],
          colors={f"^{p} {step}$": color for (step, _), pair in
                  zip(STEPS.items(), ((SERIES[4], SERIES[0]), (SERIES[6], SERIES[1]), (SERIES[3], SERIES[2])))
                  for p, color in zip(("p50", "p99"), pair)}),
    graph("Requests slower than 1 second", "The share of requests on which an AWS SDK with default settings would have "
          "timed out.", [query(slower_than_1_s(), "{{step}}")], unit="percentunit", min=0, soft_max=0.1, fill=10,
          colors=STEPS),
    heatmap("Poll duration: distribution", "Number of polls by duration, both successful and failed ones.",
            f"sum by (le) ({rate('imds_fetch_duration_seconds_bucket', function='increase')})", unit="s"),
    graph("Poll and signed call: 99th percentile", "Polls by outcome, and the calls to STS where they are made, over half an "
          "hour each.", [
              query(quantile(0.99, "imds_fetch_duration_seconds", "outcome"), "poll: {{outcome}}"),
              query(quantile(0.99, "imds_signed_call_duration_seconds", ""), "signed call"),
          ], unit="s", line_at=1, soft_max=2, log=True,
          colors={"success": GOOD, "failure": BAD, "signed call": SERIES[2]}),
]

EXPORTER = [
    stat("Last poll", "Time since the last poll ended, in poll intervals, corrected by the clock skew. Above 5, the "
         "exporter counts as stalled.",
         f"(time() - {LAST_ATTEMPT} - ({SKEW} or 0 * {LAST_ATTEMPT})) / "
         f"{per_instance(selector('imds_poll_interval_seconds'))}", unit="none", decimals=1,
         thresholds=stat_thresholds((LOWEST, GOOD), (3, WARN), (5, BAD)), no_value="no poll known",
         links=[runbook_link(anchor="ImdsPollStalled")]),
    stat("Uptime", "Time since the exporter's process started.", f"time() - {STARTED}", unit="dtdurations", decimals=1,
         filled=False, no_value=NO_DATA),
    name_stat("Version", "The exporter's version and revision.",
              f"""label_join(max by (version, revision) ({selector('imds_exporter_build_info')}), "build", " ", "version",
              "revision")""", "build", absent=NO_DATA, filled=False),
    stat("Clock skew", "The clock of IMDS minus the local clock. AWS refuses signatures from a clock that is off by 5 "
         "minutes, and the time to expiry is wrong by the same amount.",
         otherwise(SKEW, NONE), unit="s", thresholds=SKEW_LEVELS,
         mappings=times("unknown"), no_value=NO_DATA, links=[runbook_link(anchor="ImdsClockSkew")]),
    name_stat("IMDSv1 only", "Credentials resolve only because IMDSv1 answers; the kind is why the token request of IMDSv2 "
              "fails.", label_or_no(f"max by (kind) ({selector('imds_v1_fallback_active')})", "kind"), "kind",
              absent=NO_DATA, thresholds=stat_thresholds((0, NEUTRAL), (1, WARN)),
              links=[runbook_link("${instance}", "ImdsV1Fallback")]),
    name_stat("Credentials from elsewhere", "What the SDKs' default chain finds in the exporter's environment before it "
              "would ask IMDS: static keys (environment), IRSA (web_identity), Pod Identity or a task role (container). Then "
              "nothing is said of clients, and no alert about IMDS fires.",
              label_or_no(f"max by (by) ({selector('imds_chain_shadowed')})", "by"), "by", absent=NO_DATA, filled=False),
    graph("Polls per minute", "One every 15 seconds by default, one every 5 seconds while failing.",
          [query(per_minute("imds_fetches_total"), "polls")], width=8, unit="none", min=0),
    graph("Clock skew over time", "The clock of IMDS minus the local clock. IMDS reports whole seconds.",
          [query(selector("imds_clock_skew_seconds"), "skew")], width=8, unit="s", soft_min=-1, soft_max=1),
    graph("Rotations", "New documents seen, and changes of the role's name, in each step of the graph.", [
        query(rate("imds_credentials_rotations_total", function="increase"), "new document"),
        query(rate("imds_role_changes_total", function="increase"), "role changed"),
    ], width=8, unit="none", decimals=0, bars=True, min=0, soft_max=1, colors={"^new": GOOD, "^role": SERIES[1]}),
    graph("Memory", "Resident memory.", [query(selector("process_resident_memory_bytes"), "resident")], width=6,
          unit="bytes", min=0),
    graph("CPU", "Share of one CPU.", [query(rate("process_cpu_seconds_total"), "CPU")], width=6, unit="percentunit", min=0),
    graph("Open files", "Open file descriptors, as a share of their limit.",
          [query(f"{selector('process_open_fds')} / {selector('process_max_fds')}", "open")], width=6,
          unit="percentunit", min=0, soft_max=0.1),
    graph("Scrape duration", "How long Prometheus waits for `/metrics`.",
          [query(selector("scrape_duration_seconds"), "scrape")], width=6, unit="s", min=0),
]

def outage(offset=""):
    """1 while IMDS fails, where that matters to an SDK."""
    return (f"(({selector('imds_up')}{offset} == bool 0) > 0) "
            f"unless on (instance) ({verdict('unused')}{offset} == 1)")


def role_changed(offset=""):
    """Above 0 for a while after each change of the role."""
    return f"increase({selector('imds_role_changes_total')}[5m]{offset}) > 0"


ANNOTATIONS = [
    region("Outage", outage(), outage(" offset $__interval"), BAD, "IMDS is failing", hide=True),
    mark("Outage began", f"({selector('imds_fetch_last_success_timestamp_seconds')} and {selector('imds_up')} == 0) or "
         f"{selector('imds_outage_last_start_timestamp_seconds')}", BAD, "Outage began: last success"),
    mark("Outage ended", selector("imds_outage_last_end_timestamp_seconds"), GOOD, "Outage ended: first success"),
    region("Alerts", firing("alertname, severity"), firing("alertname, severity", " offset $__interval"), NEUTRAL,
           "{{alertname}}", "{{severity}}"),
    region("Role changed", role_changed(), role_changed(" offset $__interval"), SERIES[1], "The role changed"),
    mark("Exporter started", selector("process_start_time_seconds"), SERIES[4], "Exporter started"),
]

DASHBOARD = for_one_instance(dashboard(
    INSTANCE_UID, "IMDS exporter: one instance",
    "Role credentials from IMDSv2 as one exporter sees them: whether they are available, when they expire, what fails, "
    "which clients are stuck.",
    panels=layout(
        ("Is it working now, and what is to be done?", NOW),
        ("How did it come to this?", STATES),
        ("How long until the credentials expire?", EXPIRY),
        ("What failed, at which step, how often?", FAILURES),
        ("Are clients stuck?", CLIENTS_AND_PROCESSES),
        ("Do clients of programs with never_stuck heal?", HEALED, "collapsed"),
        ("How slow is each step, compared with the SDKs' timeout of 1 second?", SPEED),
        ("Is the exporter itself working?", EXPORTER, "collapsed"),
    ),
    variables=variables(all_instances=False),
    annotations=ANNOTATIONS,
    links=[
        dashboard_link("Fleet", FLEET_UID),
        page_link("Runbook", "http://${instance}/runbook",
                  "Every alert and every kind of failure, served by the exporter"),
    ],
    refresh="30s", past="6h",
))
