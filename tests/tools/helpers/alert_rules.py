"""The shipped alert rules, parsed."""

import yaml

from helpers.paths import KUBERNETES_RULES, RULES

TEXT = RULES.read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load(TEXT)
GROUPS = DOCUMENT["groups"]
# The optional ones.
KUBERNETES_TEXT = KUBERNETES_RULES.read_text(encoding="utf-8")
KUBERNETES_GROUPS = yaml.safe_load(KUBERNETES_TEXT)["groups"]


def alerting(groups):
    """The alerts among the rules of some groups."""
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def without_annotations(groups):
    """A rule file of these groups that evaluates faster: promtool renders the annotations of each alert at each evaluation,
    with the queries in them, and compares none of them with what `promql_expr_test` expects."""
    return {"groups": [{**group, "rules": [
        {key: value for key, value in rule.items() if key != "annotations"} for rule in group["rules"]]} for group in groups]}


ALERTS = alerting(GROUPS)
NAMES = {rule["alert"] for rule in ALERTS}
# Name and severity of each: an alert may come in several severities.
BANDS = [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]
