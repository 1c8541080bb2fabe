"""The chart: it lints, its values are checked, its alert rules are the shipped ones with the user's changes."""

import copy
import json
import re

import pytest
import yaml

from cluster import find, render
from forms import CHART, EVERYTHING, KUBERNETES, PROTECTED, helm

from helpers.alert_rules import ALERTS, BANDS, GROUPS, alerting
from helpers.commands import run
from helpers.paths import THRESHOLDS, tool
from helpers.prometheus import promtool
from helpers.reference import version


def spec(documents):
    return find(documents, "PrometheusRule")["spec"]


def rendered_groups(**prometheus_rule):
    """The groups of the chart with these values of `prometheusRule`."""
    return spec(helm(values={"prometheusRule": {"enabled": True, **prometheus_rule}}))["groups"]


def rendered_alerts(**prometheus_rule):
    return alerting(rendered_groups(**prometheus_rule))


@pytest.mark.parametrize("values", [[], ["--values", EVERYTHING], ["--values", PROTECTED]])
def test_it_lints(values):
    run(tool("helm"), "lint", "--strict", "--kube-version", KUBERNETES, CHART, *values)


def test_the_application_version_is_that_of_the_crate():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version()
    (container,) = find(helm(), "DaemonSet")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"imds-exporter:{version()}"


def test_it_listens_on_all_addresses_of_both_families_by_default():
    (container,) = find(helm(), "DaemonSet")["spec"]["template"]["spec"]["containers"]
    assert {"name": "IMDS_EXPORTER_LISTEN_ADDRESS", "value": ":10169"} in container["env"]


def test_without_overrides_the_alert_rules_are_the_shipped_ones():
    assert rendered_alerts() == ALERTS


def overridden(alert, severity, override):
    return rendered_alerts(overrides={alert: {severity: override}})


def test_an_override_changes_one_alert_only():
    override = {"for": "77m", "severity": "info", "labels": {"team": "a"}, "annotations": {"dashboard_url": "b"}}
    changed = overridden("ImdsCredentialsRejected", "critical", override)
    expected = copy.deepcopy(ALERTS)
    alert = expected[BANDS.index(("ImdsCredentialsRejected", "critical"))]
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


def test_severities_are_named_as_the_routes_name_them():
    names = {"critical": "page", "warning": "ticket"}
    changed = rendered_alerts(severities=names, overrides={"ImdsFetchSlow": {"warning": {"severity": "page"}}})
    expected = ["page" if alert == "ImdsFetchSlow" else names[severity] for alert, severity in BANDS]
    assert [alert["labels"]["severity"] for alert in changed] == expected


def test_alerts_can_have_a_prefix_and_their_overrides_do_not():
    changed = rendered_alerts(alertNamePrefix="Platform", overrides={"ImdsFetchSlow": {"warning": {"for": "77m"}}})
    assert [alert["alert"] for alert in changed] == [f"Platform{alert}" for alert, _ in BANDS]
    assert [alert["for"] for alert in changed if alert["alert"] == "PlatformImdsFetchSlow"] == ["77m"]


def test_alerts_link_to_the_runbook_that_the_user_publishes():
    """By the one recording rule that says where it is: tests/rules tests what the links become."""
    base = "https://wiki.example.org/runbook"
    rules, changed = ([rule for group in groups for rule in group["rules"]] for groups in (GROUPS, rendered_groups(runbookUrl=base)))
    ((before, after),) = ((before, after) for before, after in zip(rules, changed, strict=True) if before != after)
    assert before["record"] == "imds:runbook:url" and after == {**before, "labels": {**before["labels"], "url": base}}
    assert all("imds:runbook:url" in alert["annotations"]["runbook_url"] for alert in ALERTS)


def test_the_label_of_the_cluster_and_the_jobs_of_workloads_are_everywhere_those_of_the_user():
    changed = rendered_groups(workloadJobs=["cart", "shop"], clusterLabel="k8s_cluster")
    before, after = ([rule["expr"] for group in groups for rule in group["rules"]] for groups in (GROUPS, changed))
    assert sum(expr.count('job=~"cart|shop"') for expr in after) == sum(expr.count("job=~") for expr in before) == 1
    clusters = sum(len(re.findall(r"\bcluster\b", expr)) for expr in before)
    assert clusters > 10
    assert sum(len(re.findall(r"\bk8s_cluster\b", expr)) for expr in after) == clusters
    assert not any(re.search(r"\bcluster\b", expr) for expr in after)
    # Annotations query by the label too.
    annotations = json.dumps([alert["annotations"] for alert in alerting(changed)])
    assert "labels.k8s_cluster" in annotations and "{k8s_cluster=" in annotations
    assert not re.search(r"labels\.cluster\b|\bcluster=", annotations)


def test_the_rules_for_kube_state_metrics_are_added_on_demand():
    wanted = {"kubernetes": {"enabled": True, "namespaces": ["shop", "billing"]}}
    groups = rendered_groups(**wanted, overrides={"ImdsContainersStartedDuringOutage": {"warning": {"severity": "page"}}})
    assert groups[: len(GROUPS)] == GROUPS
    added = json.dumps(groups[len(GROUPS) :])
    assert 'namespace=~\\"shop|billing\\"' in added and "your-" not in added
    assert [alert["labels"]["severity"] for alert in alerting(groups[len(GROUPS) :])] == ["page"]
    for nobody in ([], None):
        kubernetes = {"enabled": True, **({"namespaces": nobody} if nobody is not None else {})}
        assert 'namespace=~\\"\\"' in json.dumps(rendered_groups(kubernetes=kubernetes))


def test_groups_of_the_user_come_last():
    group = {"name": "own", "rules": [{"alert": "Own", "expr": "imds_up == 0"}]}
    assert rendered_groups(extraGroups=[group]) == [*GROUPS, group]


LIMITS = {
    (alert, severity): row["limit"]
    for alert, severities in json.loads(THRESHOLDS.read_text()).items()
    for severity, row in severities.items()
    if row.get("limit", "")[:1] in {"<", ">"} and (alert, severity) in BANDS
    # What is recorded depends on theirs as well.
    and alert not in {"ImdsClientsFailing", "ImdsFleetOutage"}
}


def test_the_limit_of_every_alert_can_be_overridden():
    assert set(LIMITS) <= set(BANDS)
    assert len(LIMITS) >= 12
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
    without = sorted(set(BANDS) - set(LIMITS))
    cases = [{"prometheusRule": {"enabled": True, "overrides": {alert: {severity: {"limit": 1}}}}} for alert, severity in without]
    for (alert, severity), error in zip(without, render(cases), strict=True):
        assert isinstance(error, str) and f"{alert}.{severity}" in error


ADAPTED = {
    "enabled": True, "workloadJobs": ["cart"], "clusterLabel": "k8s_cluster", "alertNamePrefix": "Platform",
    "runbookUrl": "https://wiki.example.org/runbook", "severities": {"critical": "page"},
    "kubernetes": {"enabled": True, "namespaces": ["shop"]},
}


@pytest.mark.parametrize("values", [{"prometheusRule": {"enabled": True}}, {"prometheusRule": ADAPTED}, None],
                         ids=["defaults", "adapted", "everything"])
def test_prometheus_accepts_the_rules_of_the_chart(tmp_path, values):
    documents = helm(values=values) if values else helm("--values", EVERYTHING)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec(documents)))
    result = promtool("check", "rules", tmp_path / "rules.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
