"""Every query of the dashboards, sent to a real Prometheus with the sample fleet, returns what its panel must show.

Every panel must have an expectation.
"""

import json
import math
import re

import grafana
import pytest
import sample_fleet
from pytest import approx
from sample_fleet import (
    BEFORE_START, DISABLED, END, EXPIRED, EXPIRY, FIRST_FAILURE, HEALTHY, HOUR, LIFETIME, OUTAGE, PROXIED, REFUSED,
    REFUSED_SINCE, RESTART, SHADOWED, STUCK,
)

from helpers import reference
from helpers.paths import FLEET_DASHBOARD, INSTANCE_DASHBOARD

INSTANCE = json.loads(INSTANCE_DASHBOARD.read_text(encoding="utf-8"))
FLEET = json.loads(FLEET_DASHBOARD.read_text(encoding="utf-8"))


# What a panel must show: each check takes {name: values}.

def shows(expected):
    """Exactly these names, each with this last value."""
    def check(shown):
        assert {name: values[-1] for name, values in shown.items()} == {
            name: approx(value, abs=1e-6) for name, value in expected.items()}
    return check


def value(expected):
    """One unnamed value."""
    return shows({"": expected})


def lines(**expected):
    """Exactly these names, each with a check of all its values."""
    def check(shown):
        assert shown.keys() == expected.keys()
        for name, holds in expected.items():
            assert holds(shown[name]), (name, shown[name])
    return check


def named(expected):
    """`lines` for names that are not Python identifiers."""
    return lines(**expected)


NOTHING = shows({})


def always(expected):
    return lambda values: values == approx([expected] * len(values))


def between(low, high):
    """All values are in the range, and not all are NaN: a ratio of two zeros is NaN."""
    return lambda values: any(map(math.isfinite, values)) and all(
        low <= one <= high for one in values if not math.isnan(one))


def total(expected, slack):
    """The last value, about: Prometheus extrapolates an increase."""
    return lambda values: values[-1] == approx(expected, abs=slack)


def both(*checks):
    return lambda values: all(check(values) for check in checks)


def reaches(low, high):
    """The smallest and the largest value, in seconds; the values are hours."""
    return lambda values: (HOUR * min(values), HOUR * max(values)) == approx((low, high), abs=61)


def rises(expected):
    """The number of times that the value rises."""
    return lambda values: sum(b > a for a, b in zip(values, values[1:])) == expected


def covers(seconds):
    """There are values for this long."""
    return lambda values: len(values) * grafana.STEP == approx(seconds, abs=6 * grafana.STEP)


def about(expected, slack=1):
    """One unnamed value, about: a poll takes time."""
    def check(shown):
        assert shown == {"": [approx(expected, abs=slack)]}
    return check


def one_name(pattern):
    """One series, whose name matches."""
    def check(shown):
        name, = shown
        assert re.fullmatch(pattern, name), name
    return check


STEPS = ("token", "role", "credentials")


def durations(**checks):
    """The same check for each request."""
    return {f"{quantile} {step}": check for quantile, check in checks.items() for step in STEPS}


def ends(expected):
    return lambda values: values[-1] == approx(expected)


UNKNOWN = "10.9.9.9:10169"


def per_instance(healthy, stuck, expired, shadowed, refused, unknown=NOTHING):
    """The expectation for each exporter, and for an instance that does not exist."""
    return {HEALTHY: healthy, STUCK: stuck, EXPIRED: expired, SHADOWED: shadowed, REFUSED: refused, UNKNOWN: unknown}


def everywhere(check):
    return per_instance(*[check] * 5)


RUN = grafana.RANGE
# The numbers that the dashboard gives to what has none.
NONE, GOES_ON = 1e15, 2e15
NOT_USED, NOT_DECLARED, NOT_CHECKED, SENT_TO_PROXY = 3, 4, 6, 8
# Its clock is behind.
FAILED_AT = FIRST_FAILURE - 15 - sample_fleet.SKEW
NAN = lambda values: all(map(math.isnan, values))  # noqa: E731
ONCE = both(between(0, 1.5), lambda values: max(values) > 0.9)
ROTATES = both(between(0, 1.5), lambda values: sum(value > 0.9 for value in values) > 4)

