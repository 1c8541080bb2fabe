"""The dashboard of a fleet: how many machines are fine, which ones are worst. No graph has one line per exporter.

A machine may run several exporters, as with sidecars. Its name is the label `node` of its targets or, where there is none,
the host of `instance`. It counts once, with its worst exporter.
"""

from source import runbook
from source.blocks import (
    BAD, EXPIRY_LEVELS, FILLED, FLEET_UID, GOOD, HOUR, IDENTITY, INSTANCE_UID, LONG_TEXT, NEUTRAL, NO_TIME, REFUSED,
    SDK_REFUSES_BELOW, SERIES, SKEW_LEVELS, STEPS, VERDICTS, WARN, alerts_table, counts, dashboard, dashboard_link, firing, graph,
    instance_link, layout, override, per_minute, quantile, query, rate, region, roles, runbook_link, selector, slower_than_1_s,
    stalled, stat, stat_thresholds, suspects, table, table_query, threshold_steps, time_to_expiry, value_mappings, variables,
    verdict, width_of, with_machine,
)

MAX_ROWS = 50
NO_DATA = "no data"


def per_exporter(expr):
    """One value for each exporter, without the labels that tell its series apart, but with its node."""
    return f"max by ({IDENTITY}, node) ({expr})"


def per_machine(expr, by="", function="max"):
    """The worst value of each machine's exporters."""
    return f"{function} by (cluster, machine{', ' + by if by else ''}) ({with_machine(expr)})"


def unless_unused(expr):
    """Without the exporters beside which no SDK asks IMDS: whether IMDS answers them matters to nobody."""
    return f"({expr} unless on ({IDENTITY}) {verdict('unused')} == 1)"


UP = per_exporter(selector("imds_up"))
# `up` of any job exists: an exporter is a target that was one within a day.
SCRAPED = per_exporter(f"""
    {selector('up')} and on ({IDENTITY}) last_over_time({selector('imds_exporter_build_info')}[1d])
""")
STUCK = per_exporter(f"{verdict('stuck')} == 1")
STARTED = per_exporter(selector("process_start_time_seconds"))
LAST_SUCCESS = per_exporter(selector("imds_fetch_last_success_timestamp_seconds"))
EXPIRES_IN = unless_unused(per_exporter(time_to_expiry()))
SOONEST = per_machine(EXPIRES_IN, function="min")
REFUSED_REASON = f'reason=~"{REFUSED}"'
REFUSED_CALLS = per_exporter(selector("imds_signed_call_failure_active", REFUSED_REASON))
SIGNED_UP = per_exporter(selector("imds_signed_call_up"))
SKEW = per_exporter(selector("imds_clock_skew_seconds"))
FAILING_KINDS = unless_unused(f"max by ({IDENTITY}, node, kind, step) ({selector('imds_failure_active')})")


def machines(expr):
    """The number of machines for which the comparison with `bool` holds."""
    return f"sum({expr})"


def machines_in(state):
    """The number of machines with an exporter that has this verdict."""
    return machines(per_machine(verdict(state)))


BAD_FROM_1 = stat_thresholds((0, GOOD), (1, BAD))
WARN_FROM_1 = stat_thresholds((0, GOOD), (1, WARN))


def count_stat(title, description, expr, thresholds, no_value=NO_DATA, width=3, **rest):
    """A number of machines or exporters."""
    return stat(title, description, expr, unit="none", decimals=0, thresholds=thresholds, no_value=no_value, width=width,
                **rest)


COLUMNS = {"instance": "Instance"}
PLACE = {"node": "Node", "namespace": "Namespace", "cluster": "Cluster", "job": "Job"}
INSTANCE = override("Instance", links=[instance_link()], **width_of(200))


def seconds(name, **more):
    """A column with a duration, negative ones as such."""
    return override(name, unit="s", decimals=1, **width_of(130), **more)


EXPIRES = seconds("Expires in", thresholds=EXPIRY_LEVELS, **FILLED)
KIND_LINK = runbook_link("${__data.fields.Instance}", "${__value.raw}", "What ${__value.raw} means and what to do")

