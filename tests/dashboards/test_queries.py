"""Every query of the dashboards, sent to a real Prometheus that holds the story, returns what its panel needs.

The expectations are a closed list: a panel without one is a failure.
"""

import json
import math
import pathlib

import grafana
import pytest
import story
from pytest import approx
from story import END, EXPIRED, EXPIRY, HEALTHY, HOUR, LIFETIME, LOST, OUTAGE, RESTART, STUCK

ROOT = pathlib.Path(__file__).resolve().parents[2]
INSTANCE = json.loads((ROOT / "dashboards" / "imds-instance.json").read_text(encoding="utf-8"))
FLEET = json.loads((ROOT / "dashboards" / "imds-fleet.json").read_text(encoding="utf-8"))


# What a panel shall show. Each takes {name: values}.

def shows(expected):
    """These names, each with this last value."""
    def check(shown):
        assert {name: values[-1] for name, values in shown.items()} == {
            name: approx(value, abs=1e-6) for name, value in expected.items()}
    return check


def value(expected):
    """One figure."""
    return shows({"": expected})


def lines(**expected):
    """These names, and for each a check of all its values."""
    def check(shown):
        assert shown.keys() == expected.keys()
        for name, holds in expected.items():
            assert holds(shown[name]), (name, shown[name])
    return check


def named(expected):
    """`lines` for names that are no Python words."""
    return lines(**expected)


NOTHING = shows({})


def always(expected):
    return lambda values: values == approx([expected] * len(values))


def between(low, high):
    """All values lie there, and there are numbers among them: a ratio is none while nothing happens."""
    return lambda values: any(map(math.isfinite, values)) and all(
        low <= one <= high for one in values if not math.isnan(one))


def total(expected, slack):
    """About so much in the end: Prometheus extrapolates an increase."""
    return lambda values: values[-1] == approx(expected, abs=slack)


def both(*checks):
    return lambda values: all(check(values) for check in checks)


def reaches(low, high):
    """The least and the greatest value."""
    return lambda values: (min(values), max(values)) == approx((low, high), abs=61)


def teeth(expected):
    """So many jumps upwards."""
    return lambda values: sum(b > a for a, b in zip(values, values[1:])) == expected


def covers(seconds):
    """There are values for so long."""
    return lambda values: len(values) * grafana.STEP == approx(seconds, abs=6 * grafana.STEP)


def ends(expected):
    return lambda values: values[-1] == approx(expected)


def per_instance(healthy, stuck, expired):
    return {HEALTHY: healthy, STUCK: stuck, EXPIRED: expired}


def everywhere(check):
    return per_instance(check, check, check)


def with_name(make):
    """The same for each instance, whose name is part of the names shown."""
    return {instance: make(instance) for instance in story.TARGETS}