ONE = {
    ("stat", "Scraped"): everywhere(value(1)),
    ("stat", "IMDS"): per_instance(value(1), value(1), value(0), value(NOT_USED), value(1)),
    ("stat", "In this state for"): per_instance(
        value(END - BEFORE_START), about(END - OUTAGE[1]), about(END - FAILED_AT), value(END - BEFORE_START),
        value(END - BEFORE_START)),
    ("stat", "Expires in"): per_instance(value(LIFETIME - HOUR), value(LIFETIME - HOUR), value(EXPIRY - END), value(NONE),
                                         value(LIFETIME - HOUR)),
    ("stat", "Clients stuck"): per_instance(value(NOT_DECLARED), value(1), value(NOT_DECLARED), value(NOT_USED),
                                            value(NOT_DECLARED)),
    ("stat", "AWS accepts them"): per_instance(value(1), value(NOT_CHECKED), value(NOT_CHECKED), value(NOT_CHECKED), value(0)),
    ("state-timeline", "Verdict over time"): per_instance(
        named({"fine": always(1)}), lines(starting=always(1), failing=always(1), stuck=always(1), fine=always(1)),
        named({"failing": always(1)}), named({"unused": always(1)}), named({"fine": always(1), "refused": always(1)})),
    ("state-timeline", "State over time"): per_instance(
        named({"IMDS": always(1), "AWS accepts": always(1), "client created now": always(1),
               "client created before_outage": always(1)}),
        named({"IMDS": both(between(0, 1), ends(1)), "client created now": both(between(0, 1), ends(1)),
               # Unknown from the restart to the end of the outage. Such a client holds credentials for hours.
               "client created before_outage": both(always(1), covers(RUN - (OUTAGE[1] - RESTART))),
               "client created at_start": both(between(0, 1), ends(0))}),
        named({"IMDS": always(0), "client created now": always(0),
               "client created before_outage": both(between(0, 1), ends(0))}),
        named({"IMDS": always(NOT_USED)}),
        named({"IMDS": always(1), "AWS accepts": both(between(0, 1), ends(0)), "client created now": always(1),
               "client created before_outage": always(1)})),
    ("timeseries", "Time to expiry"): per_instance(
        *(named({"time to expiry": both(reaches(*hours), rises(times))})
          for hours, times in (((LIFETIME - HOUR, LIFETIME), 6), ((LIFETIME - HOUR - 480, LIFETIME), 6),
                               ((EXPIRY - END, EXPIRY - END + RUN), 0))),
        NOTHING, named({"time to expiry": both(reaches(LIFETIME - HOUR, LIFETIME), rises(6))})),
    ("stat", "Role"): per_instance(*({role: 1} for role in ("web", "orders", "web")), {"none known": 0}, {"web": 1},
                                   {"none known": 0}),
    ("stat", "Expected role"): per_instance(value(NOT_CHECKED), value(1), value(0), value(NOT_CHECKED), value(NOT_CHECKED)),
    ("stat", "Expires at"): per_instance(*[value((END - HOUR + LIFETIME) * 1000)] * 2, value(EXPIRY * 1000), value(NONE),
                                         value((END - HOUR + LIFETIME) * 1000)),
    ("stat", "Age of the document"): per_instance(value(HOUR), value(HOUR), value(END - sample_fleet.clock(4)), value(NONE),
                                                  value(HOUR)),
    ("state-timeline", "Failures over time"): per_instance(
        NOTHING, named({"connect_timeout (token)": both(always(1), covers(OUTAGE[1] - OUTAGE[0]))}),
        named({"read_timeout (credentials)": both(always(1), covers(HOUR)),
               "server_error (role)": both(always(1), covers(5 * HOUR))}),
        named({"connect_refused (token)": always(1)}), NOTHING),
    ("timeseries", "Failed polls per minute"): per_instance(
        NOTHING, named({"connect_timeout": both(between(1, 12), lambda v: max(v) == approx(12))}),
        named({"read_timeout": between(1, 12), "server_error": both(between(1, 12), ends(12))}),
        named({"connect_refused": always(12)}), NOTHING),
    ("stat", "Current or last outage: start"): per_instance(
        value(NONE), value(RESTART * 1000), about(FAILED_AT * 1000, 1000), value(BEFORE_START * 1000), value(NONE)),
    ("stat", "Current or last outage: end"): per_instance(
        value(NONE), about(OUTAGE[1] * 1000, 1000), value(GOES_ON), value(GOES_ON), value(NONE)),
    ("stat", "Suspect processes"): per_instance(value(NONE), value(2), *[value(NONE)] * 3),
    ("stat", "Watched processes"): per_instance(value(NONE), value(3), *[value(NONE)] * 3),
    ("stat", "Unread processes"): per_instance(value(NONE), value(0), *[value(NONE)] * 3),
    # SHADOWED is on the machine of STUCK.
    ("timeseries", "Clients that never_stuck found stuck, and healed"): per_instance(
        *(named({"orders: found stuck": ONCE, "orders: healed": ONCE}) if there else NOTHING
          for there in (False, True, False, True, False))),
    ("timeseries", "Calls without credentials"): per_instance(
        *(named({"orders": ONCE}) if there else NOTHING for there in (False, True, False, True, False))),
    ("timeseries", "Request duration: median and 99th percentile"): per_instance(
        named(durations(p50=between(0, 0.005), p99=between(1, 2.5))),
        named(durations(p50=between(0, 1), p99=between(0, 1))),
        # The requests after the one that fails are not sent.
        named(durations(p50=between(0, 1), p99=between(0, 1), )),
        named({f"{p} {step}": between(0, 0.005) if step == "token" else NAN for p in ("p50", "p99") for step in STEPS}),
        named(durations(p50=between(0, 0.005), p99=between(0, 0.005)))),
    ("timeseries", "Requests slower than 1 second"): per_instance(
        named({step: both(between(0, 0.5), lambda v: max(v) > 0.02) for step in STEPS}),
        *[named({step: between(0, 0) for step in STEPS})] * 2,
        named({step: always(0) if step == "token" else NAN for step in STEPS}),
        named({step: always(0) for step in STEPS})),
    ("heatmap", "Poll duration: distribution"): everywhere(named({le: between(0, 100) for le in sample_fleet.BUCKETS})),
    ("timeseries", "Poll and signed call: 99th percentile"): per_instance(
        named({"poll: success": between(2.5, 5), "poll: failure": NAN, "signed call": between(0, 0.1)}),
        named({"poll: success": between(0, 0.005), "poll: failure": between(0.5, 1)}),
        named({"poll: success": NAN, "poll: failure": between(0, 2.5)}),
        named({"poll: success": NAN, "poll: failure": between(0, 0.005)}),
        named({"poll: success": between(0, 0.005), "poll: failure": NAN, "signed call": between(0, 0.1)})),
    ("stat", "Last poll"): per_instance(*[about(1, 0.01)] * 2, *[about(1 / 3, 0.01)] * 2, about(1, 0.01)),
    ("stat", "Uptime"): per_instance(*(value(END - start) for start in (BEFORE_START, RESTART, *[BEFORE_START] * 3))),
    ("stat", "Version"): per_instance(*[one_name(rf"{re.escape(reference.version())} \w+")] * 5, {"no data": 0}),
    ("stat", "Clock skew"): per_instance(value(0), value(0), value(sample_fleet.SKEW), value(0), value(0)),
    ("stat", "IMDSv1 only"): per_instance({"no": 0}, {"hop_limit": 1}, *[{"no": 0}] * 3, {"no data": 0}),
    ("stat", "Credentials from elsewhere"): per_instance(*[{"no": 0}] * 3, {"web_identity": 1}, {"no": 0}, {"no data": 0}),
    ("timeseries", "Polls per minute"): per_instance(
        *(named({"polls": both(between(1, 12.1), ends(pace))}) for pace in (4, 4, 12, 12, 4))),
    ("timeseries", "Clock skew over time"): per_instance(
        *(named({"skew": always(skew)}) for skew in (0, 0, sample_fleet.SKEW, 0, 0))),
    ("timeseries", "Rotations"): per_instance(
        *(named({"new document": seen, "role changed": always(0)})
          for seen in (ROTATES, ROTATES, always(0), always(0), ROTATES))),
    ("timeseries", "Memory"): everywhere(named({"resident": always(5e6)})),
    ("timeseries", "CPU"): everywhere(named({"CPU": between(0, 0.01)})),
    ("timeseries", "Open files"): everywhere(named({"open": always(12 / 1024)})),
    ("timeseries", "Scrape duration"): everywhere(named({"scrape": always(0.003)})),
}


