"""The Kubernetes forms: valid, allowed under restricted Pod Security, and as documented."""

import copy
import json
import pathlib

import kubernetes_validate
import pytest
from cluster import mistakes, pod_security
from forms import (
    KUBERNETES, KUBERNETES_APIS, OPERATOR, containers, exporters_in, kustomize, pod_of, pods, runs_exporter, template_of,
)
from operator_schemas import operator_mistakes

from helpers.alert_rules import GROUPS
from helpers.paths import DASHBOARDS
from helpers.reference import default_port

HERE = pathlib.Path(__file__).resolve().parent
# Forms that use the network or the process namespace of the node.
PRIVILEGED = {"host-network", "chart with everything"}


def kubernetes_objects(forms):
    return [d for documents in forms.values() for d in documents if d["apiVersion"] in KUBERNETES_APIS]


def test_every_object_is_valid(forms):
    objects = kubernetes_objects(forms)
    for document in objects:
        kubernetes_validate.validate(document, KUBERNETES.rsplit(".", 1)[0], strict=True)
    assert len(objects) > 15


def test_every_object_for_the_operator_is_valid(forms):
    objects = [d for documents in forms.values() for d in documents if d["apiVersion"] == OPERATOR]
    assert {document["kind"] for document in objects} == {"PodMonitor", "PrometheusRule", "ServiceMonitor"}
    assert operator_mistakes(objects) == []


def test_the_exporter_needs_no_more_than_restricted_pod_security(forms):
    for form, _, pod in pods(forms):
        exporters_only = all(runs_exporter(container) for container in containers(pod))
        if exporters_only and form not in PRIVILEGED:
            assert not any(pod.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")), form
        pod_context = pod.get("securityContext", {}) if exporters_only else {}
        for container in exporters_in(pod):
            context = {**pod_context, **container["securityContext"]}
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert "privileged" not in context
            assert set(container["resources"]) == {"requests", "limits"}
            if form not in PRIVILEGED:
                assert not any("hostPort" in port for port in container.get("ports", []))
        volumes = [set(volume) - {"name"} for volume in pod.get("volumes", [])]
        assert all(volume <= {"configMap", "emptyDir", "secret", "projected"} for volume in volumes), form


@pytest.mark.parametrize("form, level", [
    ("DaemonSet", "restricted"), ("example Deployment", "restricted"), ("example Job", "restricted"),
    ("chart with protection", "restricted"), ("host-network", "privileged"), ("chart with everything", "privileged")])
def test_pod_security_admits_every_pod_of_the_form(forms, form, level):
    found = [{"metadata": {}, "spec": pod} for _, _, pod in pods({form: forms[form]})]
    assert pod_security(level, found) == [""] * len(found) and found
    assert level == "restricted" or any(pod_security("baseline", found))


def test_the_api_server_takes_every_object(forms):
    objects = kubernetes_objects(forms)
    assert [(d["kind"], mistake) for d, mistake in zip(objects, mistakes(objects)) if mistake] == []


def test_the_namespace_of_the_daemonset_enforces_pod_security(forms):
    for form, level in (("DaemonSet", "restricted"), ("host-network", "privileged")):
        namespaces = [document["metadata"]["labels"] for document in forms[form] if document["kind"] == "Namespace"]
        assert [labels["pod-security.kubernetes.io/enforce"] for labels in namespaces] == [level]


def test_the_exporter_has_no_service_account_token(forms):
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    seen = 0
    for form, _, pod in pods(forms):
        empty = {v["name"] for v in pod.get("volumes", []) if "emptyDir" in v}
        for container in exporters_in(pod):
            hidden = any(m["mountPath"] == token and m["name"] in empty for m in container.get("volumeMounts", []))
            assert hidden or pod.get("automountServiceAccountToken") is False, form
            seen += 1
    assert seen >= 12


def test_pods_with_nothing_but_the_exporter_have_no_service_links(forms):
    for form, _, pod in pods(forms):
        if all(map(runs_exporter, containers(pod))) or form.startswith("example"):
            assert pod["enableServiceLinks"] is False, form


def named(documents, name):
    """The workload with this name."""
    return next(d for d in documents if d["metadata"]["name"] == name)


def without_components(name):
    """The pod of a workload without any component."""
    return pod_of(named(kustomize(HERE / "workloads"), name))


NAMES = ["web", "store", "agent", "report", "nightly"]


def without_fail_loudly(container):
    """The container without what fail-loudly adds, which the overlays contain; it must be there."""
    container = copy.deepcopy(container)
    container["env"].remove({"name": "AWS_EC2_METADATA_V1_DISABLED", "value": "true"})
    return container if container["env"] else {k: v for k, v in container.items() if k != "env"}


@pytest.mark.parametrize("name", NAMES)
def test_the_sidecar_starts_first_and_the_workload_is_unchanged(forms, name):
    document = named(forms["sidecar"], name)
    before, after = without_components(name), pod_of(document)
    sidecar, *others = after["initContainers"]
    assert runs_exporter(sidecar)
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/-/startup"
    assert list(map(without_fail_loudly, others)) == before["initContainers"]
    assert list(map(without_fail_loudly, after["containers"])) == before["containers"]
    assert after.get("shareProcessNamespace", False) is ("Job" not in document["kind"])


def test_an_outage_of_a_day_restarts_no_sidecar(forms):
    for _, _, pod in pods(forms):
        for container in exporters_in(pod):
            if probe := container.get("startupProbe"):
                assert probe["periodSeconds"] * probe["failureThreshold"] >= 24 * 3600
                assert probe["periodSeconds"] <= 5
            if probe := container.get("livenessProbe"):
                assert probe["httpGet"]["path"] == "/-/healthy"


@pytest.mark.parametrize("name", NAMES)
def test_the_init_container_waits_without_a_sidecar(forms, name):
    after = pod_of(named(forms["wait"], name))
    wait, *others = after["initContainers"]
    assert runs_exporter(wait)
    assert wait["args"][0] == "wait"
    assert "restartPolicy" not in wait
    assert list(map(without_fail_loudly, others)) == without_components(name)["initContainers"]


def selected(selector, labels):
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def pod_labels(document):
    return template_of(document)["metadata"]["labels"]


@pytest.mark.parametrize("form, others", [("monitoring", set()), ("chart with everything", {"DaemonSet", "host-network", "signed-call"})])
def test_exactly_one_pod_monitor_selects_every_pod_with_the_exporter(forms, form, others):
    """`others` are forms whose pods the chart does not know."""
    monitors = [d["spec"] for d in forms[form] if d["kind"] == "PodMonitor"]
    ports = {endpoint["port"] for monitor in monitors for endpoint in monitor["podMetricsEndpoints"]}
    found = 0
    for name, document, pod in pods(forms):
        exposed = {p.get("name") for c in exporters_in(pod) for p in c.get("ports", [])}
        if not exposed:
            continue
        selecting = [m for m in monitors if selected(m["selector"], pod_labels(document))]
        assert len(selecting) == (name not in others), name
        assert ports <= exposed
        found += 1
    assert found >= 8


def test_the_network_policies_select_the_pods_and_open_the_port(forms):
    for form, policies in (("DaemonSet", ["imds-exporter"]), ("sidecar", ["imds-exporter-scrape"])):
        found = {d["metadata"]["name"]: d for d in forms[form] if d["kind"] == "NetworkPolicy"}
        assert sorted(found) == policies
        for policy in found.values():
            assert [p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]] == [default_port()]
            for _, document, _ in pods({form: forms[form]}):
                labels = pod_labels(document)
                assert selected(policy["spec"]["podSelector"], labels)
    assert not any(d["kind"] == "NetworkPolicy" for d in forms["host-network"])