HEALTH = [
    count_stat("Fine", "Machines on which every exporter's last poll returned credentials that AWS accepts, as far as is "
               "known, and no declared workload's clients are stuck.", machines(per_machine(unless_unused(verdict("fine")), function="min")),
               stat_thresholds((0, NEUTRAL), (1, GOOD))),
    count_stat("Failing", "Machines on which an exporter's last poll failed.", machines_in("failing"), BAD_FROM_1),
    count_stat("Stuck", "Machines on which IMDS answers, but clients that were created when the declared workload started "
               "have no credentials.", machines_in("stuck"), BAD_FROM_1),
    count_stat("Close to expiry", "Machines whose credentials expire in less than 15 minutes: boto3 refuses to sign if it "
               "cannot refresh.",
               machines(f"({SOONEST} > bool 0) * ({SOONEST} < bool {SDK_REFUSES_BELOW})"), BAD_FROM_1),
    count_stat("Expired", "Machines whose last document is past its expiration.",
               machines(f"{SOONEST} <= bool 0"), BAD_FROM_1),
    count_stat("AWS refuses", "Machines whose last signed call AWS refused. *Unchecked*: no exporter makes signed "
               "calls.", machines(f"{per_machine(f'{REFUSED_CALLS} or 0 * {SIGNED_UP}')} == bool 1"), BAD_FROM_1,
               "unchecked"),
    count_stat("Suspects", "Watched processes that started during an outage that is over, on all machines: "
               "suspicions, never proofs.", f"sum({selector('imds_suspect_processes')})", WARN_FROM_1, "off"),
    count_stat("Not scraped", "Machines with an exporter that answered within a day and that Prometheus does not reach "
               "now.", machines(f"{per_machine(SCRAPED, function='min')} == bool 0"), WARN_FROM_1),
    table("What fails, and what to do now", "The kinds of the failures in force, with the number of machines. If many "
          "machines have the same kind, they have one cause.",
          [table_query(f"""label_join(count by (kind) ({per_machine(FAILING_KINDS, 'kind')}), "action", "", "kind")""")],
          columns={"kind": "Kind", "Value": "Machines", "action": "What to do now"}, width=24, height=6,
          sort=("Machines", True), overrides=[
              override("Kind", **width_of(210), **FILLED,
                       mappings=value_mappings({kind: (kind, BAD) for kind in runbook.KINDS})),
              override("Machines", unit="none", decimals=0, **width_of(110)),
              override("What to do now", mappings=value_mappings(
                  {kind: runbook.ACTIONS[kind] for kind in runbook.KINDS}), **LONG_TEXT),
          ]),
    alerts_table("alertname, severity", {"alertname": "Alert", "Value": "Active for", "severity": "Severity",
                                         "summary": "Summary"}),
]

OVER_TIME = [
    counts("Machines by verdict", "Machines by what their exporters conclude. A machine with several exporters counts in each of "
           "their verdicts.", [query(f"sum by (state) ({per_machine(verdict(), 'state')})", "{{state}}")], stack=True,
           colors={f"^{state}$": color for state, (_, color) in VERDICTS.items()},
           names={f"^{state}$": name for state, (name, _) in VERDICTS.items()}),
    counts("Machines failing by kind", "Machines on which the last poll of an exporter failed, by the kind of the failure.",
           [query(f"count by (kind) ({per_machine(FAILING_KINDS, 'kind')})", "{{kind}}")], stack=True, palette=True),
]

FAILING_FOR = unless_unused(f"(time() - ({LAST_SUCCESS} or {STARTED}) and {UP} == 0)")
FAILING_LONGEST = f"topk({MAX_ROWS}, {FAILING_FOR})"
STUCK_FOR = f"(time() - {per_exporter(selector('imds_outage_last_end_timestamp_seconds'))}) and {STUCK}"
ON_TARGET = f"on ({IDENTITY}, node)"