def problems(*rows):
    """Rows of the table of problems: (problem, action, for how long, request)."""
    return [{"Problem": problem, "What to do now": action, "For": approx(seconds, abs=10, nan_ok=True)}
            | ({"Request": request[0]} if request else {}) for problem, action, seconds, *request in rows]


def suspects(**target):
    # The unit is empty, and Prometheus drops an empty label.
    return [{**target, "PID": pid, "Command": command, "Container": sample_fleet.CONTAINERS[int(pid)][:12],
             "Pod UID": sample_fleet.POD_UID, "Started": (RESTART + after) * 1000}
            for pid, command, after in (("7", "gunicorn", 10), ("9", "celery", 20))]


def clients(**usable):
    heading = {"now": "Created now", "before_outage": "Before an outage",
               "at_start": "At workload start"}
    return [{"SDK": "boto3"} | {heading[created]: value for created, value in usable.items()}]


def firing(alert, seconds):
    return {"Alert": alert, "Summary": alert, "Severity": "critical", "Active for": seconds}


STUCK_ALERT = firing("ImdsClientsStuck", END - OUTAGE[1])
FAILING_ALERT = firing("ImdsCredentialsFetchFailing", END - FIRST_FAILURE)

# Tables: the rows, in any order.
ONE_TABLES = {
    ("table", "What is wrong, and what to do now"): per_instance(
        problems(("nothing", "nothing", math.nan)),
        problems(("ImdsClientsStuck", "ImdsClientsStuck", END - OUTAGE[1]),
                 ("ImdsSuspectProcesses", "ImdsSuspectProcesses", END - RESTART - 10),
                 ("ImdsV1Fallback", "hop_limit", END - sample_fleet.TOKENS_FAIL - sample_fleet.SCRAPE)),
        problems(("server_error", "server_error", END - FAILED_AT, "role"),
                 ("ImdsCredentialsExpired", "ImdsCredentialsExpired", END - EXPIRY),
                 ("ImdsUnexpectedRole", "ImdsUnexpectedRole", END - sample_fleet.START),
                 ("ImdsClockSkew", "ImdsClockSkew", END - sample_fleet.START)),
        problems(("unused", "unused", math.nan)),
        problems(("signed_call_expired_token", "signed_call_expired_token", END - REFUSED_SINCE + 300)),
        []),
    ("table", "Firing alerts"): per_instance([], [STUCK_ALERT], [FAILING_ALERT], [], [], []),
    ("table", "Would a client have credentials now?"): per_instance(
        clients(now=1, before_outage=1), clients(now=1, before_outage=1, at_start=0), clients(now=0, before_outage=0), [],
        clients(now=1, before_outage=1), []),
    ("table", "Suspect processes by unit and pod"): per_instance([], suspects(), [], [], [], []),
}