def test_no_volume_keeps_a_node_alive(forms):
    """Cluster Autoscaler removes no node with a pod that has local storage: a hostPath, or an emptyDir that is neither in memory
    nor named in the annotation. It does not ask that of a DaemonSet's pods."""
    for form, document, pod in pods(forms):
        annotations = template_of(document)["metadata"].get("annotations", {})
        may_be_lost = annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes", "").split(",")
        for volume in pod.get("volumes", []):
            if "imds" in volume["name"] or volume["name"] == "state":
                assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}, (form, volume)
            elif document["kind"] != "DaemonSet":
                on_disk = "hostPath" in volume or volume.get("emptyDir", {"medium": "Memory"}).get("medium") != "Memory"
                assert not on_disk or volume["name"] in may_be_lost, (form, volume)


def test_signed_calls_leave_the_daemonset_only_with_the_component(forms):
    def opened(form):
        (policy,) = [d for d in forms[form] if d["kind"] == "NetworkPolicy"]
        return {(port["protocol"], port["port"]) for rule in policy["spec"]["egress"] for port in rule["ports"]}

    assert opened("DaemonSet") == {("TCP", 80)}
    assert opened("signed-call") == {("TCP", 80), ("TCP", 443), ("UDP", 53), ("TCP", 53)}
    (pod,) = [pod for _, document, pod in pods({"": forms["signed-call"]}) if document["kind"] == "DaemonSet"]
    assert {"name": "IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "value": "15m"} in pod["containers"][0]["env"]


def test_the_dashboards_are_unchanged_copies(forms):
    configs = [d for d in forms["monitoring"] if d["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert [list(config["data"]) for config in configs] == [[path.name] for path in DASHBOARDS[::-1]]
    assert [json.loads(*config["data"].values()) for config in configs] == [json.loads(path.read_text()) for path in DASHBOARDS[::-1]]


def test_the_alert_rules_are_an_unchanged_copy(forms):
    rule = next(d for d in forms["monitoring"] if d["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"] == GROUPS