WORST = [
    table("Failing longest", f"The {MAX_ROWS} exporters that have failed for the longest time, the reason, and the "
          "time to expiry. The instance links to its dashboard, the kind to the exporter's own runbook.", [
              table_query(FAILING_LONGEST),
              table_query(f"max by ({IDENTITY}, node, kind, step) ({FAILING_KINDS}) and {ON_TARGET} {FAILING_LONGEST}"),
              table_query(f"{EXPIRES_IN} and {ON_TARGET} {FAILING_LONGEST}"),
          ],
          columns=COLUMNS | {"Value #A": "Failing for", "Value #C": "Expires in", "kind": "Kind", "step": "Step"} | PLACE,
          width=24, height=8, merge=True, sort=("Failing for", True), overrides=[
              INSTANCE, seconds("Failing for"), EXPIRES, override("Kind", links=[KIND_LINK], **width_of(210)),
              override("Step", **width_of(110)),
          ]),
    table("Closest to expiry", "The 20 exporters whose credentials expire first.",
          [table_query(f"bottomk(20, {EXPIRES_IN})")], columns=COLUMNS | {"Value": "Expires in"} | PLACE,
          sort=("Expires in", False), overrides=[INSTANCE, EXPIRES]),
    table("Clients stuck", f"Up to {MAX_ROWS} exporters whose workload holds clients without credentials although "
          "IMDS answers. Restart the workload, and then the exporter.",
          [table_query(f"topk({MAX_ROWS}, {STUCK_FOR})")], columns=COLUMNS | {"Value": "For"} | PLACE,
          sort=("For", True), overrides=[INSTANCE, seconds("For")]),
    graph("Time to expiry across the fleet", "Minimum, 5th percentile and median over all exporters. The line marks 15 "
          "minutes.", [
              query(f"min({EXPIRES_IN}) / {HOUR}", "minimum"),
              query(f"quantile(0.05, {EXPIRES_IN}) / {HOUR}", "p5"),
              query(f"quantile(0.5, {EXPIRES_IN}) / {HOUR}", "median"),
          ], unit="suffix:h", decimals=1, line_at=SDK_REFUSES_BELOW / HOUR, soft_min=0,
          thresholds=threshold_steps((None, BAD), (SDK_REFUSES_BELOW / HOUR, "transparent")),
          colors={"minimum": SERIES[5], "p5": SERIES[1], "median": SERIES[0]}),
    table("AWS refuses the credentials", f"Up to {MAX_ROWS} exporters whose last signed call AWS refused.",
          [table_query(f"""topk({MAX_ROWS}, max by ({IDENTITY}, node, reason)
          ({selector('imds_signed_call_failure_active', REFUSED_REASON)}) * {ON_TARGET} group_left ()
          (time() - {per_exporter(selector('imds_signed_call_last_success_timestamp_seconds'))} or NaN * {UP}))""")],
          columns=COLUMNS | {"Value": "For", "reason": "Reason"} | PLACE, sort=("For", True), overrides=[
              INSTANCE, seconds("For", mappings=NO_TIME),
              override("Reason", **width_of(150), links=[runbook_link(
                  "${__data.fields.Instance}", "signed_call_${__value.raw}", "What ${__value.raw} means and what to do")]),
          ]),
    table("Suspect processes", f"Up to {MAX_ROWS} watched processes that started during an outage that is over and "
          "still run, by unit and pod. Suspicions, never proofs.",
          [table_query(f"bottomk({MAX_ROWS}, {suspects(f'{IDENTITY}, node, pid, command, unit, container_id, pod_uid')})")],
          columns={"command": "Command", "Value": "Started", "instance": "Instance", "unit": "Unit", "pod_uid": "Pod UID",
                   "container_id": "Container", "pid": "PID"} | PLACE,
          width=24, height=7, sort=("Started", False), overrides=[
              INSTANCE, override("Command", **width_of(200)), override("Started", unit="dateTimeAsIso", **width_of(180)),
              override("PID", **width_of(80)),
          ]),
]

FAILURES = [
    counts("Failed polls per minute", "Over all exporters, by kind.",
           [query(f"sum by (kind) ({per_minute('imds_fetch_failures_total')}) > 0", "{{kind}}")], stack=True, palette=True),
    graph("Outages and rotations", "Outages that began, and new documents seen, in each step of the graph.", [
        query(f"sum({rate('imds_outages_total', function='increase')})", "outages"),
        query(f"sum({rate('imds_credentials_rotations_total', function='increase')})", "rotations"),
    ], unit="none", decimals=0, min=0, soft_max=1, bars=True, colors={"outages": BAD, "rotations": GOOD}),
    graph("Request duration: 99th percentile", "By request, over all exporters and half an hour. The line marks 1 second, "
          "the default timeout of every AWS SDK.",
          [query(quantile(0.99, "imds_request_duration_seconds", "step"), "{{step}}")], unit="s", line_at=1, log=True,
          soft_max=2, colors=STEPS),
    graph("Requests slower than 1 second", "The share of requests on which an AWS SDK with default settings would have "
          "timed out.", [query(slower_than_1_s(), "{{step}}")], unit="percentunit", min=0, soft_max=0.1, fill=10,
          colors=STEPS),
]