def at(*times):
    """The values of a fleet panel at several times."""
    return {time: value(expected) if expected is not None else NOTHING for time, expected in times}


QUIET, IN_OUTAGE, CLOSE, GAP = (sample_fleet.clock(*at) for at in ((8,), (9, 11), (9, 55), (10, 37)))
MANY = {
    # The machine of STUCK counts once, although it has two exporters, of which one is of no concern.
    ("stat", "Fine"): at((QUIET, 3), (IN_OUTAGE, 2), (CLOSE, 2), (GAP, 0), (END, 1)),
    ("stat", "Failing"): at((QUIET, 1), (IN_OUTAGE, 2), (CLOSE, 1), (END, 1)),
    ("stat", "Stuck"): at((QUIET, 0), (IN_OUTAGE, 0), (CLOSE, 1), (END, 1)),
    ("stat", "Close to expiry"): at((QUIET, 0), (IN_OUTAGE, 0), (CLOSE, 1), (END, 0)),
    ("stat", "Expired"): at((QUIET, 0), (CLOSE, 0), (END, 1)),
    ("stat", "AWS refuses"): at((QUIET, 0), (END, 1)),
    ("stat", "Suspects"): at((QUIET, 0), (END, 2)),
    ("stat", "Not scraped"): at((QUIET, 0), (GAP, 1), (END, 0)),
    ("timeseries", "Machines by verdict"): {END: lines(
        starting=between(0, 1), unused=always(1), proxied=always(0), failing=both(between(1, 2), ends(1)), expired=always(0),
        refused=both(between(0, 1), ends(1)), stuck=both(between(0, 1), ends(1)), fine=both(between(0, 3), ends(1)))},
    ("timeseries", "Machines failing by kind"): {END: lines(
        connect_timeout=both(always(1), covers(OUTAGE[1] - OUTAGE[0])), read_timeout=both(always(1), covers(HOUR)),
        server_error=both(always(1), covers(5 * HOUR)))},
    ("timeseries", "Time to expiry across the fleet"): {END: named({
        "minimum": reaches(EXPIRY - END, EXPIRY - END + RUN), "p5": between(-2, LIFETIME / HOUR),
        "median": both(between(2, LIFETIME / HOUR), ends(LIFETIME / HOUR - 1))})},
    ("timeseries", "Failed polls per minute"): {END: lines(
        connect_refused=always(12), connect_timeout=between(1, 12), read_timeout=between(1, 12),
        server_error=both(between(1, 12), ends(12)))},
    ("timeseries", "Outages and rotations"): {END: lines(
        outages=both(between(0, 1.5), lambda v: max(v) > 0.9), rotations=both(between(0, 4), lambda v: max(v) > 1.9))},
    ("timeseries", "Request duration: 99th percentile"): {END: lines(**{step: between(0, 2.5) for step in STEPS})},
    ("timeseries", "Requests slower than 1 second"): {END: lines(
        **{step: both(between(0, 0.1), lambda v: max(v) > 0.01) for step in STEPS})},
    ("stat", "Exporters"): at((GAP, 4), (END, 5)),
    ("stat", "Stalled"): at((QUIET, 0), (END, 0)),
    ("stat", "IMDS not used"): at((END, 1)),
    ("stat", "IMDSv1 only"): at((QUIET, 0), (END, 1)),
    ("stat", "Unexpected role"): at((END, 1)),
    ("stat", "Clock off by 60 s"): at((END, 1)),
    ("timeseries", "Exporters by version"): {END: named({reference.version(): between(4, 5)})},
    ("timeseries", "Exporter starts"): {END: lines(starts=both(between(0, 1), lambda v: max(v) == 1))},
}

