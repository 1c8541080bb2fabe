"""The optional rules for Kubernetes, on what kube-state-metrics exports; more stories of theirs are in test_alert_rules.py."""

import json
import re

from evaluation import GROUPS_IN_ORDER
from exporter_model import STEP, Exporter, Given, input_series, selector
from helpers.alert_rules import KUBERNETES_GROUPS, KUBERNETES_TEXT, RULE_FILES
from helpers.prometheus import promtool
from kubernetes_model import Pod, exported, pod

CLUSTER = {"cluster": "one"}


def test_the_metrics_and_labels_that_the_rules_read_exist():
    series = exported([pod("a", "node-1", 3, "boto3")])
    labels = {}
    for one in series:
        name, _, inside = one.partition("{")
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', inside))
    read = set(re.findall(r"kube_\w+", "".join(rule["expr"] for group in KUBERNETES_GROUPS for rule in group["rules"])))
    assert read and read <= set(labels)
    assert {"namespace", "pod", "uid", "node"} <= labels["kube_pod_info"]
    assert {"namespace", "pod", "uid", "container"} <= labels["kube_pod_container_state_started"]
    assert {"namespace", "pod", "container", "container_id"} <= labels["kube_pod_container_info"]
    assert "label_imds_exporter_sdk" in labels["kube_pod_labels"]
    assert "--metric-labels-allowlist=pods=[imds-exporter/sdk]" in KUBERNETES_TEXT


FAILS = [(start, start + 2, "connect_timeout", "token") for start in (20, 40, 60)]
NODE_EXPORTER = {**CLUSTER, "job": "imds-exporter", "instance": "10.1.0.1:10169", "namespace": "monitoring",
                 "pod": "imds-exporter-x", "node": "node-1"}
SIDECAR = {**CLUSTER, "job": "imds-exporter", "instance": "10.0.0.7:10169", "namespace": "shop", "pod": "with-sidecar",
           "node": "node-1"}


def contained(**labels):
    return {"alertname": "ImdsContainersStartedDuringOutage", "severity": "warning", "container": "app", **CLUSTER, **labels}


def firing_at(minute, expected):
    samples = [{"labels": selector("", labels), "value": 1} for labels in expected]
    return {"expr": 'max without (alertstate) (ALERTS{alertstate="firing", alertname="ImdsContainersStartedDuringOutage"})',
            "eval_time": f"{minute}m", "exp_samples": samples}


def judge(folder, series, checks):
    file = folder / "test.json"
    file.write_text(json.dumps({
        "rule_files": [str(file) for file in RULE_FILES], "evaluation_interval": f"{STEP}s", "group_eval_order": GROUPS_IN_ORDER,
        "tests": [{"interval": f"{STEP}s", "input_series": series, "promql_expr_test": checks}]}))
    done = promtool("test", "rules", file, patient=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_container_that_restarts_in_the_second_of_three_outages(tmp_path):
    """A DaemonSet's exporter and a sidecar on one node. The container of the first pod restarts alone in the second outage, and again at
    last: seen by another replica of kube-state-metrics each time, since promtool takes each series once."""
    first, second, third = [pod("restarts", "node-1", started, "boto3") for started in (3, 41, 85)]
    story = input_series([
        Exporter(NODE_EXPORTER, fails=FAILS, restarts=[70], keeps_state=False),
        Exporter(SIDECAR), Exporter({**NODE_EXPORTER, "instance": "10.1.0.2:10169", "pod": "imds-exporter-y", "node": "node-2"}),
        Pod(pod("elsewhere", "node-2", 41, "boto3"), CLUSTER), Pod(pod("unmarked", "node-1", 41), CLUSTER),
        Pod(pod("with-sidecar", "node-1", 41, "boto3", containers=("app", "imds-exporter")), CLUSTER),
        Pod(first, CLUSTER, until=41.5), Pod(second, {**CLUSTER, "scraper": "second"}, 41.5, 86),
        Pod(third, {**CLUSTER, "scraper": "third"}, 86),
    ], 100)
    suspect = contained(namespace="shop", pod="restarts", uid="uid-restarts", node="node-1", job="imds-exporter",
                        instance="10.1.0.1:10169")
    judge(tmp_path, story, [firing_at(minute, [suspect] if 50 <= minute <= 85 else [])
                            for minute in (30, 41, 45, 50, 58, 66, 75, 85, 95)])


def test_a_sidecar_decides_for_its_pod_and_a_namespace_can_be_marked(tmp_path):
    pods = [Pod(one, CLUSTER) for one in (
        pod("with-sidecar", "node-1", 21, "ruby", containers=("app", "imds-exporter")), pod("beside", "node-1", 21, "boto3"),
        pod("named", "node-1", 21, namespace="your-namespace"))]
    suspect = contained(namespace="shop", pod="with-sidecar", uid="uid-with-sidecar", node="node-1", job="imds-exporter",
                        instance="10.0.0.7:10169")
    # What the sidecar saw says nothing of other pods.
    sidecar = input_series([Exporter(SIDECAR, fails=FAILS[:1]), *pods], 60)
    judge(tmp_path, sidecar, [firing_at(minute, [suspect] if minute > 29 else []) for minute in (10, 21, 30, 50)])
    where = {"uid": "uid-named", "node": "node-1", "job": "imds-exporter", "instance": "10.1.0.1:10169"}
    expected = [contained(namespace="your-namespace", pod="named", **where),
                contained(namespace="shop", pod="beside", **{**where, "uid": "uid-beside"}),
                contained(namespace="shop", pod="with-sidecar", **{**where, "uid": "uid-with-sidecar"})]
    judge(tmp_path, input_series([Exporter(NODE_EXPORTER, fails=FAILS[:1]), *pods], 60), [firing_at(30, expected)])


def test_suspects_of_a_daemonset_get_the_name_of_their_pod(tmp_path):
    of_process = {"pid": "7", "command": "python3", "unit": "", "container_id": "uid-cart-app", "pod_uid": "uid-cart"}
    suspect = Given("imds_suspect_process_start_time_seconds", {**NODE_EXPORTER, **of_process}, value=1260)
    judge(tmp_path, input_series([suspect, Pod(pod("cart", "node-1", 21), CLUSTER)], 20), [{
        "expr": "max by (pid, suspect_namespace, suspect_pod, suspect_container) (imds:suspect_process:container)",
        "eval_time": "10m", "exp_samples": [{
            "labels": '{pid="7",suspect_namespace="shop",suspect_pod="cart",suspect_container="app"}', "value": 1260}]}])
