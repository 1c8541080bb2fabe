"""The alert rules and the example configurations as files: linters, conventions, the table of thresholds.

The conventions are those of mixtool and promruval.
"""

import re
from urllib.parse import urlsplit

import pytest
import yaml

from helpers.alert_rules import ALERTS, BANDS, BOTO3_GROUPS, EVERY_ALERT, EVERY_GROUP, GROUPS, NAMES, RULE_FILES, TEXT, alerting
from helpers.commands import run
from helpers.paths import DEPLOY, tool
from helpers.prometheus import PROMTOOLS, prometheus, promtool

PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yaml"
ALERTMANAGER = DEPLOY / "prometheus" / "alertmanager.yaml"
BAND_ORDER = ["warning", "critical"]
# So many alerts are about an exporter and its machine, and at most so many rules are in a group. The alert of imds-boto3.yaml is about
# another program.
ALERT_NAMES, RULES_IN_A_GROUP = 22, 15

each_alert = pytest.mark.parametrize("rule", EVERY_ALERT, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")


def minutes(duration):
    number, unit = re.fullmatch(r"(\d+)([mh])", duration).groups()
    return int(number) * {"m": 1, "h": 60}[unit]


@pytest.mark.parametrize("version", PROMTOOLS)
def test_prometheus_loads_the_rules(version):
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES, version=version)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.name)
def test_no_rule_is_written_with_an_anchor_or_an_alias(file):
    """Not every program that loads rules resolves them."""
    assert not [token for token in yaml.scan(file.read_text()) if isinstance(token, yaml.AnchorToken | yaml.AliasToken)]


def test_what_prometheus_has_loaded_is_what_the_files_say(tmp_path):
    """Prometheus before 3.3 takes the name of an anchor for the expression where the file has an alias, and says nothing."""
    with prometheus(tmp_path, {"rule_files": [str(file) for file in RULE_FILES]}) as server:
        def written_alike(expression):
            return server.get("format_query", query=expression)

        loaded = {group["name"]: [written_alike(rule["query"]) for rule in group["rules"]]
                  for group in server.get("rules")["groups"]}
        assert loaded == {group["name"]: [written_alike(rule["expr"]) for rule in group["rules"]]
                          for group in EVERY_GROUP}


def test_prometheus_loads_the_example():
    result = promtool("check", "config", PROMETHEUS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alertmanager_loads_the_example():
    run(tool("amtool"), "check-config", ALERTMANAGER)


def test_groups_are_small_and_alerts_are_few():
    """As services accept them, and people can know them."""
    assert {group["name"]: len(group["rules"]) for group in EVERY_GROUP if len(group["rules"]) > RULES_IN_A_GROUP} == {}
    about_exporters = [group for group in EVERY_GROUP if group not in BOTO3_GROUPS]
    assert [len({rule["alert"] for rule in alerting(groups)}) for groups in (about_exporters, BOTO3_GROUPS)] == [ALERT_NAMES, 1]


def test_groups_have_names_and_fields_that_every_program_knows():
    for group in EVERY_GROUP:
        assert len(group["name"]) <= 40
        assert set(group) == {"name", "rules"}, "a field that Prometheus 2.42 does not know"


@each_alert
def test_an_alert_has_the_labels_and_annotations_that_people_and_routing_need(rule):
    assert re.fullmatch(r"(?:[A-Z][a-z0-9]+)+", rule["alert"]) and len(rule["alert"]) <= 40
    assert rule["labels"]["severity"] in {"critical", "warning"}
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "{{" not in annotations["summary"] and re.fullmatch(r"[A-Z].*\.", annotations["summary"])
    assert "$labels." in annotations["description"]
    assert re.search(r"[.](?:{{ end }})? Next: .*[.]$", annotations["description"])
    assert annotations["runbook_url"].strip() == annotations["runbook_url"]


BASE = '{{ with query `imds:runbook:url{url!=""}` }}{{ . | first | label "url" }}{{ else }}'


@each_alert
def test_the_anchor_in_the_runbook_is_the_alert_or_the_kind(rule):
    url = rule["annotations"]["runbook_url"]
    # What is asked once and used twice comes first.
    assert re.sub(r"^{{ \$\w+ := .*? \| query }}", "", url).startswith(BASE), "the base of the link is not the one that can be set"
    assert url.count("#") == 1
    anchor = url.rpartition("#")[2]
    by_kind = {"ImdsCredentialsFetchFailing": "kind", "ImdsCredentialsRejected": "reason", "ImdsSignedCallFailing": "reason"}
    if rule["alert"] in by_kind:
        assert f'label "{by_kind[rule["alert"]]}"' in anchor
        assert "{{ else }}" + rule["alert"] + "{{ end }}" in anchor
    else:
        assert anchor == rule["alert"]


def test_the_base_of_the_runbook_links_is_set_in_one_place():
    assert TEXT.count('url: ""') == 1
    [rule] = [rule for group in GROUPS for rule in group["rules"] if rule.get("record") == "imds:runbook:url"]
    assert rule["labels"] == {"url": ""}


def test_no_label_of_an_alert_changes_while_a_fault_lasts():
    for rule in ALERTS:
        for label in ("kind", "step", "reason", "sdk", "created"):
            assert f"$labels.{label} " not in rule["annotations"]["description"], (rule["alert"], label)


def test_the_bands_of_an_alert_differ_in_severity_alone_and_escalate():
    for name in NAMES:
        bands = [rule for rule in ALERTS if rule["alert"] == name]
        severities = [rule["labels"]["severity"] for rule in bands]
        assert len(bands) == 1 or severities == BAND_ORDER, name
        assert len({rule["annotations"]["summary"] for rule in bands}) == 1, name


def test_the_alertmanager_configuration_names_existing_alerts_only():
    config = yaml.safe_load(ALERTMANAGER.read_text())
    severities = {severity for _, severity in BANDS}
    names = {rule["alert"] for rule in EVERY_ALERT}
    inhibited = set()

    def matched(matchers):
        found = names
        for matcher in matchers:
            label, operator, value = re.fullmatch(r'(\w+)(=~?)"(.*)"', matcher).groups()
            if label == "alertname":
                alternatives = re.fullmatch(r"Imds\((.*)\)", value)
                wanted = {f"Imds{one}" for one in alternatives[1].split("|")} if alternatives else {value}
                found = names if value == "Imds.+" else wanted
                assert found <= names, matcher
            else:
                assert value in {"severity": severities, "explained_by": names}[label], matcher
        return found

    for rule in config["inhibit_rules"]:
        sources, targets = matched(rule["source_matchers"]), matched(rule["target_matchers"])
        assert "cluster" in rule["equal"]
        if rule["equal"][0] != "alertname":
            assert not sources & targets, "an alert that inhibits itself"
            inhibited |= {(source, target) for source in sources for target in targets}
    # In its two severities, ImdsFetchUnreliable stands on both sides.
    both = {(source, target) for source, target in inhibited if (target, source) in inhibited}
    assert {name for pair in both for name in pair} <= {"ImdsCredentialsFetchFailing", "ImdsFetchUnreliable"}
    never = {"ImdsClientsFailing", "ImdsClientsStuck", "ImdsFleetOutage", "ImdsExportersDown", "ImdsExporterAbsent"}
    assert not {target for _, target in inhibited} & never


def test_addresses_in_the_examples_are_loopback():
    for file in (PROMETHEUS, ALERTMANAGER):
        for url in re.findall(r"https?://[^\s#]+", file.read_text()):
            assert urlsplit(url).hostname == "127.0.0.1", url
