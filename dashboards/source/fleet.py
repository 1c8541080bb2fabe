"""Thousands of exporters: how many are fine, which are worst. No graph has one line per exporter."""

from source.blocks import (
    BAD, COLORED, EXPIRY_LEVELS, FLEET_UID, GOOD, INSTANCE_UID, KINDS, SDK_REFUSES_BELOW, SERIES, SKEW_LEVELS, STEPS,
    WARN, annotation, bars, dashboard, graph, layout, levels, m, override, quantile, query, rate, remaining, rows,
    runbook, slower_than_1_s, stat, steps, stuck, table, to_dashboard, variables,
)

# What names an exporter. Labels that a set-up does not have are simply not there.
WHO = "cluster, namespace, job, instance"
COLUMNS = {"cluster": "Cluster", "namespace": "Namespace", "job": "Job", "instance": "Instance"}
WORST = 50

UP = m("imds_up")
FAILING_FOR = f"""
    max by ({WHO}) (
      time() - ({m('imds_fetch_last_success_timestamp_seconds')} or {m('process_start_time_seconds')}) and {UP} == 0
    )
"""
WORST_FAILING = f"topk({WORST}, {FAILING_FOR})"
STALLED = f"""
    time() - {m('imds_fetch_last_attempt_timestamp_seconds')} > bool 5 * {m('imds_poll_interval_seconds')}
"""
SKEW = f"abs({m('imds_clock_skew_seconds')})"
BAD_FROM_1 = levels((0, GOOD), (1, BAD))
WARN_FROM_1 = levels((0, GOOD), (1, WARN))


def count(title, description, expr, thresholds, no_value="no data", width=3):
    """How many exporters."""
    return stat(title, description, expr, unit="short", decimals=0, thresholds=thresholds, no_value=no_value,
                width=width)


def number(expr):
    """How many are in the state that the expression tells as 0 or 1."""
    return f"sum({expr})"


TO_INSTANCE = {
    "title": "Open ${__value.text}",
    "url": f"/d/{INSTANCE_UID}?var-instance=${{__value.raw}}&${{datasource:queryparam}}"
           "&${cluster:queryparam}&${namespace:queryparam}&${job:queryparam}&${__url_time_range}",
}
INSTANCE_LINK = override("Instance", links=[TO_INSTANCE])
TO_RUNBOOK = runbook("${__data.fields.Instance}", "${__value.raw}", "What ${__value.raw} means and what to do")

STATES = {"^fine": GOOD, "^stuck": WARN, "^failing": BAD, "^not scraped": "#808080"}

HEALTH = [
    count("Fine", "Exporters whose last poll returned credentials, and whose workload's clients are not stuck.",
          f"sum({UP}) - {number(stuck())}", levels((0, GOOD))),
    count("Failing", "Exporters whose last poll failed.", number(f"{UP} == bool 0"), BAD_FROM_1),
    count("Stuck", "IMDS answers, but boto3 clients created when the exporter started hold no credentials until they "
          "are created again.", number(stuck()), BAD_FROM_1),
    count("Close to expiry", "Less than 15 minutes left, and not past: boto3 refuses to sign when it cannot refresh.",
          number(f"({remaining()} < bool {SDK_REFUSES_BELOW}) * ({remaining()} > bool 0)"), BAD_FROM_1),
    count("Expired", "The last document seen is past its expiration.", number(f"{remaining()} <= bool 0"), BAD_FROM_1),
    count("Suspect processes", "Watched processes that started in an outage that is over, over all exporters that "
          "watch: suspicions, never proofs.", number(m("imds_suspect_processes")), WARN_FROM_1, "watching is off"),
    count("Not scraped", "Exporters that Prometheus does not reach.", number(f"{m('up')} == bool 0"), WARN_FROM_1),
    count("Stalled", "Exporters whose last poll ended more than 5 intervals ago.", number(STALLED), WARN_FROM_1),
    graph("Exporters by state", "Each exporter is in one of these states.", [
        query(f"sum({UP}) - {number(stuck())}", "fine"),
        query(number(stuck()), "stuck"),
        query(number(f"{UP} == bool 0"), "failing"),
        query(number(f"{m('up')} == bool 0"), "not scraped"),
    ], unit="short", stack=True, min=0, colors=STATES, decimals=0),
    graph("Failing by kind", "Exporters whose last poll failed, by the kind of the failure. One kind on many at once "
          "has one cause.", [query(f"sum by (kind) ({m('imds_failure_active')})", "{{kind}}")],
          unit="short", stack=True, min=0, colors=KINDS, decimals=0, no_value="none fails"),
]