BLUE = {"Cluster": "blue", "Namespace": "shop", "Node": "node-b", "Job": sample_fleet.JOB}
PLACES = {HEALTHY: {}, STUCK: BLUE, EXPIRED: {}, SHADOWED: BLUE, REFUSED: {"Node": "node-c"}}


def exporter(instance, **more):
    return {"Job": sample_fleet.JOB, "Instance": instance, **PLACES[instance],
            **{name.replace("_", " "): text for name, text in more.items()}}


MANY_TABLES = {
    ("table", "What fails, and what to do now"): {
        QUIET: [{"Kind": "server_error", "Machines": 1, "What to do now": "server_error"}],
        IN_OUTAGE: [{"Kind": kind, "Machines": 1, "What to do now": kind} for kind in ("connect_timeout", "server_error")]},
    ("table", "Firing alerts"): {
        END: [STUCK_ALERT, FAILING_ALERT],
        IN_OUTAGE: [firing("ImdsFleetOutage", IN_OUTAGE - OUTAGE[0] - 60),
                    firing("ImdsCredentialsFetchFailing", IN_OUTAGE - FIRST_FAILURE)]},
    ("table", "Failing longest"): {
        IN_OUTAGE: [
            exporter(EXPIRED, Kind="server_error", Step="role", Failing_for=approx(IN_OUTAGE - FAILED_AT, abs=1),
                     Expires_in=EXPIRY - IN_OUTAGE),
            # It has just restarted and has seen neither a success nor a document.
            exporter(STUCK, Kind="connect_timeout", Step="token", Failing_for=IN_OUTAGE - RESTART)],
        END: [exporter(EXPIRED, Kind="server_error", Step="role", Failing_for=approx(END - FAILED_AT, abs=1),
                       Expires_in=EXPIRY - END)]},
    ("table", "Closest to expiry"): {END: [
        exporter(EXPIRED, Expires_in=EXPIRY - END),
        *(exporter(instance, Expires_in=LIFETIME - HOUR) for instance in (HEALTHY, STUCK, REFUSED))]},
    ("table", "Clients stuck"): {QUIET: [], END: [exporter(STUCK, For=approx(END - OUTAGE[1], abs=1))]},
    ("table", "AWS refuses the credentials"): {
        QUIET: [], END: [exporter(REFUSED, Reason="expired_token", For=END - REFUSED_SINCE + 300)]},
    ("table", "Suspect processes"): {QUIET: [], END: suspects(**exporter(STUCK))},
    ("table", "Roles"): {END: [{"Role": "web", "Exporters": 3}, {"Role": "orders", "Exporters": 1}]},
    ("table", "Versions"): {END: [{"Version": reference.version(), "Exporters": 5, "Revision": sample_fleet.revision()}]},
    ("table", "Largest clock skew"): {END: [
        exporter(instance, Off_by=skew, IMDS_minus_local=skew)
        for instance in sample_fleet.TARGETS for skew in [sample_fleet.SKEW if instance == EXPIRED else 0]]},
}