RUN = grafana.RANGE
ONE = {
    ("stat", "IMDS"): per_instance(value(1), value(1), value(0)),
    ("stat", "For"): per_instance(value(END - story.BEFORE_STORY), value(END - OUTAGE[1]),
                                  value(END - LOST + story.SCRAPE)),
    ("stat", "Expires in"): per_instance(value(LIFETIME), value(LIFETIME), value(EXPIRY - END)),
    ("stat", "Failure in force"): per_instance(NOTHING, NOTHING, shows({"server_error (role)": 1})),
    ("stat", "Stuck clients"): per_instance(value(0), value(1), value(0)),
    ("stat", "Role"): per_instance(shows({"web": 1}), shows({"orders": 1}), shows({"web": 1})),
    ("state-timeline", "State over time"): {
        instance: named({
            f"IMDS {instance}": up, f"client created now {instance}": up,
            f"client created before_outage {instance}": before, f"client created at_start {instance}": start,
        }) for instance, up, before, start in (
            (HEALTHY, always(1), always(1), always(1)),
            (STUCK, both(between(0, 1), ends(1)), both(between(0, 1), ends(1)), both(between(0, 1), ends(0))),
            (EXPIRED, always(0), both(between(0, 1), ends(0)), both(between(0, 1), ends(0))),
        )},
    ("timeseries", "Time to expiry"): per_instance(
        named({HEALTHY: both(reaches(LIFETIME - HOUR, LIFETIME), teeth(6))}),
        # Nothing is known from the restart to the end of the outage; a tooth falls into it.
        named({STUCK: both(reaches(LIFETIME - HOUR - 480, LIFETIME), teeth(6))}),
        named({EXPIRED: both(reaches(EXPIRY - END, EXPIRY - END + RUN), teeth(0))})),
    ("timeseries", "Rotations"): {
        instance: named({f"new document {instance}": rotations, f"role changed {instance}": always(0)})
        for instance, rotations in ((HEALTHY, both(between(0, 1.5), lambda v: sum(x > 0.9 for x in v) > 5)),
                                    (STUCK, both(between(0, 1.5), lambda v: sum(x > 0.9 for x in v) > 4)),
                                    (EXPIRED, always(0)))},
    ("stat", "Document's age"): per_instance(value(0), value(0), value(END - story.clock(4))),
    ("stat", "Expires at"): per_instance(value((END + LIFETIME) * 1000), value((END + LIFETIME) * 1000),
                                         value(EXPIRY * 1000)),
    ("stat", "Expected role"): per_instance(NOTHING, value(1), value(0)),
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
    ("bargauge", "Failed polls in the chosen time"): per_instance(
        NOTHING, named({"connect_timeout": total(12 * 12, 40)}),
        named({"server_error": total(5 * HOUR / 5, 40), "read_timeout": total(HOUR / 5, 40)})),
    ("timeseries", "Polls failed in a row"): per_instance(
        named({HEALTHY: always(0)}), named({STUCK: ends(0)}), named({EXPIRED: ends((END - LOST) // 5 + 1)})),
    ("stat", "Last outage lasted"): per_instance(NOTHING, value(OUTAGE[1] - RESTART), NOTHING),
    ("stat", "Last outage began"): per_instance(NOTHING, value(RESTART * 1000), NOTHING),
    ("stat", "Last outage ended"): per_instance(NOTHING, value(OUTAGE[1] * 1000), NOTHING),
    ("stat", "Outages in the chosen time"): per_instance(value(0), named({"": between(0, 2)}), value(0)),
    ("stat", "Suspect processes"): per_instance(NOTHING, value(2), NOTHING),
    ("timeseries", "Requests: half and 99 % are faster than"): everywhere(named({
        f"{share} {step}": between(0, 2.5) for share in ("50 %", "99 %")
        for step in ("token", "role", "credentials")})),
    ("timeseries", "Requests slower than 1 second"): per_instance(
        named({"token": always(0), "credentials": always(0), "role": both(between(0, 0.2), lambda v: max(v) > 0.02)}),
        named({"token": always(0), "credentials": between(0, 0), "role": between(0, 0)}),
        named({"token": always(0), "role": always(0), "credentials": both(between(0, 1), lambda v: v[0] == 1)})),
    ("heatmap", "Duration of whole polls"): everywhere(named({le: between(0, 100) for le in story.BUCKETS})),
    ("timeseries", "Whole polls: 99 % are faster than"): per_instance(
        named({"success": between(0, 0.005), "failure": lambda v: all(map(math.isnan, v))}),
        named({"success": between(0, 0.005), "failure": between(0, 2.5)}),
        named({"success": lambda v: all(map(math.isnan, v)), "failure": between(0, 2.5)})),
    ("stat", "Scraped"): everywhere(value(1)),
    ("stat", "Last poll"): everywhere(value(4 / 15)),
    ("stat", "Running for"): per_instance(value(END - story.BEFORE_STORY), value(END - RESTART),
                                          value(END - story.BEFORE_STORY)),
    ("stat", "Version"): everywhere(shows({"0.1.0 (abc1234)": 1})),
    ("stat", "Clock skew"): per_instance(value(0.4), value(0.4), value(90)),
    ("timeseries", "Polls and token renewals"): {
        instance: named({f"polls {instance}": both(between(0.01, 0.21), ends(pace)),
                         f"token renewals {instance}": between(0, 0.02)})
        for instance, pace in ((HEALTHY, 1 / 15), (STUCK, 1 / 15), (EXPIRED, 1 / 5))},
    ("timeseries", "Clock skew over time"): with_name(
        lambda name: named({name: always(90 if name == EXPIRED else 0.4)})),
    ("timeseries", "Duration of a scrape"): with_name(lambda name: named({name: always(0.003)})),
    ("timeseries", "Memory"): with_name(lambda name: named({name: always(5e6)})),
    ("timeseries", "Processor"): with_name(lambda name: named({name: between(0, 0.01)})),
    ("timeseries", "Open files"): with_name(lambda name: named({f"open {name}": always(12),
                                                               f"limit {name}": always(1024)})),
}

# Tables: the rows, in any order.
ONE_TABLES = {
    ("table", "Would a boto3 client have credentials now?"): {
        instance: [{"Instance": instance, "SDK": "boto3", "Client was created": created, "Now": usable}
                   for created, usable in zip(("now", "before_outage", "at_start"), answer)]
        for instance, answer in ((HEALTHY, (1, 1, 1)), (STUCK, (1, 1, 0)), (EXPIRED, (0, 0, 0)))},
    ("table", "Suspects"): per_instance([], [
        {"Instance": STUCK, "Process": "7", "Command": "gunicorn", "Started": (RESTART + 10) * 1000},
        {"Instance": STUCK, "Process": "9", "Command": "celery", "Started": (RESTART + 20) * 1000}], []),
}


def at(*times):
    """A fleet's figures at several times of the story."""
    return {time: value(expected) if expected is not None else NOTHING for time, expected in times}


QUIET, IN_OUTAGE, CLOSE, GAP = story.clock(8), story.clock(9, 11), story.clock(9, 55), story.clock(10, 32)
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
        "least": reaches(EXPIRY - END, EXPIRY - END + RUN), "5 %": between(EXPIRY - END, LIFETIME),
        "half": both(between(2 * HOUR, LIFETIME), ends(LIFETIME))})},
    ("timeseries", "Failed polls by kind"): {END: lines(
        connect_timeout=between(0.01, 0.21), read_timeout=between(0.01, 0.21), server_error=between(0.01, 0.21))},
    ("timeseries", "Share of failed polls"): {END: lines(failed=between(0.5, 0.9))},
    ("timeseries", "Outages and rotations"): {END: lines(
        outages=both(between(0, 1.5), lambda v: max(v) > 0.9), rotations=both(between(0, 3), lambda v: max(v) > 1.9))},
    ("timeseries", "Requests: 99 % are faster than"): {END: lines(
        token=between(0, 0.01), role=between(0, 2.5), credentials=between(0, 2.5))},
    ("timeseries", "Requests slower than 1 second"): {END: lines(
        token=always(0), role=between(0, 0.1), credentials=both(between(0, 0.7), lambda v: v[0] > 0.4))},
    ("bargauge", "Roles"): {END: shows({"web": 2, "orders": 1})},
    ("timeseries", "Exporters by version"): {END: named({"0.1.0": between(2, 3)})},
    ("timeseries", "Exporter starts"): {END: lines(starts=both(between(0, 1), lambda v: max(v) == 1))},
    ("timeseries", "Clock skew"): {END: named({"most": always(90), "95 %": between(60, 90)})},
    ("stat", "Another role"): at((END, 1)),
    ("stat", "Clock off by 60 s"): at((END, 1)),
}