EXPORTERS = [
    count_stat("Exporters", "Exporters that answer.", f"sum({SCRAPED})", stat_thresholds(), filled=False, width=4),
    count_stat("Stalled", "Exporters whose last poll ended more than 5 intervals ago.",
               f"count({stalled()}) or 0 * sum({UP})", WARN_FROM_1, width=4),
    count_stat("IMDS not used", "Exporters beside which no SDK asks IMDS: their environment has other credentials or disables IMDS. "
               "They count as neither fine nor failing.", f"sum({verdict('unused')})", stat_thresholds(), filled=False,
               width=4),
    count_stat("IMDSv1 only", "Exporters that get credentials only because IMDSv1 answers.",
               f"sum({per_exporter(selector('imds_v1_fallback_active'))} or 0 * {UP})", WARN_FROM_1, width=4),
    count_stat("Unexpected role", "Exporters whose current role is not the configured one.",
               f"sum({selector('imds_role_expected')} == bool 0 and on ({IDENTITY}) {selector('imds_role_info')})", BAD_FROM_1, "unchecked", width=4),
    count_stat("Clock off by 60 s", "Exporters whose clock differs from that of IMDS by 60 seconds or more.",
               f"sum(abs({SKEW}) >= bool 60)", WARN_FROM_1, width=4),
    graph("Exporters by version", "The progress of a rollout.",
          [query(f"sum by (version) ({selector('imds_exporter_build_info')})", "{{version}}")], unit="none",
          stack=True, min=0, decimals=0, soft_max=1, palette=True, legend="table"),
    graph("Exporter starts", "Starts of exporters; many at the same time are a rollout or a crash loop.",
          [query(f"sum(changes({selector('process_start_time_seconds')}[$__rate_interval]))", "starts")], unit="none",
          decimals=0, min=0, soft_max=1, bars=True),
    table("Roles", "Exporters by current role; the 20 most frequent roles.",
          [table_query(f"topk(20, sum by (role) ({roles()}))")],
          columns={"role": "Role", "Value": "Exporters"}, width=6, sort=("Exporters", True),
          overrides=[override("Exporters", unit="none", decimals=0, **width_of(100))]),
    table("Versions", "Exporters by version and revision.",
          [table_query(f"sum by (version, revision) ({selector('imds_exporter_build_info')})")],
          columns={"version": "Version", "Value": "Exporters", "revision": "Revision"}, width=6, sort=("Exporters", True),
          overrides=[override("Version", **width_of(80)),
                     override("Exporters", unit="none", decimals=0, **width_of(100))]),
    table("Largest clock skew", "The 20 clocks that are off the most, and the clock of IMDS minus the local clock: positive if "
          "the local clock is behind.",
          [table_query(f"topk(20, abs({SKEW}))"), table_query(f"{SKEW} and {ON_TARGET} topk(20, abs({SKEW}))")],
          columns=COLUMNS | {"Value #A": "Off by", "Value #B": "IMDS minus local"} | PLACE, merge=True,
          sort=("Off by", True), overrides=[
              INSTANCE, seconds("Off by"), seconds("IMDS minus local", thresholds=SKEW_LEVELS, **FILLED)]),
]

DASHBOARD = dashboard(
    FLEET_UID, "IMDS exporter: fleet",
    "Role credentials from IMDSv2 over all exporters: how many machines are fine, which ones are worst, how a rollout "
    "proceeds.",
    panels=layout(
        ("How many machines are fine, and what is to be done?", HEALTH),
        ("How did it come to this?", OVER_TIME),
        ("Which ones are worst?", WORST),
        ("What fails, and how fast is IMDS?", FAILURES),
        ("Rollout, roles and clocks", EXPORTERS),
    ),
    variables=variables(all_instances=True),
    annotations=[
        region("Fleet outage", firing("alertname, severity", name="ImdsFleetOutage"),
               firing("alertname, severity", " offset $__interval", name="ImdsFleetOutage"), BAD, "{{alertname}}",
               "{{severity}}"),
    ],
    links=[dashboard_link("One instance", INSTANCE_UID)],
    refresh="1m", past="6h",
)
