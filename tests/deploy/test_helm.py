"""The chart: it lints, its values are checked, its alert rules are the shipped ones with the user's changes."""

import copy
import json
import re

import pytest
import yaml

from forms import CHART, EVERYTHING, KUBERNETES, helm, helm_template

from helpers.alert_rules import ALERTS, BANDS, TEXT, alerting
from helpers.commands import run
from helpers.paths import DASHBOARDS, RULES, tool
from helpers.prometheus import promtool
from helpers.reference import version


def rejection(values):
    """What helm prints about values that it must not accept."""
    done = helm_template(values=values)
    assert done.returncode != 0, done.stdout
    return done.stderr


def spec(documents):
    """The spec of the PrometheusRule."""
    return next(d for d in documents if d["kind"] == "PrometheusRule")["spec"]


def rendered_alerts(**prometheus_rule):
    """The alerts of the chart with these values of `prometheusRule`."""
    return alerting(spec(helm(values={"prometheusRule": {"enabled": True, **prometheus_rule}}))["groups"])


@pytest.mark.parametrize("values", [[], ["--values", EVERYTHING]])
def test_it_lints(values):
    run(tool("helm"), "lint", "--strict", "--kube-version", KUBERNETES, CHART, *values)


def test_the_package_contains_rules_and_dashboards_as_files(tmp_path):
    run(tool("helm"), "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.iterdir()
    listing = run("tar", "--list", "--verbose", "--file", package)
    files = {line.split()[-1] for line in listing.splitlines() if line.startswith("-")}
    expected = {path.name for path in [*DASHBOARDS, RULES]}
    assert {name.rsplit("/", 1)[1] for name in files if "/files/" in name} == expected
    assert not any(line.startswith("l") for line in listing.splitlines())
    assert not any("/ci/" in name for name in files)


def test_the_application_version_is_that_of_the_crate():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version()
    images = [c["image"] for d in helm() if d["kind"] == "DaemonSet" for c in d["spec"]["template"]["spec"]["containers"]]
    assert images == [f"imds-exporter:{version()}"]


def test_every_value_has_a_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def closed(value, schema):
        for key, inner in value.items():
            assert key in schema["properties"], key
            if schema["properties"][key].get("additionalProperties") is False:
                closed(inner, schema["properties"][key])

    assert schema["additionalProperties"] is False
    closed(values, schema)


@pytest.mark.parametrize(
    "values",
    [
        {"prometheusrule": {"enabled": True}},
        {"config": {"pollInterval": "often"}},
        {"config": {"watchProcess": "python"}},
        {"port": "10169"},
        {"image": {"digest": "sha256:0"}},
        {"prometheusRule": {"overrides": {"ImdsClockSkew": {"page": {"for": "1m"}}}}},
        {"prometheusRule": {"overrides": {"ImdsClockSkew": {"warning": {"for": 60}}}}},
    ],
)
def test_unknown_and_malformed_values_are_rejected(values):
    assert "schema" in rejection(values)


def test_it_listens_on_all_addresses_of_both_families_by_default():
    (env,) = [d["spec"]["template"]["spec"]["containers"][0]["env"] for d in helm() if d["kind"] == "DaemonSet"]
    assert {"name": "IMDS_EXPORTER_LISTEN_ADDRESS", "value": ":10169"} in env


def test_watching_processes_without_those_of_the_node_is_rejected():
    assert "hostPID" in rejection({"config": {"watchProcesses": "python"}})


def test_an_override_of_an_unknown_alert_is_rejected():
    values = {"prometheusRule": {"enabled": True, "overrides": {"ImdsNoSuchAlert": {"warning": {"for": "1m"}}}}}
    assert "ImdsNoSuchAlert" in rejection(values)


def test_without_overrides_the_alert_rules_are_the_shipped_ones():
    assert rendered_alerts() == ALERTS


def overridden(alert, severity, override):
    return rendered_alerts(overrides={alert: {severity: override}})


def test_an_override_changes_one_alert_only():
    override = {"for": "77m", "severity": "info", "labels": {"team": "a"}, "annotations": {"dashboard_url": "b"}}
    changed = overridden("ImdsCredentialsFetchFailing", "critical", override)
    expected = copy.deepcopy(ALERTS)
    alert = expected[BANDS.index(("ImdsCredentialsFetchFailing", "critical"))]
    alert["for"] = "77m"
    alert["labels"] = {**alert["labels"], "severity": "info", "team": "a"}
    alert["annotations"] = {**alert["annotations"], "dashboard_url": "b"}
    assert changed == expected


def test_an_alert_can_be_disabled():
    changed = overridden("ImdsClockSkew", "warning", {"enabled": False})
    assert changed == [a for a, name in zip(ALERTS, BANDS) if name != ("ImdsClockSkew", "warning")]


def test_labels_can_be_added_to_every_alert():
    changed = rendered_alerts(alertLabels={"team": "a"})
    assert [alert["labels"]["team"] for alert in changed] == ["a"] * len(ALERTS)


# The table at the head of the rule file gives a number for each alert whose limit can be overridden.
LIMITS = {
    (alert, severity): limit
    for alert, severity, limit in re.findall(r"^# +(Imds\w+) +(\w+) +([<>=!]+ [0-9.]+) ", TEXT, re.M)
}


def test_the_limit_of_every_alert_can_be_overridden():
    assert set(LIMITS) <= set(BANDS)
    assert len(LIMITS) >= 15
    overrides = {}
    for number, (alert, severity) in enumerate(LIMITS):
        overrides.setdefault(alert, {})[severity] = {"limit": 7000.5 + number}
    changed = rendered_alerts(overrides=overrides)
    for number, (name, limit) in enumerate(LIMITS.items()):
        before, after = ALERTS[BANDS.index(name)]["expr"], changed[BANDS.index(name)]["expr"]
        operator = limit.split()[0]
        assert re.sub(rf"{re.escape(operator)} {7000.5 + number}(?![0-9.])", lambda _: limit, after) == before
        assert after != before


def test_a_limit_for_an_alert_without_one_is_rejected():
    for alert, severity in set(BANDS) - set(LIMITS):
        values = {"prometheusRule": {"enabled": True, "overrides": {alert: {severity: {"limit": 1}}}}}
        assert alert in rejection(values)


@pytest.mark.parametrize("values", [{"prometheusRule": {"enabled": True}}, None], ids=["defaults", "everything"])
def test_prometheus_accepts_the_rules_of_the_chart(tmp_path, values):
    documents = helm(values=values) if values else helm("--values", EVERYTHING)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec(documents)))
    result = promtool("check", "rules", tmp_path / "rules.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
