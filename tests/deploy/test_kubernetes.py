"""The Kubernetes forms: valid, allowed under restricted Pod Security, and true to what they say."""

import copy
import json
import os
import subprocess

import kubernetes_validate
import pytest
import yaml

from conftest import DEPLOY, KUBERNETES, ROOT, TOOLS, containers, kustomize, ours, pod_of, pods

OPERATOR = "monitoring.coreos.com/v1"
# Objects that need no Pod Security below privileged, and why.
PRIVILEGED = {"host-network", "chart with everything"}


def test_every_object_is_valid(forms):
    checked = 0
    for documents in forms.values():
        for document in documents:
            if document["apiVersion"] != OPERATOR:
                kubernetes_validate.validate(document, KUBERNETES.rsplit(".", 1)[0], strict=True)
                checked += 1
    assert checked > 15


def test_the_validation_is_strict(forms):
    broken = copy.deepcopy(forms["DaemonSet"])
    pod = next(pod_of(document) for document in broken if pod_of(document))
    pod["containers"][0]["livenessProbe"]["periodSecond"] = 15
    with pytest.raises(kubernetes_validate.ValidationError):
        for document in broken:
            kubernetes_validate.validate(document, KUBERNETES.rsplit(".", 1)[0], strict=True)


def operator_mistakes(documents):
    script = ROOT / "tests" / "deploy" / "operator_crds.mjs"
    done = subprocess.run(
        ["node", script],
        input=json.dumps(documents),
        env={**os.environ, "NODE_PACKAGES": str(TOOLS / "node")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def operator_objects(forms):
    return [d for documents in forms.values() for d in documents if d["apiVersion"] == OPERATOR]


def test_every_object_of_the_operator_is_valid(forms):
    objects = operator_objects(forms)
    assert {document["kind"] for document in objects} == {"PodMonitor", "PrometheusRule"}
    assert operator_mistakes(objects) == []


def test_mistakes_in_objects_of_the_operator_are_found(forms):
    monitor = next(o for o in copy.deepcopy(operator_objects(forms)) if o["kind"] == "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["intervall"] = "15s"
    assert len(operator_mistakes([monitor])) == 1
    monitor["spec"]["selector"] = 1
    assert len(operator_mistakes([monitor])) == 2


def test_the_exporter_needs_no_more_than_restricted_pod_security(forms):
    for form, _, pod in pods(forms):
        ours_alone = all(ours(container) for container in containers(pod))
        if ours_alone and form not in PRIVILEGED:
            assert not any(pod.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")), form
        pod_context = pod.get("securityContext", {}) if ours_alone else {}
        for container in filter(ours, containers(pod)):
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


def test_the_namespace_of_the_daemonset_enforces_it(forms):
    def enforced(form):
        return [
            document["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            for document in forms[form]
            if document["kind"] == "Namespace"
        ]

    assert enforced("DaemonSet") == ["restricted"]
    assert enforced("host-network") == ["privileged"]


def test_the_exporter_never_sees_a_service_account_token(forms):
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    seen = 0
    for form, _, pod in pods(forms):
        empty = {v["name"] for v in pod.get("volumes", []) if "emptyDir" in v}
        for container in filter(ours, containers(pod)):
            hidden = any(m["mountPath"] == token and m["name"] in empty for m in container.get("volumeMounts", []))
            assert hidden or pod.get("automountServiceAccountToken") is False, form
            seen += 1
    assert seen >= 12


def test_pods_of_ours_get_no_service_links(forms):
    for form, _, pod in pods(forms):
        if all(ours(container) for container in containers(pod)) or form.startswith("example"):
            assert pod["enableServiceLinks"] is False, form


def bare(forms, name):
    """The workloads as they are without any component."""
    return next(d for d in kustomize(ROOT / "tests" / "deploy" / "workloads") if d["metadata"]["name"] == name)


@pytest.mark.parametrize("name", ["web", "store", "agent", "report"])
def test_the_sidecar_comes_first_and_leaves_the_workload_as_it_is(forms, name):
    document = next(d for d in forms["sidecar"] if d["metadata"]["name"] == name)
    before, after = pod_of(bare(forms, name)), pod_of(document)
    sidecar, *others = after["initContainers"]
    assert ours(sidecar)
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/-/startup"
    assert others == before["initContainers"]
    containers = copy.deepcopy(after["containers"])
    if document["kind"] != "Job":
        assert containers[0].pop("livenessProbe")["httpGet"]["path"] == "/-/clients"
        before["containers"][0].pop("livenessProbe")
        assert after["shareProcessNamespace"] is True
    assert containers == before["containers"]


def test_an_outage_of_a_day_does_not_restart_the_sidecar(forms):
    for _, _, pod in pods(forms):
        for container in filter(ours, containers(pod)):
            if probe := container.get("startupProbe"):
                assert probe["periodSeconds"] * probe["failureThreshold"] >= 24 * 3600
                assert probe["periodSeconds"] <= 5
            if probe := container.get("livenessProbe"):
                assert probe["httpGet"]["path"] == "/-/healthy"


@pytest.mark.parametrize("name", ["web", "store", "agent", "report"])
def test_waiting_needs_no_sidecar(forms, name):
    after = pod_of(next(d for d in forms["wait"] if d["metadata"]["name"] == name))
    wait, *others = after["initContainers"]
    assert ours(wait)
    assert wait["args"][0] == "wait"
    assert "restartPolicy" not in wait
    assert others == pod_of(bare(forms, name))["initContainers"]


def selected(selector, labels):
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


@pytest.mark.parametrize("form", ["monitoring", "chart with everything"])
def test_the_pod_monitor_finds_every_pod_with_the_exporter(forms, form):
    monitor = next(d for d in forms[form] if d["kind"] == "PodMonitor")
    ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    found = 0
    for name, document, pod in pods(forms):
        named = {p.get("name") for c in filter(ours, containers(pod)) for p in c.get("ports", [])}
        if not named:
            continue
        assert selected(monitor["spec"]["selector"], document["spec"]["template"]["metadata"]["labels"]), name
        assert ports <= named
        found += 1
    assert found >= 8


def test_the_network_policies_select_the_pods_and_open_the_port(forms, code):
    for form, policies in (("DaemonSet", ["imds-exporter"]), ("sidecar", ["imds-exporter-scrape"])):
        named = {d["metadata"]["name"]: d for d in forms[form] if d["kind"] == "NetworkPolicy"}
        assert sorted(named) == policies
        for policy in named.values():
            assert [p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]] == [code.port]
            for _, document, _ in pods({form: forms[form]}):
                labels = document["spec"]["template"]["metadata"]["labels"]
                assert selected(policy["spec"]["podSelector"], labels)
    assert not any(d["kind"] == "NetworkPolicy" for d in forms["host-network"])


def test_the_dashboards_are_those_of_the_source(forms):
    source = {path.name: json.loads(path.read_text()) for path in (ROOT / "dashboards").glob("imds-*.json")}
    assert len(source) == 2
    for form in ("monitoring", "chart with everything"):
        config = next(d for d in forms[form] if d["kind"] == "ConfigMap")
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert {name: json.loads(text) for name, text in config["data"].items()} == source


def test_the_rules_are_those_of_the_source(forms):
    source = yaml.safe_load((DEPLOY / "prometheus" / "imds-alerts.yaml").read_text())
    rule = next(d for d in forms["monitoring"] if d["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"] == source["groups"]