WORST_ONES = [
    table("Failing longest", f"The {WORST} exporters that fail longest, why, and what is left. The instance opens its "
          "dashboard, the kind opens the exporter's own runbook.", [
              rows(WORST_FAILING),
              rows(f"max by ({WHO}) ({remaining()}) and {WORST_FAILING}"),
              rows(f"max by ({WHO}, kind, step) ({m('imds_failure_active')}) and on ({WHO}) {WORST_FAILING}"),
          ],
          columns=COLUMNS | {"kind": "Kind", "step": "Step", "Value #A": "Failing for", "Value #B": "Expires in"},
          width=24, height=9, merge=True, sort=("Failing for", True), no_value="", unit="dtdurations", decimals=1,
          overrides=[
              INSTANCE_LINK,
              override("Kind", links=[TO_RUNBOOK]),
              override("Expires in", thresholds=EXPIRY_LEVELS, custom__cellOptions=COLORED),
          ]),
    table("Closest to expiry", "The 20 exporters whose credentials end first.",
          [rows(f"bottomk(20, min by ({WHO}) ({remaining()}))")],
          columns=COLUMNS | {"Value": "Expires in"}, sort=("Expires in", False), unit="dtdurations", decimals=1,
          overrides=[INSTANCE_LINK, override("Expires in", thresholds=EXPIRY_LEVELS, custom__cellOptions=COLORED)]),
    table("Stuck exporters", f"Up to {WORST} exporters whose workload holds clients without credentials although "
          "IMDS answers. Restart these workloads.",
          [rows(f"topk({WORST}, max by ({WHO}) (time() - {m('imds_outage_last_end_timestamp_seconds')}) "
                f"and max by ({WHO}) ({stuck()}) == 1)")],
          columns=COLUMNS | {"Value": "Since the outage"}, sort=("Since the outage", True), unit="dtdurations",
          decimals=1, overrides=[INSTANCE_LINK]),
    graph("Time to expiry across the fleet", "The least, and what 5 % and half of the exporters have at most.", [
        query(f"min({remaining()})", "least"),
        query(f"quantile(0.05, {remaining()})", "5 %"),
        query(f"quantile(0.5, {remaining()})", "half"),
    ], unit="s", line_at=SDK_REFUSES_BELOW, thresholds=steps((None, BAD), (SDK_REFUSES_BELOW, "transparent")),
        colors={"least": SERIES[5], "5 %": SERIES[1], "half": SERIES[0]}),
    table("Suspects", f"Up to {WORST} watched processes that started in an outage that is over and still run. "
          "Suspicions, never proofs.",
          [rows(f"bottomk({WORST}, max by ({WHO}, pid, command) ({m('imds_suspect_process_start_time_seconds')})) "
                "* 1000")],
          columns=COLUMNS | {"pid": "Process", "command": "Command", "Value": "Started"}, sort=("Started", False),
          unit="dateTimeAsIso", overrides=[INSTANCE_LINK]),
]

