"""The table of what is wrong with one exporter, since when, and what to do now.

A row's name and action are anchors of the runbook: a kind of failure, an alert, or a reason why a signed call failed. The
conditions are those of the alerts without their delays, so that the table is ahead of the alerts.
"""

from source import runbook
from source.blocks import (
    BAD, CLIENTS_STUCK, FILLED, GOOD, LONG_TEXT, NO_TIME, SDK_REFUSES_BELOW, WARN, clients_at_start, labelled,
    override, per_instance, runbook_link, selector, stalled, table, table_query, time_to_expiry, value_mappings, verdict,
    width_of,
)

UP = per_instance(selector("imds_up"))
SCRAPED = per_instance(selector("up"))
# Whether that is the exporter's verdict.
UNUSED = per_instance(f"{verdict('unused')} == 1")
PROXIED = per_instance(f"{verdict('proxied')} == 1")
LAST_SUCCESS = per_instance(selector("imds_fetch_last_success_timestamp_seconds"))
STARTED = per_instance(selector("process_start_time_seconds"))
OUTAGE_END = per_instance(selector("imds_outage_last_end_timestamp_seconds"))
REMAINING = per_instance(time_to_expiry())
CLIENTS = clients_at_start("instance")
# A failure began with the last success or, if there was none, with the exporter.
FAILING_SINCE = f"(({LAST_SUCCESS} or {STARTED}) and {UP} == 0)"

_LAST_SEEN = selector("imds_fetch_last_attempt_timestamp_seconds")
_LIFETIME = per_instance(f"{selector('imds_credentials_expiration_timestamp_seconds')} "
                         f"- {selector('imds_credentials_last_updated_timestamp_seconds')}")
_KIND = f"max by (instance, kind, step) ({selector('imds_failure_active')})"
_FALLBACK = f"max by (instance, kind) ({selector('imds_v1_fallback_active')})"
_REASON = f"max by (instance, reason) ({selector('imds_signed_call_failure_active')})"
_ACCEPTED = per_instance(selector("imds_signed_call_last_success_timestamp_seconds"))
_SUSPECT = f"min by (instance) ({selector('imds_suspect_process_start_time_seconds')})"
# 0 also while no role is known.
ROLE_EXPECTED = per_instance(f"{selector('imds_role_expected')} and on (instance) {selector('imds_role_info')}")
_SKEW = per_instance(f"abs({selector('imds_clock_skew_seconds')})")


def _seen_for(condition):
    """For how long a condition has been seen within a day, to the minute: no metric says since when it holds."""
    return f"60 * (count_over_time(({condition})[1d:1m]) - 1) and {condition}"


# Alert to its condition, the most urgent ones first. The value is for how long it has held, in seconds; NaN if no metric says.
_ALERTS = {
    "ImdsClientsFailing": f"{SDK_REFUSES_BELOW} - ({REMAINING} < {SDK_REFUSES_BELOW} > 0) and {UP} == 0",
    "ImdsCredentialsExpired": f"0 - ({REMAINING} <= 0)",
    "ImdsClientsStuck": f"(time() - {OUTAGE_END} or NaN * {UP}) and {CLIENTS} == {CLIENTS_STUCK}",
    "ImdsExporterDown": f"time() - {per_instance(f'last_over_time({_LAST_SEEN}[1d])')} and {SCRAPED} == 0",
    "ImdsPollStalled": per_instance(stalled()),
    "ImdsRequestsProxied": _seen_for(f"({per_instance(selector('imds_requests_proxied'))} == 1)"),
    "ImdsRotationOverdue": f"{_LIFETIME} / 2 - {REMAINING} > 0 and {REMAINING} > 0 and {UP} == 1",
    "ImdsUnexpectedRole": _seen_for(f"({ROLE_EXPECTED} == 0)"),
    "ImdsClockSkew": _seen_for(f"({_SKEW} >= 60)"),
    "ImdsSuspectProcesses": f"time() - {_SUSPECT}",
}
# Conditions that are named by a label: the label, what stands before its value in the runbook's anchor, the condition.
_KINDS = ("kind", "", f"{_KIND} * on (instance) group_left () (time() - {FAILING_SINCE})")
_REASONS = ("reason", "signed_call_", f"{_REASON} * on (instance) group_left () (time() - {_ACCEPTED} or NaN * {SCRAPED})")
_FALLBACKS = ("kind", "", _seen_for(_FALLBACK))


def _action(label, prefix, expr):
    return f'label_replace({expr}, "action", "{prefix}$1", "{label}", "(.+)")'


def _any(expressions):
    return " or ".join(f"({expr})" for expr in expressions)


# Prometheus returns the rows in this order.
_ROWS = [
    f'label_join({_action(*_KINDS)}, "problem", "", "action")',
    f'label_join({_action(*_REASONS)}, "problem", "", "action")',
    *(labelled(expr, problem=name, action=name) for name, expr in _ALERTS.items()),
    labelled(_action(*_FALLBACKS), problem="ImdsV1Fallback"),
]
_HELD = _any([_KIND, *_ALERTS.values(), _REASON, _FALLBACK])
_NOTHING = labelled(f"NaN * ({UP} == 1)", problem="nothing", action="nothing")
# Where no SDK asks IMDS, nothing of this matters to it.
_UNUSED = labelled(f"NaN * {UNUSED}", problem="unused", action="unused")
QUERY = f"""
    {_UNUSED} or (({_any(_ROWS)} or ({_NOTHING} unless on (instance) ({_HELD}))) unless on (instance) {UNUSED})
"""

_CRITICAL = {"ImdsClientsFailing", "ImdsCredentialsExpired", "ImdsClientsStuck", "ImdsExporterDown", *runbook.KINDS}
_NAMES = {"nothing": ("nothing", GOOD), "unused": "unused"} | {
    anchor: (anchor, BAD if anchor in _CRITICAL or anchor.startswith("signed_call_") else WARN)
    for anchor in runbook.ACTIONS}
_ACTIONS = {
    "nothing": "IMDS returns credentials, and nothing that the exporter can see is wrong.",
    "unused": "The SDKs here do not ask IMDS: they find other credentials before, or AWS_EC2_METADATA_DISABLED is true.",
} | runbook.ACTIONS

PROBLEMS = table(
    "What is wrong, and what to do now",
    "Each problem that the exporter sees at this moment, for how long it has existed, and the first thing to do, in the "
    "words of the runbook. The name opens its section there, which says what breaks, how to confirm it, and when to "
    "escalate. The alerts follow after their delays. No rows: nothing is known of this instance.",
    [table_query(QUERY)],
    columns={"problem": "Problem", "Value": "For", "action": "What to do now", "step": "Request"},
    width=24, height=6,
    overrides=[
        override("Problem", **FILLED, **width_of(190), mappings=value_mappings(_NAMES),
                 links=[runbook_link("${instance}", "${__value.raw}", "What ${__value.raw} means and what to do")]),
        override("For", unit="s", decimals=1, mappings=NO_TIME, **width_of(90)),
        override("What to do now", mappings=value_mappings(_ACTIONS), **LONG_TEXT),
        override("Request", **width_of(95)),
    ])