BLUE = {"Cluster": "blue", "Namespace": "shop", "Job": story.JOB, "Instance": STUCK}


def plain(instance):
    return {"Job": story.JOB, "Instance": instance}


MANY_TABLES = {
    ("table", "Failing longest"): {
        IN_OUTAGE: [
            plain(EXPIRED) | {"Kind": "server_error", "Step": "role", "Failing for": IN_OUTAGE - LOST + story.SCRAPE,
                              "Expires in": EXPIRY - IN_OUTAGE},
            # It has just begun anew and has seen neither success nor document.
            BLUE | {"Kind": "connect_timeout", "Step": "token", "Failing for": IN_OUTAGE - RESTART}],
        END: [plain(EXPIRED) | {"Kind": "server_error", "Step": "role", "Failing for": END - LOST + story.SCRAPE,
                                "Expires in": EXPIRY - END}]},
    ("table", "Closest to expiry"): {END: [
        plain(HEALTHY) | {"Expires in": LIFETIME}, plain(EXPIRED) | {"Expires in": EXPIRY - END},
        BLUE | {"Expires in": LIFETIME}]},
    ("table", "Stuck exporters"): {QUIET: [], END: [BLUE | {"Since the outage": END - OUTAGE[1]}]},
    ("table", "Suspects"): {QUIET: [], END: [
        BLUE | {"Process": "7", "Command": "gunicorn", "Started": (RESTART + 10) * 1000},
        BLUE | {"Process": "9", "Command": "celery", "Started": (RESTART + 20) * 1000}]},
    ("table", "Largest clock skew"): {END: [
        plain(HEALTHY) | {"IMDS minus local": 0.4}, BLUE | {"IMDS minus local": 0.4},
        plain(EXPIRED) | {"IMDS minus local": 90}]},
}


