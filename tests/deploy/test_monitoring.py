"""Monitoring by kustomize: the optional rules, and the base of the links to the runbook."""

import os
import re

import pytest
import yaml

from forms import OPERATOR, kustomize
from operator_schemas import operator_mistakes

from helpers.alert_rules import GROUPS, KUBERNETES_GROUPS
from helpers.paths import DEPLOY

OPTIONAL = DEPLOY / "kubernetes" / "components" / "prometheusrule-kubernetes"


@pytest.fixture
def build(tmp_path):
    def build(**more):
        content = {"resources": [os.path.relpath(DEPLOY / "kubernetes" / "monitoring", tmp_path)], **more}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return {d["metadata"]["name"]: d for d in kustomize(tmp_path) if d["kind"] == "PrometheusRule"}

    return build


def test_the_optional_rules_are_added_to_the_others(build, tmp_path):
    rules = build(components=[os.path.relpath(OPTIONAL, tmp_path)])
    assert {name: rule["spec"]["groups"] for name, rule in rules.items()} == {
        "imds-exporter": GROUPS, "imds-exporter-kubernetes": KUBERNETES_GROUPS}
    assert all(rule["apiVersion"] == OPERATOR for rule in rules.values())
    assert operator_mistakes(list(rules.values())) == []


def test_the_patch_of_the_document_sets_the_base_of_the_links(build):
    text = (DEPLOY / "README.md").read_text()
    (patch,) = re.findall(r"^```yaml\n(patches:\n(?:(?!```).*\n)*)```$", text, re.M)
    changed = build(**yaml.safe_load(patch))["imds-exporter"]["spec"]["groups"]
    rules = zip(*([rule for group in groups for rule in group["rules"]] for groups in (GROUPS, changed)), strict=True)
    ((before, after),) = ((before, after) for before, after in rules if before != after)
    assert before["record"] == "imds:runbook:url"
    assert after["labels"]["url"].startswith("https://")
