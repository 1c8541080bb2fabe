"""The shipped alert rules, as a YAML parser reads them: what is expected of the programs that load the files themselves."""

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


ALERTS = alerting(GROUPS)
NAMES = {rule["alert"] for rule in ALERTS}
# Name and severity of each: an alert may come in several severities.
BANDS = [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]