def same_rows(found, expected):
    def order(rows):
        return sorted(rows, key=lambda row: sorted((key, str(text)) for key, text in row.items()))
    assert order(found) == [
        {key: approx(text) if isinstance(text, (int, float)) else text for key, text in row.items()}
        for row in order(expected)]


def test_every_panel_has_an_expectation():
    assert grafana.panels(INSTANCE).keys() == ONE.keys() | ONE_TABLES.keys()
    assert grafana.panels(FLEET).keys() == MANY.keys() | MANY_TABLES.keys()
    assert all(check.keys() == story.TARGETS.keys() for check in (ONE | ONE_TABLES).values())


@pytest.mark.parametrize("key", ONE, ids=" ".join)
def test_panel_of_one_instance(prometheus, key):
    for instance, check in ONE[key].items():
        check(grafana.Viewer(INSTANCE, prometheus, END, instance=instance).series(grafana.panels(INSTANCE)[key]))


@pytest.mark.parametrize("key", ONE_TABLES, ids=" ".join)
def test_table_of_one_instance(prometheus, key):
    for instance, expected in ONE_TABLES[key].items():
        viewer = grafana.Viewer(INSTANCE, prometheus, END, instance=instance)
        same_rows(viewer.rows(grafana.panels(INSTANCE)[key]), expected)


@pytest.mark.parametrize("key", ONE, ids=" ".join)
def test_panel_of_one_instance_with_all_chosen(prometheus, key):
    """Several instances may be chosen: nothing may fail, nor lines have the same name where names tell instances."""
    viewer = grafana.Viewer(INSTANCE, prometheus, END)
    for target in grafana.panels(INSTANCE)[key]["targets"]:
        assert viewer.ask(target)


@pytest.mark.parametrize("key", MANY, ids=" ".join)
def test_panel_of_the_fleet(prometheus, key):
    for time, check in MANY[key].items():
        check(grafana.Viewer(FLEET, prometheus, time).series(grafana.panels(FLEET)[key]))


@pytest.mark.parametrize("key", MANY_TABLES, ids=" ".join)
def test_table_of_the_fleet(prometheus, key):
    for time, expected in MANY_TABLES[key].items():
        same_rows(grafana.Viewer(FLEET, prometheus, time).rows(grafana.panels(FLEET)[key]), expected)


