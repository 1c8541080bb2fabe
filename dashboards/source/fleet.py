"""The dashboard of a fleet: how many exporters are fine, which ones are worst. No graph has one line per exporter."""

from source.blocks import (
    BAD, COLORED, EXPIRY_LEVELS, FLEET_UID, GOOD, INSTANCE_UID, KINDS, SDK_REFUSES_BELOW, SERIES, SKEW_LEVELS, STEPS,
    WARN, annotation, bar_gauge, clients_stuck, dashboard, dashboard_link, graph, layout, override, quantile, query,
    rate, runbook_link, selector, slower_than_1_s, stat, stat_thresholds, table, table_query, threshold_steps,
    time_to_expiry, variables,
)

# The labels that identify an exporter. Labels that a setup does not use are absent.
IDENTITY = "cluster, namespace, job, instance"
COLUMNS = {"cluster": "Cluster", "namespace": "Namespace", "job": "Job", "instance": "Instance"}
MAX_ROWS = 50

UP = selector("imds_up")
LAST_SUCCESS = selector("imds_fetch_last_success_timestamp_seconds")
PROCESS_START = selector("process_start_time_seconds")
FAILING_FOR = f"""
    max by ({IDENTITY}) (
      time() - ({LAST_SUCCESS} or {PROCESS_START}) and {UP} == 0
    )
"""
FAILING_LONGEST = f"topk({MAX_ROWS}, {FAILING_FOR})"
STALLED = f"""
    time() - {selector('imds_fetch_last_attempt_timestamp_seconds')}
      > bool 5 * {selector('imds_poll_interval_seconds')}
"""
SKEW = f"abs({selector('imds_clock_skew_seconds')})"
BAD_FROM_1 = stat_thresholds((0, GOOD), (1, BAD))
WARN_FROM_1 = stat_thresholds((0, GOOD), (1, WARN))


def count_stat(title, description, expr, thresholds, no_value="no data", width=3):
    """A number of exporters."""
    return stat(title, description, expr, unit="short", decimals=0, thresholds=thresholds, no_value=no_value,
                width=width)


def count_of(expr):
    """The number of exporters for which the expression is 1 and not 0."""
    return f"sum({expr})"


# 0 where no exporter has a declared workload.
STUCK = f"({count_of(clients_stuck())} or vector(0))"


INSTANCE_LINK = override("Instance", links=[{
    "title": "Open ${__value.text}",
    "url": f"/d/{INSTANCE_UID}?var-instance=${{__value.raw}}&${{datasource:queryparam}}"
           "&${cluster:queryparam}&${namespace:queryparam}&${job:queryparam}&${__url_time_range}",
}])
KIND_LINK = runbook_link("${__data.fields.Instance}", "${__value.raw}", "What ${__value.raw} means and what to do")

STATES = {"^fine": GOOD, "^stuck": WARN, "^failing": BAD, "^not scraped": "#808080"}

HEALTH = [
    count_stat("Fine", "Exporters whose last poll returned credentials, and whose workload's clients are not stuck.",
               f"sum({UP}) - {STUCK}", stat_thresholds((0, GOOD))),
    count_stat("Failing", "Exporters whose last poll failed.", count_of(f"{UP} == bool 0"), BAD_FROM_1),
    count_stat("Stuck", "IMDS answers, but boto3 clients that were created when the declared workload started hold no "
               "credentials until they are re-created.", STUCK, BAD_FROM_1),
    count_stat("Close to expiry", "Exporters whose credentials expire in less than 15 minutes: boto3 refuses to sign "
               "if it cannot refresh.",
               count_of(f"({time_to_expiry()} < bool {SDK_REFUSES_BELOW}) * ({time_to_expiry()} > bool 0)"),
               BAD_FROM_1),
    count_stat("Expired", "The last document seen is past its expiration.",
               count_of(f"{time_to_expiry()} <= bool 0"), BAD_FROM_1),
    count_stat("Suspect processes", "Watched processes that started during an outage that is over, on all exporters "
               "that watch processes: suspicions, never proofs.", count_of(selector("imds_suspect_processes")),
               WARN_FROM_1, "watching is disabled"),
    count_stat("Not scraped", "Exporters that Prometheus does not reach.", count_of(f"{selector('up')} == bool 0"),
               WARN_FROM_1),
    count_stat("Stalled", "Exporters whose last poll ended more than 5 intervals ago.", count_of(STALLED), WARN_FROM_1),
    graph("Exporters by state", "Each exporter is in one of these states.", [
        query(f"sum({UP}) - {STUCK}", "fine"),
        query(STUCK, "stuck"),
        query(count_of(f"{UP} == bool 0"), "failing"),
        query(count_of(f"{selector('up')} == bool 0"), "not scraped"),
    ], unit="short", stack=True, min=0, colors=STATES, decimals=0),
    graph("Failing by kind", "Exporters whose last poll failed, by the kind of the failure. If many exporters have the "
          "same kind, they have one cause.",
          [query(f"sum by (kind) ({selector('imds_failure_active')})", "{{kind}}")],
          unit="short", stack=True, min=0, colors=KINDS, decimals=0, no_value="none failing"),
]