FAILURES = [
    graph("Failed polls by kind", "Failed polls per second.",
          [query(f"sum by (kind) ({rate('imds_fetch_failures_total')}) > 0", "{{kind}}")], unit="ops", stack=True,
          min=0, colors=KINDS, no_value="no failure"),
    graph("Share of failed polls", "Failed polls of all polls.",
          [query(f"sum({rate('imds_fetch_failures_total')}) / sum({rate('imds_fetches_total')})", "failed")],
          unit="percentunit", min=0, max=1, fill=20, colors={"failed": BAD}),
    graph("Outages and rotations", "Outages that began, and new documents seen.", [
        query(f"sum({rate('imds_outages_total', function='increase')})", "outages"),
        query(f"sum({rate('imds_credentials_rotations_total', function='increase')})", "rotations"),
    ], unit="short", min=0, bars=True, colors={"outages": BAD, "rotations": GOOD}),
    graph("Requests: 99 % are faster than", "By request, over all exporters, against the 1 second after which every "
          "AWS SDK gives up by default.",
          [query(quantile(0.99, "imds_request_duration_seconds", "step"), "{{step}}")], unit="s", line_at=1, min=0,
          colors=STEPS),
    graph("Requests slower than 1 second", "The share of requests on which an AWS SDK with default settings would have "
          "given up.", [query(slower_than_1_s(), "{{step}}")], unit="percentunit", min=0, fill=10, colors=STEPS),
    bars("Roles", "Exporters by the role in force; the 10 most frequent.",
         f"topk(10, sum by (role) ({m('imds_role_info')}))", "{{role}}", decimals=0, min=0,
         thresholds=levels((0, GOOD))),
]

EXPORTERS = [
    count("Another role", "Exporters whose role in force is not the configured one.",
          number(f"{m('imds_role_expected')} == bool 0"), BAD_FROM_1, "none configured", width=12),
    count("Clock off by 60 s", "Exporters whose clock is off by more than 60 s.", number(f"{SKEW} > bool 60"),
          WARN_FROM_1, width=12),
    graph("Exporters by version", "How far a rollout has come.",
          [query(f"sum by (version) ({m('imds_exporter_build_info')})", "{{version}}")], unit="short", stack=True,
          min=0, decimals=0),
    graph("Exporter starts", "Starts of exporters; many at once are a rollout or a crash loop.",
          [query(f"sum(changes({m('process_start_time_seconds')}[$__rate_interval]))", "starts")], unit="short",
          min=0, bars=True),
    graph("Clock skew", "IMDS's clock minus the local one, by size. AWS rejects signatures from a clock that is off by "
          "5 minutes.", [
              query(f"max({SKEW})", "most"),
              query(f"quantile(0.95, {SKEW})", "95 %"),
          ], unit="s", min=0, line_at=60, colors={"most": SERIES[5], "95 %": SERIES[0]}),
    table("Largest clock skew", "The 20 clocks that are furthest off; positive where the local clock is late.",
          [rows(f"max by ({WHO}) ({m('imds_clock_skew_seconds')}) and topk(20, max by ({WHO}) ({SKEW}))")],
          columns=COLUMNS | {"Value": "IMDS minus local"}, unit="s",
          thresholds=SKEW_LEVELS,
          overrides=[INSTANCE_LINK, override("IMDS minus local", custom__cellOptions=COLORED)]),
]

DASHBOARD = dashboard(
    FLEET_UID, "IMDS exporter: fleet",
    "Role credentials from IMDSv2 over all exporters: how many are fine, which are worst, how a rollout goes.",
    panels=layout(
        ("How many are fine?", HEALTH),
        ("Which are worst?", WORST_ONES),
        ("What fails, and how fast is IMDS?", FAILURES),
        ("Rollout, roles and clocks", EXPORTERS),
    ),
    variables=variables(all_instances=True),
    annotations=[
        annotation("Fleet outage", 'ALERTS{alertname="ImdsFleetOutage", alertstate="firing"}', BAD,
                   "{{alertname}}", "{{severity}}"),
    ],
    links=[to_dashboard("One instance", INSTANCE_UID)],
    refresh="1m", past="6h",
)
