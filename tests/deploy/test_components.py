"""The components for workloads: they change the workloads that are annotated for them, in any combination and order."""

import itertools
import os

import pytest
import yaml

from cluster import mistakes
from forms import containers, exporters_in, kustomize, pod_of

from helpers.paths import DEPLOY

COMPONENTS = DEPLOY / "kubernetes" / "components"
WORKLOADS = DEPLOY.parent / "tests" / "deploy" / "workloads" / "workloads.yaml"
FOR_WORKLOADS = ["sidecar", "wait", "restart-stuck", "fail-loudly"]
VARIABLE = {"name": "AWS_EC2_METADATA_V1_DISABLED", "value": "true"}
SIDECAR, WAIT = {"imds-exporter": "sidecar"}, {"imds-exporter": "wait"}
RESTART, LOUD = {"imds-exporter/restart-stuck": "true"}, {"imds-exporter/fail-loudly": "true"}


@pytest.fixture
def build(tmp_path):
    """Builds the workloads, all with some annotations, beside the DaemonSet of the exporter, with some components."""

    def build(components, annotations, daemonset=True):
        documents = list(yaml.safe_load_all(WORKLOADS.read_text()))
        for document in documents:
            document["metadata"]["annotations"] = annotations
        (tmp_path / "workloads.yaml").write_text(yaml.safe_dump_all(documents))
        relative = os.path.relpath(DEPLOY / "kubernetes", tmp_path)
        kustomization = {
            "resources": ["workloads.yaml", *([f"{relative}/daemonset"] if daemonset else [])],
            "components": [f"{relative}/components/{component}" for component in components],
        }
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return kustomize(tmp_path)

    return build


def workloads(documents):
    return {d["metadata"]["name"]: d for d in documents if pod_of(d) and d["metadata"]["name"] != "imds-exporter"}


def test_a_workload_without_annotation_is_unchanged(build):
    before = list(yaml.safe_load_all(WORKLOADS.read_text()))
    after = workloads(build(FOR_WORKLOADS, {}))
    for document in before:
        assert after[document["metadata"]["name"]]["spec"] == document["spec"]
    assert len(after) == len(before) == 5


@pytest.mark.parametrize("annotations", [
    SIDECAR, WAIT, RESTART, LOUD, {**SIDECAR, **RESTART}, {**SIDECAR, **LOUD}, {**WAIT, **LOUD}, {**SIDECAR, **RESTART, **LOUD},
    {**WAIT, **RESTART}], ids=" ".join)
def test_all_components_in_any_order_give_the_same_and_valid_workloads(build, annotations):
    orders = FOR_WORKLOADS, FOR_WORKLOADS[::-1], ["fail-loudly", "sidecar", "restart-stuck", "wait"]
    built = [build(order, annotations) for order in orders]
    # The order of variables may differ: none of them refers to another one.
    for documents in built:
        for document in documents:
            if pod := pod_of(document):
                for container in containers(pod):
                    container.get("env", []).sort(key=lambda variable: variable["name"])
    assert built[0] == built[1] == built[2]
    assert [mistake for mistake in mistakes(built[0]) if mistake] == []


@pytest.mark.parametrize("components", [c for size in (1, 2) for c in itertools.combinations(FOR_WORKLOADS, size)], ids=" ".join)
def test_every_combination_is_valid_beside_the_daemonset(build, components):
    documents = build(components, {**SIDECAR, **RESTART, **LOUD})
    assert [mistake for mistake in mistakes(documents) if mistake] == []
    for pod in filter(None, map(pod_of, documents)):
        assert len({container["name"] for container in containers(pod)}) == len(containers(pod))
        assert len(exporters_in(pod)) <= 1
    (daemonset,) = (d for d in documents if d["metadata"]["name"] == "imds-exporter" and d["kind"] == "DaemonSet")
    assert "initContainers" not in pod_of(daemonset)


def test_restart_stuck_brings_the_sidecar_and_only_where_it_is_wanted(build):
    for name, document in workloads(build(["restart-stuck"], {**SIDECAR, **RESTART})).items():
        sidecar, *_ = pod_of(document)["initContainers"]
        watched = any(v["name"] == "IMDS_EXPORTER_WATCH_PROCESSES" for v in sidecar["env"])
        assert sidecar["image"] == "imds-exporter"
        # A Job's pod is replaced, not restarted.
        assert watched == pod_of(document).get("shareProcessNamespace", False) == ("Job" not in document["kind"]), name
    for annotations in (SIDECAR, RESTART, {**WAIT, **RESTART}):
        for document in workloads(build(FOR_WORKLOADS, annotations)).values():
            assert "shareProcessNamespace" not in pod_of(document)
            assert not any("exec" in c.get("livenessProbe", {}) for c in pod_of(document)["containers"])


@pytest.mark.parametrize("annotations", [{**SIDECAR, **LOUD}, {**WAIT, **LOUD}], ids=["sidecar", "wait"])
def test_fail_loudly_sets_the_variable_in_the_workload_and_its_exporter(build, annotations):
    for document in workloads(build(["fail-loudly"], annotations)).values():
        assert len(exporters_in(pod_of(document))) == 1
        for container in containers(pod_of(document)):
            assert [v for v in container["env"] if v["name"] == VARIABLE["name"]] == [VARIABLE], container["name"]


def test_fail_loudly_keeps_the_variables_of_the_workload(build, tmp_path):
    documents = list(yaml.safe_load_all(WORKLOADS.read_text()))
    before = {d["metadata"]["name"]: {c["name"]: c.get("env", []) for c in pod_of(d)["containers"]} for d in documents}
    assert any(env for one in before.values() for env in one.values())
    for name, document in workloads(build(["fail-loudly"], LOUD)).items():
        for container in pod_of(document)["containers"]:
            assert container["env"] == [*before[name][container["name"]], VARIABLE]


def test_fail_loudly_leaves_nothing_else_behind(build):
    kinds = {d["kind"] for d in build(["fail-loudly"], LOUD, daemonset=False)}
    assert kinds == {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}


def probed(tmp_path, container):
    """The workloads with the probe of restart-stuck, copied and edited as the documentation says."""
    text = (COMPONENTS / "restart-stuck" / "liveness.yaml").read_text()
    (tmp_path / "liveness.yaml").write_text(text.replace("YOUR_CONTAINER", container))
    kustomization = {
        "resources": [os.path.relpath(WORKLOADS, tmp_path)],
        "patches": [{"path": "liveness.yaml", "target": {"kind": "Deployment|StatefulSet|DaemonSet"}}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return [d for d in kustomize(tmp_path, "--load-restrictor=LoadRestrictionsNone") if "Job" not in d["kind"]]


def test_the_probe_is_that_of_the_container_that_is_named_and_never_of_a_proxy(tmp_path):
    documents = probed(tmp_path, "shop")
    assert mistakes(documents) == [""] * 3
    for document in documents:
        probes = {container["name"]: container["livenessProbe"] for container in pod_of(document)["containers"]}
        assert probes["proxy"] == {"tcpSocket": {"port": 8081}}
        assert "exec" in probes["shop"] and "tcpSocket" not in probes["shop"]


def test_a_probe_for_a_container_that_does_not_exist_is_refused(tmp_path):
    assert all("image" in mistake for mistake in mistakes(probed(tmp_path, "shpo")))