def assert_same_rows(found, expected):
    def order(rows):
        return sorted(rows, key=lambda row: sorted((key, str(text)) for key, text in row.items()))
    assert order(found) == [
        {key: approx(text) if isinstance(text, (int, float)) else text for key, text in row.items()}
        for row in order(expected)]


def test_every_panel_has_an_expectation():
    assert grafana.panels(INSTANCE).keys() == ONE.keys() | ONE_TABLES.keys()
    assert grafana.panels(FLEET).keys() == MANY.keys() | MANY_TABLES.keys()
    assert all(check.keys() == {*sample_fleet.TARGETS, UNKNOWN} for check in (ONE | ONE_TABLES).values())


@pytest.mark.parametrize("key", ONE, ids=" ".join)
def test_a_panel_of_the_instance_dashboard_shows_one_instance(prometheus, key):
    for instance, check in ONE[key].items():
        shown = grafana.View(INSTANCE, prometheus, END, instance=instance).series(grafana.panels(INSTANCE)[key])
        (shows(check) if isinstance(check, dict) else check)(shown)


@pytest.mark.parametrize("key", ONE_TABLES, ids=" ".join)
def test_a_table_of_the_instance_dashboard_shows_one_instance(prometheus, key):
    for instance, expected in ONE_TABLES[key].items():
        view = grafana.View(INSTANCE, prometheus, END, instance=instance)
        assert_same_rows(view.rows(grafana.panels(INSTANCE)[key]), expected)


@pytest.mark.parametrize("key", MANY, ids=" ".join)
def test_a_panel_of_the_fleet_dashboard_shows_the_fleet(prometheus, key):
    for time, check in MANY[key].items():
        check(grafana.View(FLEET, prometheus, time).series(grafana.panels(FLEET)[key]))


@pytest.mark.parametrize("key", MANY_TABLES, ids=" ".join)
def test_a_table_of_the_fleet_dashboard_shows_the_fleet(prometheus, key):
    for time, expected in MANY_TABLES[key].items():
        assert_same_rows(grafana.View(FLEET, prometheus, time).rows(grafana.panels(FLEET)[key]), expected)


@pytest.mark.parametrize("key", MANY, ids=" ".join)
def test_no_panel_of_the_fleet_dashboard_has_a_line_per_exporter(prometheus, key):
    view = grafana.View(FLEET, prometheus, END)
    for target in grafana.panels(FLEET)[key]["targets"]:
        assert all(not {"instance", "machine"} & labels.keys() for labels, _ in view.query(target))


# During an outage, before the restart and after it; IMDS fails, so that stuck clients cannot be told from others.
@pytest.mark.parametrize("at, stuck, ended", [(OUTAGE[0] + 240, 0, False), (OUTAGE[1] - 60, 2, False),
                                              (OUTAGE[1] + 60, 1, True)])
