"""The shipped alert rules, as a YAML parser reads them: what is expected of the programs that load the files themselves."""

import yaml

from helpers.paths import BOTO3_RULES, KUBERNETES_RULES, RULES

# All that are shipped.
RULE_FILES = [RULES, KUBERNETES_RULES, BOTO3_RULES]

TEXT = RULES.read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load(TEXT)
GROUPS = DOCUMENT["groups"]
# The optional ones.
KUBERNETES_TEXT = KUBERNETES_RULES.read_text(encoding="utf-8")
KUBERNETES_GROUPS = yaml.safe_load(KUBERNETES_TEXT)["groups"]
BOTO3_GROUPS = yaml.safe_load(BOTO3_RULES.read_text(encoding="utf-8"))["groups"]
EVERY_GROUP = GROUPS + KUBERNETES_GROUPS + BOTO3_GROUPS


def alerting(groups):
    """The alerts among the rules of some groups."""
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


ALERTS = alerting(GROUPS)
NAMES = {rule["alert"] for rule in ALERTS}
# Name and severity of each: an alert may come in several severities.
BANDS = [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]
# Those of the optional files too.
EVERY_ALERT = alerting(EVERY_GROUP)
