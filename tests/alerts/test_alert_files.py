"""The rule file and the configurations as they stand: what linters ask, the table of thresholds, the generated copy.

The linters' rules are those of mixtool and promruval; pint runs itself. UPDATE=1 rewrites what is generated.
"""

import os
import re
from urllib.parse import urlsplit

import pytest
import yaml

from tools import DEBIAN, DEPLOY, GO, ROOT, RULES, promtool, run

GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
PROMETHEUS_RULE = ROOT / "deploy/kubernetes/components/prometheusrule/prometheusrule.yaml"
BAND_ORDER = ["warning", "critical"]

each_alert = pytest.mark.parametrize(
    "rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}"
)


def minutes(duration):
    return int(re.fullmatch(r"(\d+)m", duration)[1])


def test_prometheus_loads_the_rules():
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_loads_the_example():
    result = promtool("check", "config", DEPLOY / "prometheus.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_alertmanager_loads_the_example():
    result = run(DEBIAN / "amtool", "check-config", DEPLOY / "alertmanager.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_pint_finds_nothing():
    result = run(GO / "pint", "--no-color", "--offline", "--config", ROOT / "tests/alerts/pint.hcl", "lint",
                 "--min-severity=info", "--fail-on=info", RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_groups_are_small_and_named():
    for group in GROUPS:
        assert len(group["name"]) <= 40
        assert len(group["rules"]) <= 20
        assert set(group) == {"name", "rules"}, "what Prometheus 2.42 does not know"


@each_alert
def test_alerts_have_what_people_and_routing_need(rule):
    assert re.fullmatch(r"(?:[A-Z][a-z]+)+", rule["alert"]) and len(rule["alert"]) <= 40
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "{{" not in annotations["summary"] and re.fullmatch(r"[A-Z].*\.", annotations["summary"])
    assert rule["alert"] == "ImdsExporterAbsent" or "{{ $labels." in annotations["description"]
    assert ". Next: " in annotations["description"] and annotations["description"].endswith(".")
    assert annotations["runbook_url"].strip() == annotations["runbook_url"]


@each_alert
def test_the_anchor_of_the_runbook_is_the_alert_or_the_kind(rule):
    anchors = set(re.findall(r"#([^ {]+|\{\{ \$labels\.kind \}\})", rule["annotations"]["runbook_url"]))
    if rule["alert"] == "ImdsCredentialsFetchFailing":
        assert anchors == {"{{ $labels.kind }}"}
    else:
        assert anchors <= {rule["alert"]}
        assert rule["annotations"]["runbook_url"].count(rule["alert"]) >= 1


@each_alert
def test_a_lost_scrape_is_no_gap(rule):
    """No gauge is read at one instant, no window is too short for a lost scrape, no rate is instantaneous."""
    assert "irate" not in rule["expr"]
    if rule["alert"] == "ImdsExporterAbsent":
        return
    expr = re.sub(r"\((?:go_info or jvm_info or nodejs_version_info)\)", "()", rule["expr"])
    selectors = re.findall(r"\b(?:imds_\w+|up|process_start_time_seconds)(?:\{[^}]*\})?(\[\w+\])?", expr)
    assert selectors and all(selectors), "a selector without a window"
    windows = [int(number) * {"m": 1, "h": 60}[unit] for number, unit in re.findall(r"\[(\d+)([mh])\]", expr)]
    assert min(windows) >= (2 if rule["alert"] == "ImdsPollStalled" else 3)


def test_states_keep_firing_and_wait_for_minutes():
    for rule in ALERTS:
        if rule["alert"] not in {"ImdsRoleChanged", "ImdsExporterAbsent"}:
            assert minutes(rule["keep_firing_for"]) >= 5, rule["alert"]
        if rule["alert"] != "ImdsRoleChanged":
            assert 1 <= minutes(rule["for"]) <= 15, rule["alert"]


def test_bands_differ_in_severity_and_grow():
    for name in {rule["alert"] for rule in ALERTS}:
        bands = [rule for rule in ALERTS if rule["alert"] == name]
        severities = [rule["labels"]["severity"] for rule in bands]
        assert len(bands) == 1 or severities == BAND_ORDER, name
        assert len({rule["annotations"]["summary"] for rule in bands}) == 1, name


def test_the_table_of_thresholds_is_true():
    table = re.findall(r"^#   (Imds\w+) +(\w+) +(.+?)  +(\d+m)  +\S.*$", RULES.read_text(), re.MULTILINE)
    rows = [(name, severity, wait) for name, severity, _, wait in table]
    written = [(rule["alert"], rule["labels"]["severity"], rule.get("for", "0m")) for rule in ALERTS]
    assert sorted(rows) == sorted(written)
    for name, severity, limit, _ in table:
        [rule] = [rule for rule in ALERTS if (rule["alert"], rule["labels"]["severity"]) == (name, severity)]
        assert re.search(re.escape(limit) + r"(?![\d.])", rule["expr"]), (name, limit)


def test_the_thresholds_that_need_imds_to_be_fresh_fit_healthy_rotation():
    """Hourly rotation and 6.5 hours of life never reach the limits of ImdsRotationOverdue."""
    [warning, critical] = [float(re.search(r"< (0\.\d+)", rule["expr"])[1]) for rule in ALERTS
                           if rule["alert"] == "ImdsRotationOverdue"]
    assert critical < warning < 5.5 / 6.6


def test_alertmanager_names_only_alerts_that_exist():
    config = yaml.safe_load((DEPLOY / "alertmanager.yaml").read_text())
    names = {rule["alert"] for rule in ALERTS}
    severities = {rule["labels"]["severity"] for rule in ALERTS}
    severity_of = {name: {r["labels"]["severity"] for r in ALERTS if r["alert"] == name} for name in names}

    def matched(matchers):
        found = set(names)
        for matcher in matchers:
            label, operator, value = re.fullmatch(r'(\w+)(=~?)"(.*)"', matcher).groups()
            pattern = value if operator == "=~" else re.escape(value)
            if label == "severity":
                assert value in severities
                found &= {name for name in found if value in severity_of[name]}
            else:
                hit = {name for name in names if re.fullmatch(pattern, name)}
                alternatives = re.search(r"\((.*)\)", value)
                if alternatives:
                    assert len(hit) == len(alternatives[1].split("|")), f"an unknown alert in {value}"
                found &= hit
        assert found, matchers
        return found

    keeps = {rule["alert"]: minutes(rule.get("keep_firing_for", "0m")) for rule in ALERTS}
    # These speak of something else that outlasts what held them back.
    own = {"ImdsFlapping", "ImdsFetchSlow", "ImdsRoleChanged"}
    for rule in config["inhibit_rules"]:
        sources, targets = matched(rule["source_matchers"]), matched(rule["target_matchers"])
        assert {"cluster", "job"} <= set(rule["equal"])
        if rule["equal"][0] != "alertname":
            assert not sources & targets, "an alert that inhibits itself"
            for target in targets - own:
                assert min(keeps[source] for source in sources) > keeps[target], f"{target} speaks up at the end"


def prometheus_rule():
    plain = RULES.read_text()
    groups = plain[plain.index("\ngroups:\n") + 1:]
    head = (
        "# Made from deploy/prometheus/imds-alerts.yaml, where the thresholds are explained.\n"
        "# UPDATE=1 on its test rewrites it.\n"
        "apiVersion: monitoring.coreos.com/v1\n"
        "kind: PrometheusRule\n"
        "metadata:\n"
        "  name: imds-exporter\n"
        "  labels:\n"
        "    app.kubernetes.io/name: imds-exporter\n"
        "spec:\n"
    )
    return head + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


def test_the_prometheus_rule_is_current():
    if os.environ.get("UPDATE") == "1":
        PROMETHEUS_RULE.parent.mkdir(parents=True, exist_ok=True)
        PROMETHEUS_RULE.write_text(prometheus_rule())
    assert PROMETHEUS_RULE.read_text() == prometheus_rule()
    assert yaml.safe_load(prometheus_rule())["spec"]["groups"] == GROUPS


def test_addresses_in_examples_are_loopback():
    for file in ("prometheus.yaml", "alertmanager.yaml"):
        for url in re.findall(r"https?://[^\s#]+", (DEPLOY / file).read_text()):
            assert urlsplit(url).hostname == "127.0.0.1", url
