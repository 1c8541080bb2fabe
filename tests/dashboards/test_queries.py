"""Every query of the dashboards, sent to a real Prometheus with the sample fleet, returns what its panel must show.

Every panel must have an expectation.
"""

import json
import math

import grafana
import pytest
import sample_fleet
from pytest import approx
from sample_fleet import END, EXPIRED, EXPIRY, FIRST_FAILURE, HEALTHY, HOUR, LIFETIME, OUTAGE, RESTART, STUCK

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
    """The smallest and the largest value."""
    return lambda values: (min(values), max(values)) == approx((low, high), abs=61)


def rises(expected):
    """The number of times that the value rises."""
    return lambda values: sum(b > a for a, b in zip(values, values[1:])) == expected


def covers(seconds):
    """There are values for this long."""
    return lambda values: len(values) * grafana.STEP == approx(seconds, abs=6 * grafana.STEP)


def ends(expected):
    return lambda values: values[-1] == approx(expected)


def per_instance(healthy, stuck, expired):
    return {HEALTHY: healthy, STUCK: stuck, EXPIRED: expired}


def everywhere(check):
    return per_instance(check, check, check)


def with_name(make):
    """The expectation for each instance, whose name is part of the names shown."""
    return {instance: make(instance) for instance in sample_fleet.TARGETS}