def test_an_outage_is_told_as_such_while_it_lasts(prometheus, at, stuck, ended):
    view = grafana.View(INSTANCE, prometheus, at, instance=STUCK)
    panels = grafana.panels(INSTANCE)
    assert view.series(panels["stat", "Clients stuck"]) == {"": [stuck]}
    assert (view.series(panels["stat", "Current or last outage: end"]) != {"": [GOES_ON]}) == ended


@pytest.mark.parametrize("instance, state, problem, seconds", [
    (PROXIED, SENT_TO_PROXY, "ImdsRequestsProxied", END - sample_fleet.START), (DISABLED, NOT_USED, "unused", math.nan)])
def test_the_instance_dashboard_agrees_with_a_verdict_that_is_not_of_the_polls(elsewhere, instance, state, problem, seconds):
    view = grafana.View(INSTANCE, elsewhere, END, instance=instance)
    panels = grafana.panels(INSTANCE)
    for title in ("IMDS", "Clients stuck"):
        assert view.series(panels["stat", title]) == {"": [state]}, title
    assert_same_rows(view.rows(panels["table", "What is wrong, and what to do now"]), problems((problem, problem, seconds)))
    named({"IMDS": always(state)})(view.series(panels["state-timeline", "State over time"]))
    assert view.rows(panels["table", "Would a client have credentials now?"]) == []
    assert view.events(annotations(INSTANCE)["Outage"], old=False) == []


def test_alerts_are_shown_by_names_with_a_prefix_too(elsewhere):
    rows = [firing(f"Platform{name}", END - sample_fleet.START) | {"Summary": name, "Severity": labels["severity"]}
            for name, labels in sample_fleet.PREFIXED.items()]
    views = grafana.View(INSTANCE, elsewhere, END, instance=PROXIED), grafana.View(FLEET, elsewhere, END)
    for view, dashboard in zip(views, (INSTANCE, FLEET)):
        assert_same_rows(view.rows(grafana.panels(dashboard)["table", "Firing alerts"]), rows)
    for view, dashboard, name, shown in zip(views, (INSTANCE, FLEET), ("Alerts", "Fleet outage"), (2, 1)):
        assert len(view.events(annotations(dashboard)[name], old=False)) == shown


def test_the_role_is_the_exporters_where_targets_have_a_label_of_that_name(elsewhere):
    view = grafana.View(INSTANCE, elsewhere, END, instance=PROXIED)
    assert view.series(grafana.panels(INSTANCE)["stat", "Role"]) == {"web": [1]}
    view = grafana.View(FLEET, elsewhere, END)
    assert view.rows(grafana.panels(FLEET)["table", "Roles"]) == [{"Role": "web", "Exporters": 1}]


def test_an_exporter_that_is_not_scraped_is_no_unknown_instance(prometheus):
    view = grafana.View(INSTANCE, prometheus, GAP, instance=HEALTHY)
    panels = grafana.panels(INSTANCE)
    assert view.series(panels["stat", "Scraped"]) == {"": [0]}
    row, = view.rows(panels["table", "What is wrong, and what to do now"])
    assert row == {"Problem": "ImdsExporterDown", "What to do now": "ImdsExporterDown", "For": approx(8 * 60, abs=80)}
    for title in ("IMDS", "In this state for", "Expires in", "Clients stuck", "AWS accepts them"):
        assert view.series(panels["stat", title]) == {}, title


def test_a_fleet_without_exporters_reassures_nobody(prometheus):
    """No count is 0: that would be as good as all being fine."""
    view = grafana.View(FLEET, prometheus, END, job="no-such-job")
    for (kind, title), panel in grafana.panels(FLEET).items():
        if kind == "stat":
            assert view.series(panel) == {} and "noValue" in panel["fieldConfig"]["defaults"], title
        elif kind == "table" and title != "Firing alerts":
            assert view.rows(panel) == [], title