WORST = [
    table("Failing longest", f"The {MAX_ROWS} exporters that have failed for the longest time, the reason, and the "
          "time to expiry. The instance links to its dashboard, the kind to the exporter's own runbook.", [
              table_query(FAILING_LONGEST),
              table_query(f"max by ({IDENTITY}) ({time_to_expiry()}) and {FAILING_LONGEST}"),
              table_query(f"max by ({IDENTITY}, kind, step) ({selector('imds_failure_active')}) "
                          f"and on ({IDENTITY}) {FAILING_LONGEST}"),
          ],
          columns=COLUMNS | {"kind": "Kind", "step": "Step", "Value #A": "Failing for", "Value #B": "Expires in"},
          width=24, height=9, merge=True, sort=("Failing for", True), no_value="", unit="dtdurations", decimals=1,
          overrides=[
              INSTANCE_LINK,
              override("Kind", links=[KIND_LINK]),
              override("Expires in", thresholds=EXPIRY_LEVELS, custom__cellOptions=COLORED),
          ]),
    table("Closest to expiry", "The 20 exporters whose credentials expire first.",
          [table_query(f"bottomk(20, min by ({IDENTITY}) ({time_to_expiry()}))")],
          columns=COLUMNS | {"Value": "Expires in"}, sort=("Expires in", False), unit="dtdurations", decimals=1,
          overrides=[INSTANCE_LINK, override("Expires in", thresholds=EXPIRY_LEVELS, custom__cellOptions=COLORED)]),
    table("Stuck exporters", f"Up to {MAX_ROWS} exporters whose workload holds clients without credentials although "
          "IMDS answers. Restart these workloads.",
          [table_query(f"topk({MAX_ROWS}, max by ({IDENTITY}) "
                       f"(time() - {selector('imds_outage_last_end_timestamp_seconds')}) "
                       f"and max by ({IDENTITY}) ({clients_stuck()}) == 1)")],
          columns=COLUMNS | {"Value": "Since the outage"}, sort=("Since the outage", True), unit="dtdurations",
          decimals=1, overrides=[INSTANCE_LINK]),
    graph("Time to expiry across the fleet", "Minimum, 5th percentile and median over all exporters.", [
        query(f"min({time_to_expiry()})", "minimum"),
        query(f"quantile(0.05, {time_to_expiry()})", "p5"),
        query(f"quantile(0.5, {time_to_expiry()})", "median"),
    ], unit="s", line_at=SDK_REFUSES_BELOW, thresholds=threshold_steps((None, BAD), (SDK_REFUSES_BELOW, "transparent")),
        colors={"minimum": SERIES[5], "p5": SERIES[1], "median": SERIES[0]}),
    table("Suspect processes", f"Up to {MAX_ROWS} watched processes that started during an outage that is over and "
          "still run. Suspicions, never proofs.",
          [table_query(f"bottomk({MAX_ROWS}, max by ({IDENTITY}, pid, command, unit, container_id, pod_uid) "
                       f"({selector('imds_suspect_process_start_time_seconds')})) * 1000")],
          columns=COLUMNS | {"pid": "PID", "command": "Command", "unit": "Unit", "container_id": "Container",
                             "pod_uid": "Pod UID", "Value": "Started"}, sort=("Started", False),
          unit="dateTimeAsIso", overrides=[INSTANCE_LINK]),
]