RUN = grafana.RANGE
ONE = {
    ("stat", "IMDS"): per_instance(value(1), value(1), value(0)),
    ("stat", "In this state for"): per_instance(value(END - sample_fleet.BEFORE_START), value(END - OUTAGE[1]),
                                  value(END - FIRST_FAILURE + sample_fleet.SCRAPE)),
    ("stat", "Expires in"): per_instance(value(LIFETIME), value(LIFETIME), value(EXPIRY - END)),
    ("stat", "Current failure"): per_instance(NOTHING, NOTHING, shows({"server_error (role)": 1})),
    ("stat", "Stuck clients"): per_instance(NOTHING, value(1), NOTHING),
    ("stat", "Role"): per_instance(shows({"web": 1}), shows({"orders": 1}), shows({"web": 1})),
    ("state-timeline", "State over time"): per_instance(
        named({f"IMDS {HEALTHY}": always(1)}),
        named({f"IMDS {STUCK}": both(between(0, 1), ends(1)),
               f"client created now {STUCK}": both(between(0, 1), ends(1)),
               # Unknown from the restart to the end of the outage.
               f"client created before_outage {STUCK}": both(always(1), covers(RUN - (OUTAGE[1] - RESTART))),
               f"client created at_start {STUCK}": both(between(0, 1), ends(0))}),
        named({f"IMDS {EXPIRED}": always(0), f"client created now {EXPIRED}": always(0),
               f"client created before_outage {EXPIRED}": both(between(0, 1), ends(0))})),
    ("timeseries", "Time to expiry"): per_instance(
        named({HEALTHY: both(reaches(LIFETIME - HOUR, LIFETIME), rises(6))}),
        # Unknown from the restart to the end of the outage, during which a rotation falls.
        named({STUCK: both(reaches(LIFETIME - HOUR - 480, LIFETIME), rises(6))}),
        named({EXPIRED: both(reaches(EXPIRY - END, EXPIRY - END + RUN), rises(0))})),
    ("timeseries", "Rotations"): {
        instance: named({f"new document {instance}": rotations, f"role changed {instance}": always(0)})
        for instance, rotations in ((HEALTHY, both(between(0, 1.5), lambda v: sum(x > 0.9 for x in v) > 5)),
                                    (STUCK, both(between(0, 1.5), lambda v: sum(x > 0.9 for x in v) > 4)),
                                    (EXPIRED, always(0)))},
    ("stat", "Age of the document"): per_instance(value(0), value(0), value(END - sample_fleet.clock(4))),
    ("stat", "Expires at"): per_instance(value((END + LIFETIME) * 1000), value((END + LIFETIME) * 1000),
                                         value(EXPIRY * 1000)),
    ("stat", "Expected role"): per_instance(NOTHING, value(1), value(0)),
    ("stat", "IMDSv1 only"): per_instance(NOTHING, shows({"hop_limit": 1}), NOTHING),
    ("stat", "Credentials from elsewhere"): per_instance(shows({"web_identity": 1}), NOTHING, NOTHING),
    ("state-timeline", "Failures"): per_instance(
        NOTHING, named({f"connect_timeout (token) {STUCK}": both(always(1), covers(OUTAGE[1] - OUTAGE[0]))}),
        named({f"read_timeout (credentials) {EXPIRED}": both(always(1), covers(HOUR)),
               f"server_error (role) {EXPIRED}": both(always(1), covers(5 * HOUR))})),
    ("timeseries", "Failed polls by kind"): per_instance(
        NOTHING, named({"connect_timeout": between(1, 60)}),
        named({"read_timeout": between(1, 60), "server_error": between(1, 60)})),
    ("timeseries", "Share of failed polls"): per_instance(
        named({HEALTHY: always(0)}), named({STUCK: both(between(0, 1), lambda v: max(v) == approx(1))}),
        named({EXPIRED: always(1)})),
    ("bargauge", "Failed polls in the time range"): per_instance(
        NOTHING, named({"connect_timeout": total(12 * 12, 40)}),
        named({"server_error": total(5 * HOUR / 5, 40), "read_timeout": total(HOUR / 5, 40)})),
    ("timeseries", "Consecutive failed polls"): per_instance(
        named({HEALTHY: always(0)}), named({STUCK: ends(0)}), named({EXPIRED: ends((END - FIRST_FAILURE) // 5 + 1)})),
    ("stat", "Last outage: duration"): per_instance(NOTHING, value(OUTAGE[1] - RESTART), NOTHING),
    ("stat", "Last outage: start"): per_instance(NOTHING, value(RESTART * 1000), NOTHING),
    ("stat", "Last outage: end"): per_instance(NOTHING, value(OUTAGE[1] * 1000), NOTHING),
    ("stat", "Outages in the time range"): per_instance(value(0), named({"": between(0, 2)}), value(0)),
    ("stat", "Suspect processes"): per_instance(NOTHING, value(2), NOTHING),
    ("stat", "Watched processes"): per_instance(NOTHING, value(3), NOTHING),
    ("timeseries", "Request duration: median and 99th percentile"): everywhere(named({
        f"{quantile} {step}": between(0, 2.5) for quantile in ("p50", "p99")
        for step in ("token", "role", "credentials")})),
    ("timeseries", "Requests slower than 1 second"): per_instance(
        named({"token": always(0), "credentials": always(0), "role": both(between(0, 0.2), lambda v: max(v) > 0.02)}),
        named({"token": always(0), "credentials": between(0, 0), "role": between(0, 0)}),
        named({"token": always(0), "role": always(0), "credentials": both(between(0, 1), lambda v: v[0] == 1)})),
    ("heatmap", "Poll duration: distribution"): everywhere(named({le: between(0, 100) for le in sample_fleet.BUCKETS})),
    ("timeseries", "Poll duration: 99th percentile"): per_instance(
        named({"success": between(0, 0.005), "failure": lambda v: all(map(math.isnan, v))}),
        named({"success": between(0, 0.005), "failure": between(0, 2.5)}),
        named({"success": lambda v: all(map(math.isnan, v)), "failure": between(0, 2.5)})),
    ("stat", "Scraped"): everywhere(value(1)),
    ("stat", "Last poll"): everywhere(value(4 / 15)),
    ("stat", "Uptime"): per_instance(value(END - sample_fleet.BEFORE_START), value(END - RESTART),
                                          value(END - sample_fleet.BEFORE_START)),
    ("stat", "Version"): everywhere(shows({"0.1.0 (abc1234)": 1})),
    ("stat", "Clock skew"): per_instance(value(0.4), value(0.4), value(90)),
    ("timeseries", "Polls"): {
        instance: named({instance: both(between(0.01, 0.21), ends(pace))})
        for instance, pace in ((HEALTHY, 1 / 15), (STUCK, 1 / 15), (EXPIRED, 1 / 5))},
    ("timeseries", "Clock skew over time"): with_name(
        lambda name: named({name: always(90 if name == EXPIRED else 0.4)})),
    ("timeseries", "Scrape duration"): with_name(lambda name: named({name: always(0.003)})),
    ("timeseries", "Memory"): with_name(lambda name: named({name: always(5e6)})),
    ("timeseries", "CPU"): with_name(lambda name: named({name: between(0, 0.01)})),
    ("timeseries", "Open files"): with_name(lambda name: named({f"open {name}": always(12),
                                                               f"limit {name}": always(1024)})),
}

def suspects(**target):
    # The unit is empty, and Prometheus drops an empty label.
    return [{**target, "PID": pid, "Command": command, "Container": sample_fleet.CONTAINERS[pid],
             "Pod UID": sample_fleet.POD_UID, "Started": (RESTART + after) * 1000}
            for pid, command, after in (("7", "gunicorn", 10), ("9", "celery", 20))]


def clients(instance, **usable):
    return [{"Instance": instance, "SDK": "boto3", "Client was created": created, "Now": value}
            for created, value in usable.items()]


# Tables: the rows, in any order.
ONE_TABLES = {
    ("table", "Would a boto3 client have credentials now?"): per_instance(
        [], clients(STUCK, now=1, before_outage=1, at_start=0), clients(EXPIRED, now=0, before_outage=0)),
    ("table", "Suspect processes"): per_instance([], suspects(Instance=STUCK), []),
}


def at(*times):
    """The values of a fleet panel at several times."""
    return {time: value(expected) if expected is not None else NOTHING for time, expected in times}


QUIET, IN_OUTAGE, CLOSE, GAP = (sample_fleet.clock(*at) for at in ((8,), (9, 11), (9, 55), (10, 32)))
MANY = {
    ("stat", "Fine"): at((QUIET, 2), (IN_OUTAGE, 1), (CLOSE, 1), (END, 1)),
    ("stat", "Failing"): at((QUIET, 1), (IN_OUTAGE, 2), (CLOSE, 1), (END, 1)),
    ("stat", "Stuck"): at((QUIET, 0), (IN_OUTAGE, 0), (CLOSE, 1), (END, 1)),
    ("stat", "Close to expiry"): at((QUIET, 0), (IN_OUTAGE, 0), (CLOSE, 1), (END, 0)),
    ("stat", "Expired"): at((QUIET, 0), (CLOSE, 0), (END, 1)),
    ("stat", "Suspect processes"): at((QUIET, 0), (END, 2)),
    ("stat", "Not scraped"): at((QUIET, 0), (GAP, 1), (END, 0)),
    ("stat", "Stalled"): at((QUIET, 0), (END, 0)),
    ("timeseries", "Exporters by state"): {END: lines(**{
        "fine": ends(1), "stuck": ends(1), "failing": ends(1),
        "not scraped": both(between(0, 1), covers(RUN), lambda v: sum(v) == 5)})},
    ("timeseries", "Failing by kind"): {END: lines(
        connect_timeout=both(always(1), covers(OUTAGE[1] - OUTAGE[0])), read_timeout=both(always(1), covers(HOUR)),
        server_error=both(always(1), covers(5 * HOUR)))},
    ("timeseries", "Time to expiry across the fleet"): {END: named({
        "minimum": reaches(EXPIRY - END, EXPIRY - END + RUN), "p5": between(EXPIRY - END, LIFETIME),
        "median": both(between(2 * HOUR, LIFETIME), ends(LIFETIME))})},
    ("timeseries", "Failed polls by kind"): {END: lines(
        connect_timeout=between(0.01, 0.21), read_timeout=between(0.01, 0.21), server_error=between(0.01, 0.21))},
    ("timeseries", "Share of failed polls"): {END: lines(failed=between(0.5, 0.9))},
    ("timeseries", "Outages and rotations"): {END: lines(
        outages=both(between(0, 1.5), lambda v: max(v) > 0.9), rotations=both(between(0, 3), lambda v: max(v) > 1.9))},
    ("timeseries", "Request duration: 99th percentile"): {END: lines(
        token=between(0, 0.01), role=between(0, 2.5), credentials=between(0, 2.5))},
    ("timeseries", "Requests slower than 1 second"): {END: lines(
        token=always(0), role=between(0, 0.1), credentials=both(between(0, 0.7), lambda v: v[0] > 0.4))},
    ("bargauge", "Roles"): {END: shows({"web": 2, "orders": 1})},
    ("timeseries", "Exporters by version"): {END: named({"0.1.0": between(2, 3)})},
    ("timeseries", "Exporter starts"): {END: lines(starts=both(between(0, 1), lambda v: max(v) == 1))},
    ("timeseries", "Clock skew"): {END: named({"maximum": always(90), "p95": between(60, 90)})},
    ("stat", "Unexpected role"): at((END, 1)),
    ("stat", "IMDSv1 only"): at((QUIET, None), (END, 1)),
    ("stat", "Credentials from elsewhere"): at((END, 1)),
    ("stat", "Clock skew above 60 s"): at((END, 1)),
}

LAST_SUCCESS = FIRST_FAILURE - sample_fleet.SCRAPE
BLUE = {"Cluster": "blue", "Namespace": "shop", "Job": sample_fleet.JOB, "Instance": STUCK}


def plain(instance):
    return {"Job": sample_fleet.JOB, "Instance": instance}


MANY_TABLES = {
    ("table", "Failing longest"): {
        IN_OUTAGE: [
            plain(EXPIRED) | {"Kind": "server_error", "Step": "role", "Failing for": IN_OUTAGE - LAST_SUCCESS,
                              "Expires in": EXPIRY - IN_OUTAGE},
            # It has just restarted and has seen neither a success nor a document.
            BLUE | {"Kind": "connect_timeout", "Step": "token", "Failing for": IN_OUTAGE - RESTART}],
        END: [plain(EXPIRED) | {"Kind": "server_error", "Step": "role", "Failing for": END - LAST_SUCCESS,
                                "Expires in": EXPIRY - END}]},
    ("table", "Closest to expiry"): {END: [
        plain(HEALTHY) | {"Expires in": LIFETIME}, plain(EXPIRED) | {"Expires in": EXPIRY - END},
        BLUE | {"Expires in": LIFETIME}]},
    ("table", "Stuck exporters"): {QUIET: [], END: [BLUE | {"Since the outage": END - OUTAGE[1]}]},
    ("table", "Suspect processes"): {QUIET: [], END: [
        *suspects(**BLUE)]},
    ("table", "Largest clock skew"): {END: [
        plain(HEALTHY) | {"IMDS minus local": 0.4}, BLUE | {"IMDS minus local": 0.4},
        plain(EXPIRED) | {"IMDS minus local": 90}]},
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
    assert all(check.keys() == sample_fleet.TARGETS.keys() for check in (ONE | ONE_TABLES).values())


@pytest.mark.parametrize("key", ONE, ids=" ".join)
def test_a_panel_of_the_instance_dashboard_shows_one_instance(prometheus, key):
    for instance, check in ONE[key].items():
        check(grafana.View(INSTANCE, prometheus, END, instance=instance).series(grafana.panels(INSTANCE)[key]))


@pytest.mark.parametrize("key", ONE_TABLES, ids=" ".join)
def test_a_table_of_the_instance_dashboard_shows_one_instance(prometheus, key):
    for instance, expected in ONE_TABLES[key].items():
        view = grafana.View(INSTANCE, prometheus, END, instance=instance)
        assert_same_rows(view.rows(grafana.panels(INSTANCE)[key]), expected)


@pytest.mark.parametrize("key", ONE, ids=" ".join)
def test_a_panel_of_the_instance_dashboard_accepts_all_instances(prometheus, key):
    view = grafana.View(INSTANCE, prometheus, END)
    for target in grafana.panels(INSTANCE)[key]["targets"]:
        assert view.query(target)


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
        assert all("instance" not in labels for labels, _ in view.query(target))


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


# Annotations: the time of the last mark of each instance, or from when to when the condition holds.
ANNOTATIONS = {
    "Outage": per_instance(None, (OUTAGE[0], OUTAGE[1]), (END - RUN, END)),
    "Outage ended": per_instance(None, OUTAGE[1], None),
    "Alert": per_instance(None, None, (END - RUN, END)),
    "Exporter started": per_instance(sample_fleet.BEFORE_START, RESTART, sample_fleet.BEFORE_START),
    "New document": per_instance(END, END, sample_fleet.clock(4)),
}


def test_annotations_of_one_instance(prometheus):
    annotations = {one["name"]: one for one in INSTANCE["annotations"]["list"] if not one.get("builtIn")}
    assert annotations.keys() == ANNOTATIONS.keys()
    for name, expectations in ANNOTATIONS.items():
        one = annotations[name]
        for instance, expected in expectations.items():
            view = grafana.View(INSTANCE, prometheus, END, instance=instance)
            found = view.query_range(one["target"]["expr"])
            assert bool(found) == (expected is not None), (name, instance)
            for labels, _ in found:
                for text in (one["titleFormat"], one["textFormat"]):
                    grafana.fill(text, labels)
            if expected is None:
                continue
            if one["useValueForTime"]:
                _, samples = found[-1]
                assert samples[-1][1] == expected * 1000
            else:
                times = [time for _, samples in found for time, _ in samples]
                assert (min(times), max(times)) == approx(expected, abs=6 * 60), (name, instance)


def test_annotations_of_the_fleet(prometheus):
    one, = (one for one in FLEET["annotations"]["list"] if not one.get("builtIn"))
    view = grafana.View(FLEET, prometheus, END)
    (labels, samples), = view.query_range(one["target"]["expr"])
    assert grafana.fill(one["titleFormat"], labels) == "ImdsFleetOutage"
    assert covers(OUTAGE[1] - OUTAGE[0])(samples)
