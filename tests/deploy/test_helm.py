"""The chart: it lints, its values are checked, its rules are the source's with what a user changed."""

import copy
import json
import re
import subprocess

import pytest
import yaml

from conftest import CHART, DEPLOY, EVERYTHING, KUBERNETES, ROOT, helm, run, tool

SOURCE = (DEPLOY / "prometheus" / "imds-alerts.yaml").read_text()
ALERTS = [rule for group in yaml.safe_load(SOURCE)["groups"] for rule in group["rules"] if "alert" in rule]
NAMES = [(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS]


def refused(*arguments, values):
    """What helm says of values that it must not take."""
    done = subprocess.run(
        [tool("helm"), "template", "release", CHART, "--kube-version", KUBERNETES, "--values", "-", *arguments],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


def rules(documents):
    rule = next(d for d in documents if d["kind"] == "PrometheusRule")
    return [rule for group in rule["spec"]["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("values", [[], ["--values", EVERYTHING]])
def test_it_lints(values):
    run(tool("helm"), "lint", "--strict", "--kube-version", KUBERNETES, CHART, *values)


def test_it_is_packaged_with_rules_and_dashboards_and_no_links(tmp_path):
    run(tool("helm"), "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.iterdir()
    listing = run("tar", "--list", "--verbose", "--file", package)
    files = {line.split()[-1] for line in listing.splitlines() if line.startswith("-")}
    expected = {path.name for path in (ROOT / "dashboards").glob("imds-*.json")} | {"imds-alerts.yaml"}
    assert {name.rsplit("/", 1)[1] for name in files if "/files/" in name} == expected
    assert not any(line.startswith("l") for line in listing.splitlines())
    assert not any("/ci/" in name for name in files)


def test_its_version_is_the_crate_s(code):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == code.version
    images = [c["image"] for d in helm() if d["kind"] == "DaemonSet" for c in d["spec"]["template"]["spec"]["containers"]]
    assert images == [f"imds-exporter:{code.version}"]


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
def test_values_that_nothing_reads_are_refused(values):
    assert "schema" in refused(values=values)


def test_watching_without_the_node_s_processes_is_refused():
    assert "hostPID" in refused(values={"config": {"watchProcesses": "python"}})


def test_an_override_of_an_alert_that_is_not_there_is_refused():
    values = {"prometheusRule": {"enabled": True, "overrides": {"ImdsNoSuchAlert": {"warning": {"for": "1m"}}}}}
    assert "ImdsNoSuchAlert" in refused(values=values)


def test_without_overrides_the_rules_are_the_source_s():
    assert rules(helm(values={"prometheusRule": {"enabled": True}})) == ALERTS


def overridden(alert, severity, override):
    values = {"prometheusRule": {"enabled": True, "overrides": {alert: {severity: override}}}}
    return rules(helm(values=values))


def test_an_override_changes_its_alert_and_no_other():
    override = {"for": "77m", "severity": "info", "labels": {"team": "a"}, "annotations": {"dashboard_url": "b"}}
    changed = overridden("ImdsCredentialsFetchFailing", "critical", override)
    expected = copy.deepcopy(ALERTS)
    alert = expected[NAMES.index(("ImdsCredentialsFetchFailing", "critical"))]
    alert["for"] = "77m"
    alert["labels"] = {**alert["labels"], "severity": "info", "team": "a"}
    alert["annotations"] = {**alert["annotations"], "dashboard_url": "b"}
    assert changed == expected


def test_an_alert_can_be_left_out():
    changed = overridden("ImdsClockSkew", "warning", {"enabled": False})
    assert changed == [a for a, name in zip(ALERTS, NAMES) if name != ("ImdsClockSkew", "warning")]


def test_labels_are_put_on_every_alert():
    changed = rules(helm(values={"prometheusRule": {"enabled": True, "alertLabels": {"team": "a"}}}))
    assert [alert["labels"]["team"] for alert in changed] == ["a"] * len(ALERTS)


# An alert has a limit to override where the table at the head of the rules names a number for it.
LIMITS = {
    (alert, severity): limit
    for alert, severity, limit in re.findall(r"^# +(Imds\w+) +(\w+) +([<>=!]+ [0-9.]+) ", SOURCE, re.M)
}


def test_the_limit_of_every_alert_can_be_overridden():
    assert set(LIMITS) <= set(NAMES)
    assert len(LIMITS) >= 15
    overrides = {}
    for number, (alert, severity) in enumerate(LIMITS):
        overrides.setdefault(alert, {})[severity] = {"limit": 7000.5 + number}
    changed = rules(helm(values={"prometheusRule": {"enabled": True, "overrides": overrides}}))
    for number, (name, limit) in enumerate(LIMITS.items()):
        before, after = ALERTS[NAMES.index(name)]["expr"], changed[NAMES.index(name)]["expr"]
        operator = limit.split()[0]
        assert re.sub(rf"{re.escape(operator)} {7000.5 + number}(?![0-9.])", lambda _: limit, after) == before
        assert after != before


def test_an_alert_without_a_limit_says_so():
    for alert, severity in set(NAMES) - set(LIMITS):
        values = {"prometheusRule": {"enabled": True, "overrides": {alert: {severity: {"limit": 1}}}}}
        assert alert in refused(values=values)


@pytest.mark.parametrize("values", [{"prometheusRule": {"enabled": True}}, None], ids=["defaults", "everything"])
def test_prometheus_takes_the_rules_of_the_chart(tmp_path, values):
    documents = helm(values=values) if values else helm("--values", EVERYTHING)
    spec = next(d for d in documents if d["kind"] == "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    run(tool("promtool"), "check", "rules", tmp_path / "rules.yaml")