FAILURES = [
    graph("Failed polls by kind", "Failed polls per second.",
          [query(f"sum by (kind) ({rate('imds_fetch_failures_total')}) > 0", "{{kind}}")], unit="ops", stack=True,
          min=0, colors=KINDS, no_value="no failure"),
    graph("Share of failed polls", "Failed polls divided by all polls.",
          [query(f"sum({rate('imds_fetch_failures_total')}) / sum({rate('imds_fetches_total')})", "failed")],
          unit="percentunit", min=0, max=1, fill=20, colors={"failed": BAD}),
    graph("Outages and rotations", "Outages that began, and new documents seen.", [
        query(f"sum({rate('imds_outages_total', function='increase')})", "outages"),
        query(f"sum({rate('imds_credentials_rotations_total', function='increase')})", "rotations"),
    ], unit="short", min=0, bars=True, colors={"outages": BAD, "rotations": GOOD}),
    graph("Request duration: 99th percentile", "By request, over all exporters. The line marks 1 second, the default "
          "timeout of every AWS SDK.",
          [query(quantile(0.99, "imds_request_duration_seconds", "step"), "{{step}}")], unit="s", line_at=1, min=0,
          colors=STEPS),
    graph("Requests slower than 1 second", "The share of requests on which an AWS SDK with default settings would have "
          "timed out.", [query(slower_than_1_s(), "{{step}}")], unit="percentunit", min=0, fill=10, colors=STEPS),
    bar_gauge("Roles", "Exporters by current role; the 10 most frequent roles.",
              f"topk(10, sum by (role) ({selector('imds_role_info')}))", "{{role}}", decimals=0, min=0,
              thresholds=stat_thresholds((0, GOOD))),
]

EXPORTERS = [
    count_stat("Unexpected role", "Exporters whose current role is not the configured one.",
               count_of(f"{selector('imds_role_expected')} == bool 0"), BAD_FROM_1, "none configured", width=6),
    count_stat("Clock skew above 60 s", "Exporters whose clock is off by more than 60 s.",
               count_of(f"{SKEW} > bool 60"), WARN_FROM_1, width=6),
    count_stat("IMDSv1 only", "Exporters that get credentials only because IMDSv1 answers.",
               count_of(selector("imds_v1_fallback_active")), WARN_FROM_1, "none", width=6),
    count_stat("Credentials from elsewhere", "Exporters beside which no SDK asks IMDS, because their environment has other "
               "credentials.", count_of(selector("imds_chain_shadowed")), stat_thresholds(), "none", width=6),
    graph("Exporters by version", "The progress of a rollout.",
          [query(f"sum by (version) ({selector('imds_exporter_build_info')})", "{{version}}")], unit="short",
          stack=True, min=0, decimals=0),
    graph("Exporter starts", "Starts of exporters; many at the same time are a rollout or a crash loop.",
          [query(f"sum(changes({PROCESS_START}[$__rate_interval]))", "starts")], unit="short", min=0, bars=True),
    graph("Clock skew", "Absolute difference between the clock of IMDS and the local clock. AWS refuses signatures "
          "from a clock that is off by 5 minutes.", [
              query(f"max({SKEW})", "maximum"),
              query(f"quantile(0.95, {SKEW})", "p95"),
          ], unit="s", min=0, line_at=60, colors={"maximum": SERIES[5], "p95": SERIES[0]}),
    table("Largest clock skew", "The 20 clocks that are off the most; positive if the local clock is behind.",
          [table_query(f"max by ({IDENTITY}) ({selector('imds_clock_skew_seconds')}) "
                       f"and topk(20, max by ({IDENTITY}) ({SKEW}))")],
          columns=COLUMNS | {"Value": "IMDS minus local"}, unit="s",
          thresholds=SKEW_LEVELS,
          overrides=[INSTANCE_LINK, override("IMDS minus local", custom__cellOptions=COLORED)]),
]

DASHBOARD = dashboard(
    FLEET_UID, "IMDS exporter: fleet",
    "Role credentials from IMDSv2 over all exporters: how many are fine, which ones are worst, how a rollout proceeds.",
    panels=layout(
        ("How many are fine?", HEALTH),
        ("Which ones are worst?", WORST),
        ("What fails, and how fast is IMDS?", FAILURES),
        ("Rollout, roles and clocks", EXPORTERS),
    ),
    variables=variables(all_instances=True),
    annotations=[
        annotation("Fleet outage", 'ALERTS{alertname="ImdsFleetOutage", alertstate="firing"}', BAD,
                   "{{alertname}}", "{{severity}}"),
    ],
    links=[dashboard_link("One instance", INSTANCE_UID)],
    refresh="1m", past="6h",
)