@pytest.mark.parametrize("variables, fine", [
    ({"cluster": "blue"}, 0), ({"namespace": "shop"}, 0), ({"cluster": "(blue|red)", "namespace": ".*"}, 0),
    ({"instance": f"({HEALTHY}|{EXPIRED})"}, 1), ({"job": sample_fleet.JOB}, 1), ({}, 1),
])
def test_variables_select_exporters(prometheus, variables, fine):
    """Some of the exporters have neither cluster nor namespace."""
    shown = grafana.View(FLEET, prometheus, END, **variables).series(grafana.panels(FLEET)["stat", "Fine"])
    assert shown == {"": [fine]}


@pytest.mark.parametrize("dashboard", [INSTANCE, FLEET], ids=["instance", "fleet"])
def test_variables_offer_the_values_of_the_labels(prometheus, dashboard):
    expected = {"cluster": ["blue"], "namespace": ["shop"], "job": [sample_fleet.JOB],
                "instance": sorted(sample_fleet.TARGETS)}
    variables = {one["name"]: one for one in dashboard["templating"]["list"] if one["type"] == "query"}
    assert variables.keys() == expected.keys()
    view = grafana.View(dashboard, prometheus, END)
    for name, values in expected.items():
        selector, label = variables[name]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        found = prometheus.get(f"label/{label}/values", **{"match[]": view.interpolate(selector)},
                               start=END - grafana.RANGE, end=END)
        assert found == values, name


# Annotations: the times of the marks, or from when to when each region holds.
ANNOTATIONS = {
    "Outage": per_instance([], [OUTAGE], [(END - RUN, END)], [], [], []),
    # The last success before it and, after the restart, the exporter's start, before which it saw none.
    "Outage began": per_instance([], [OUTAGE[0], RESTART], [], [], [], []),
    "Outage ended": per_instance([], [OUTAGE[1]], [], [], [], []),
    # That of the fleet has no labels of a target.
    "Alerts": per_instance([OUTAGE], [OUTAGE, (OUTAGE[1] + 300, END)], [(END - RUN, END), OUTAGE], [OUTAGE], [OUTAGE],
                                 [OUTAGE]),
    "Role changed": per_instance([], [], [], [], [], []),
    "Exporter started": per_instance([], [RESTART], [], [], [], []),
}
FLEET_ANNOTATIONS = {"Fleet outage": [OUTAGE]}


def annotations(dashboard):
    return {one["name"]: one for one in dashboard["annotations"]["list"] if not one.get("builtIn")}


def assert_events(found, expected, case, slack):
    """The same marks and regions. Marks are exact but for the time that a poll takes, regions but for the steps."""
    assert len(found) == len(expected), (case, found)
    for (title, _, start, end), event in zip(found, expected):
        assert title
        if isinstance(event, tuple):
            assert (start, end) == approx(event, abs=slack), case
            assert end > start, case
        else:
            assert start == end == approx(event, abs=20), case


@pytest.mark.parametrize("old, step", [(True, 300), (False, 60)], ids=["before 12.1", "since 12.1"])
def test_annotations_over_six_hours(prometheus, old, step):
    """The regions begin and end a step late or early at most, and an alert after its delay."""
    assert annotations(INSTANCE).keys() == ANNOTATIONS.keys() and annotations(FLEET).keys() == FLEET_ANNOTATIONS.keys()
    for name, one in annotations(INSTANCE).items():
        for instance, expected in ANNOTATIONS[name].items():
            view = grafana.View(INSTANCE, prometheus, END, step=step, instance=instance)
            assert_events(view.events(one, old=old), expected, (name, instance), 2 * step + 120)
    for name, one in annotations(FLEET).items():
        view = grafana.View(FLEET, prometheus, END, step=step)
        assert_events(view.events(one, old=old), FLEET_ANNOTATIONS[name], name, 2 * step + 120)


@pytest.mark.parametrize("name", ["Outage", "Alerts"])
def test_over_long_ranges_old_versions_mark_only_the_begin_of_what_lasts(prometheus, name):
    """They would draw a line for each point otherwise."""
    view = grafana.View(INSTANCE, prometheus, END, step=900, instance=EXPIRED)
    assert len(view.events(annotations(INSTANCE)[name], old=True)) <= 2
    assert len(view.events(annotations(INSTANCE)[name] | {"expr": annotations(INSTANCE)[name]["target"]["expr"]}, old=True)) > 20
