"""Why the rules are not simpler: expressions that look right, each with a case that it gets wrong and one that it gets right.

The cases are those of test_alert_rules.py, in which the shipped rules fire exactly as they should. A simpler rule replaces
the shipped one of its name; None removes it.
"""

from dataclasses import dataclass

import pytest

from helpers.alert_rules import GROUPS
from test_alert_rules import CASES, judged, promtool_test

# The kind of failure tells alerts apart, so that each change of kind begins another alert.
BY_KIND = """
    topk without (kind, step) (1, max_over_time(imds_failure_active[3m]))
    and ignoring (kind, step)
      last_over_time(imds_up[3m]) == 0
"""
# Exporters are counted, not machines.
BY_EXPORTER = """
    count by (cluster) (last_over_time(imds_up[3m]) == 0) / count by (cluster) (last_over_time(imds_up[3m])) > 0.25
    and
      count by (cluster) (last_over_time(imds_up[3m]) == 0) >= 3
"""
# An exporter is told by the name of its job.
BY_JOB = 'up{job=~"(.+/)?imds-exporter"}'
DOWN = f"max_over_time({BY_JOB}[3m]) == 0"
ABSENT = f"absent({BY_JOB})"
# The last outage decides, as long as the exporter remembers it.
LAST_OUTAGE = """
    label_replace(
      label_replace(
        last_over_time(process_start_time_seconds{job!~"(.+/)?imds-exporter", pod!=""}[3m])
        unless on (cluster, job, instance)
          go_info,
        "workload_job", "$1", "job", "(.*)"
      ),
      "workload_instance", "$1", "instance", "(.*)"
    )
    >= on (cluster, namespace, pod) group_left ()
      max by (cluster, namespace, pod) (last_over_time(imds_outage_last_start_timestamp_seconds{pod!=""}[3m]) - 30)
    <= on (cluster, namespace, pod) group_left (job, instance)
      topk by (cluster, namespace, pod) (1, last_over_time(imds_outage_last_end_timestamp_seconds{pod!=""}[3m]))
"""


@dataclass
class Simpler:
    """An expression of an alert, a case that it gets wrong, and one that it gets right."""

    alert: str
    expr: str | None
    wrong: str
    right: str | None = None


FETCHES, DIES = "the credentials cannot be fetched", "the exporter dies and comes back"
SIMPLER = [
    Simpler("ImdsCredentialsFetchFailing", BY_KIND, "three kinds in rotation every six minutes", FETCHES),
    Simpler("ImdsCredentialsFetchFailing", BY_KIND, "a fault that starts as one kind, becomes another and ends as a third", FETCHES),
    Simpler("ImdsCredentialsFetchFailing", BY_KIND,
            "the exporter dies in an outage that lasts, and its target is removed at last", FETCHES),
    Simpler("ImdsFetchUnreliable", None, "9.5 minutes of failure and half a minute without, for three hours"),
    Simpler("ImdsFetchUnreliable", None, "200 s of failure in every 240 s"),
    Simpler("ImdsFleetOutage", BY_EXPORTER, "a fault of one machine that runs four exporters",
            "more than a quarter of one of two fleets fails"),
    Simpler("ImdsFleetOutage", BY_EXPORTER, "machines that are told by the host of their address",
            "more than a quarter of one of two fleets fails"),
    Simpler("ImdsExportersDown", None, "no exporter answers"),
    Simpler("ImdsExporterRestarting", None, "an exporter in a crash loop"),
    Simpler("ImdsExporterAbsent", ABSENT, "one cluster of three vanishes from a central ruler",
            "no exporter has ever been a target"),
    Simpler("ImdsExporterAbsent", ABSENT, "a job of another name", "no exporter has ever been a target"),
    Simpler("ImdsExporterDown", DOWN, "a job of another name", DIES),
    Simpler("ImdsWorkloadStartedDuringOutage", LAST_OUTAGE, "a job of another name",
            "a workload in the pod started during the outage"),
    Simpler("ImdsWorkloadStartedDuringOutage", LAST_OUTAGE, "a restart that forgets the outage does not resolve the alert",
            "a workload in the pod started during the outage"),
    Simpler("ImdsWorkloadStartedDuringOutage", LAST_OUTAGE, "a workload that restarts alone in the second of three outages",
            "a workload in the pod started during the outage"),
]


def evaluated(folder, simpler, name):
    """What promtool says of a case, with the simpler rule in place of the shipped one."""
    def instead(rule):
        if rule.get("alert") != simpler.alert:
            return [rule]
        return [{**rule, "expr": simpler.expr}] if simpler.expr else []

    groups = [{**group, "rules": [other for rule in group["rules"] for other in instead(rule)]} for group in GROUPS]
    [case] = [case for case in CASES if case.name == name]
    # That alerts of kinds have the labels of kinds is no mistake of its own.
    test = promtool_test(case, 'max without (alertstate, kind, step) (ALERTS{alertstate="firing"})')
    return judged(folder, test, groups)


@pytest.mark.parametrize("simpler", SIMPLER, ids=lambda one: f"{one.alert}: {one.wrong}")
def test_a_simpler_rule_gets_a_case_wrong(simpler, tmp_path):
    result = evaluated(tmp_path, simpler, simpler.wrong)
    assert result.returncode == 1 and simpler.alert in result.stdout + result.stderr


@pytest.mark.parametrize("simpler", {one.expr: one for one in SIMPLER if one.expr}.values(), ids=lambda one: one.alert)
def test_a_simpler_rule_is_right_otherwise(simpler, tmp_path):
    """Its case goes wrong because of what it says, not because of how it is written."""
    result = evaluated(tmp_path, simpler, simpler.right)
    assert result.returncode == 0, result.stdout + result.stderr