@pytest.mark.parametrize("key", MANY, ids=" ".join)
def test_no_panel_of_the_fleet_has_a_line_per_exporter(prometheus, key):
    viewer = grafana.Viewer(FLEET, prometheus, END)
    for target in grafana.panels(FLEET)[key]["targets"]:
        assert all("instance" not in labels for labels, _ in viewer.ask(target))


@pytest.mark.parametrize("chosen, fine", [
    ({"cluster": "blue"}, 0), ({"namespace": "shop"}, 0), ({"cluster": "(blue|red)", "namespace": ".*"}, 0),
    ({"instance": f"({HEALTHY}|{EXPIRED})"}, 1), ({"job": story.JOB}, 1), ({}, 1),
])
def test_the_choice_of_targets_narrows(prometheus, chosen, fine):
    """Also where some exporters have no cluster and no namespace."""
    shown = grafana.Viewer(FLEET, prometheus, END, **chosen).series(grafana.panels(FLEET)["stat", "Fine"])
    assert shown == {"": [fine]}


@pytest.mark.parametrize("dashboard", [INSTANCE, FLEET], ids=["instance", "fleet"])
def test_variables(prometheus, dashboard):
    expected = {"cluster": ["blue"], "namespace": ["shop"], "job": [story.JOB], "instance": sorted(story.TARGETS)}
    variables = {one["name"]: one for one in dashboard["templating"]["list"] if one["type"] == "query"}
    assert variables.keys() == expected.keys()
    viewer = grafana.Viewer(dashboard, prometheus, END)
    for name, values in expected.items():
        selector, label = variables[name]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        found = prometheus.get(f"label/{label}/values", **{"match[]": viewer.interpolate(selector)},
                               start=END - grafana.RANGE, end=END)
        assert found == values, name


# Annotations: how many marks each instance gets, or from when to when the condition holds.
ANNOTATIONS = {
    "Outage": per_instance(None, (OUTAGE[0], OUTAGE[1]), (END - RUN, END)),
    "Outage ended": per_instance(None, OUTAGE[1], None),
    "Alert": per_instance(None, None, (END - RUN, END)),
    "Exporter started": per_instance(story.BEFORE_STORY, RESTART, story.BEFORE_STORY),
    "New document": per_instance(END, END, story.clock(4)),
}


def test_annotations_of_one_instance(prometheus):
    annotations = {one["name"]: one for one in INSTANCE["annotations"]["list"] if not one.get("builtIn")}
    assert annotations.keys() == ANNOTATIONS.keys()
    for name, per in ANNOTATIONS.items():
        one = annotations[name]
        for instance, expected in per.items():
            viewer = grafana.Viewer(INSTANCE, prometheus, END, instance=instance)
            found = prometheus.get("query_range", query=viewer.interpolate(one["target"]["expr"]),
                                   start=END - RUN, end=END, step=60)["result"]
            assert bool(found) == (expected is not None), (name, instance)
            for labels in (series["metric"] for series in found):
                for text in (one["titleFormat"], one["textFormat"]):
                    grafana.fill(text, labels)
            if expected is None:
                continue
            if one["useValueForTime"]:
                assert float(found[-1]["values"][-1][1]) == expected * 1000
            else:
                times = [time for series in found for time, _ in series["values"]]
                assert (min(times), max(times)) == approx(expected, abs=6 * 60), (name, instance)


def test_annotations_of_the_fleet(prometheus):
    one, = (one for one in FLEET["annotations"]["list"] if not one.get("builtIn"))
    viewer = grafana.Viewer(FLEET, prometheus, END)
    (labels, values), = prometheus.over(viewer.interpolate(one["target"]["expr"]), END - RUN, END)
    assert grafana.fill(one["titleFormat"], labels) == "ImdsFleetOutage"
    assert covers(OUTAGE[1] - OUTAGE[0])(values)
