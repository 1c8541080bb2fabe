"""The sidecar for whatever makes pods: by component, by admission policy, by YAML to paste; and what finds those that got
nothing. The policies run in the API server's own admission plugin."""

import copy
import json
import re

import pytest
import yaml

from cluster import ask, mistakes, pod_security
from forms import containers, exporters_in, kustomize, pod_of, template_of

from helpers.commands import run
from helpers.paths import DEPLOY, ROOT
from helpers.reference import version

WORKLOADS = ROOT / "tests" / "deploy" / "workloads"
POLICIES = kustomize(DEPLOY / "kubernetes" / "admission")
PASTE = yaml.safe_load((DEPLOY / "kubernetes" / "paste.yaml").read_text())
KNOWN = list(yaml.safe_load_all((WORKLOADS / "workloads.yaml").read_text()))
OTHERS = list(yaml.safe_load_all((WORKLOADS / "others.yaml").read_text()))
RESTART = "imds-exporter/restart-stuck"


def template(document):
    """Metadata and spec of the pods that a workload makes; of a Knative Service as its controller completes it."""
    return template_of(document) or document["spec"]["template"]


def pod(document, **metadata):
    """The pod that is sent to the API server."""
    found = copy.deepcopy(template(document))
    spec = found["spec"]
    if "Job" not in document["kind"]:
        spec["restartPolicy"] = "Always"
    # A webhook or the controller sets these names; Knative's is this one.
    for container in spec["containers"]:
        container.setdefault("name", "user-container")
    labels = {**found.get("metadata", {}).get("labels", {}), **metadata.get("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": document["metadata"]["name"], "namespace": "default", **metadata, "labels": labels}}


def admitted(pods):
    """Each pod as the API server stores it, or why it refuses the pod."""
    answers = ask("mutate", {"Policies": POLICIES, "Pods": pods})
    return [one["error"] or {"apiVersion": "v1", "kind": "Pod", **one["pod"]} for one in answers]


def named(pod, name):
    return next(container for container in containers(pod["spec"]) if container["name"] == name)


def contains(found, wanted):
    """Whether all that is wanted is there, beside what the API server adds."""
    if isinstance(wanted, dict):
        return all(key in found and contains(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(contains, found, wanted))
    return found == wanted


@pytest.mark.parametrize("component", ["sidecar", "wait"])
def test_a_policy_adds_what_the_component_adds_to_every_pod(component):
    before = [pod(document, labels={"imds-exporter": component}) for document in KNOWN + OTHERS]
    after = admitted(before)
    patch = yaml.safe_load((DEPLOY / "kubernetes" / "components" / component / f"{component}.yaml").read_text())
    (expected,) = patch["spec"]["template"]["spec"]["initContainers"]
    for sent, stored in zip(before, after, strict=True):
        assert isinstance(stored, dict), stored
        first, *others = stored["spec"]["initContainers"]
        assert contains(first, {**expected, "image": f"imds-exporter:{version()}"}), first
        assert [one["name"] for one in others] == [one["name"] for one in sent["spec"].get("initContainers", [])]
        assert [one["name"] for one in stored["spec"]["containers"]] == [one["name"] for one in sent["spec"]["containers"]]
        assert stored["spec"]["volumes"] == patch["spec"]["template"]["spec"]["volumes"]
        assert "shareProcessNamespace" not in stored["spec"]
    assert mistakes(after) == [""] * len(after)


def test_a_policy_leaves_alone_what_is_not_labelled_or_has_the_container_already():
    unlabelled = [pod(document) for document in KNOWN + OTHERS]
    (once,) = admitted([pod(OTHERS[1], labels={"imds-exporter": "sidecar"})])
    after = admitted([*unlabelled, once])
    assert [[c["name"] for c in containers(one["spec"])] for one in after] == [
        [c["name"] for c in containers(one["spec"])] for one in [*unlabelled, once]]


def test_a_policy_puts_the_probe_into_the_container_that_is_named_and_never_on_a_proxy():
    metadata = {"labels": {"imds-exporter": "sidecar"}}
    probed, typo = admitted([pod(OTHERS[0], **metadata, annotations={RESTART: name}) for name in ("shop", "shpo")])
    assert "livenessProbe" not in named(probed, "proxy")
    assert named(probed, "shop")["livenessProbe"]["exec"]["command"][0] == "python3"
    assert probed["spec"]["shareProcessNamespace"] is True
    assert {"name": "IMDS_EXPORTER_WATCH_PROCESSES", "value": "python"} in named(probed, "imds-exporter")["env"]
    assert mistakes([probed]) == [""]
    # Not silently nothing.
    assert isinstance(typo, str) and "no-container-shpo" in typo


def test_the_probe_of_the_policy_is_that_of_the_component():
    (probed,) = admitted([pod(OTHERS[1], labels={"imds-exporter": "sidecar"}, annotations={RESTART: "shop"})])
    patch = yaml.safe_load((DEPLOY / "kubernetes" / "components" / "restart-stuck" / "liveness.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert named(probed, "shop")["livenessProbe"]["exec"] == container["livenessProbe"]["exec"]


@pytest.mark.parametrize("document", KNOWN + OTHERS, ids=lambda document: document["kind"])
def test_what_is_pasted_makes_the_same_pod_as_the_policy(document):
    pasted = pod(document, labels=PASTE["podLabels"])
    pasted["spec"]["initContainers"] = [*PASTE["initContainers"], *pasted["spec"].get("initContainers", [])]
    pasted["spec"]["volumes"] = PASTE["extraVolumes"]
    assert mistakes([pasted]) == [""]
    (policy,) = admitted([pod(document, labels={"imds-exporter": "sidecar"})])
    first, (container,) = policy["spec"]["initContainers"][0], PASTE["initContainers"]
    assert contains(first, {**container, "image": first["image"]})
    assert policy["spec"]["volumes"] == PASTE["extraVolumes"]


def test_a_pod_of_a_restricted_namespace_stays_one():
    restricted = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    sent = pod(OTHERS[1], labels={"imds-exporter": "sidecar"})
    sent["spec"]["securityContext"] = restricted
    sent["spec"]["containers"][0]["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod_security("restricted", admitted([sent])) == [""]


# What finds objects that ask for the exporter, and have none.

def found(tmp_path, objects):
    """What the command of the document prints, with a kubectl that prints these objects."""
    (script,) = re.findall(r"^```sh\n(kubectl get [^`]*\| jq [^`]*)^```", (DEPLOY / "README.md").read_text(), re.M)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\ncat " + str(tmp_path / "objects.json") + "\n")
    kubectl.chmod(0o755)
    in_namespaces = [{**one, "metadata": {"namespace": "shop", **one["metadata"]}} for one in objects]
    (tmp_path / "objects.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": in_namespaces}))
    return run("sh", "-euc", script, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).splitlines()


def annotated(document, key="imds-exporter", value="sidecar"):
    return {**document, "metadata": {**document["metadata"], "annotations": {key: value}}}


def test_the_command_finds_what_the_components_do_not_know(tmp_path):
    built = [document for document in kustomize(ROOT / "tests" / "deploy" / "overlays" / "sidecar") if pod_of(document)]
    assert all(exporters_in(pod_of(document)) for document in built)
    mistyped = annotated(KNOWN[0], value="sidcar")
    on_the_template = copy.deepcopy(KNOWN[1])
    template(on_the_template)["metadata"]["annotations"] = {"imds-exporter": "sidecar"}
    unknown = [*map(annotated, OTHERS), mistyped, on_the_template]
    assert found(tmp_path, [*built, *KNOWN, *unknown]) == [
        f"{document['kind']} shop/{document['metadata']['name']}" for document in unknown]
    assert found(tmp_path, [*built, *KNOWN]) == []


def for_a_policy(document):
    """A workload with label and annotation where the policies want them, and the ReplicaSet that it makes."""
    document = copy.deepcopy(document)
    metadata = template(document).setdefault("metadata", {})
    metadata["labels"] = {**metadata.get("labels", {}), "imds-exporter": "sidecar"}
    metadata["annotations"] = {RESTART: "shop"}
    return document, {**document, "kind": "ReplicaSet", "metadata": {**document["metadata"], "labels": metadata["labels"]}}


def test_the_command_finds_the_pods_that_a_policy_missed_and_nothing_that_it_changed(tmp_path):
    owners = [document for document in KNOWN + OTHERS if document["kind"] != "Pod"]
    templates = [one for document in owners for one in for_a_policy(document)]
    missed = [pod(document, namespace="shop", labels={"imds-exporter": "sidecar"}) for document in KNOWN + OTHERS]
    # For a rule, and for a component that adds no container.
    others = [pod(OTHERS[1], labels={"imds-exporter/sdk": "boto3"}),
              annotated(KNOWN[0], key="imds-exporter/fail-loudly", value="true")]
    assert found(tmp_path, [*templates, *admitted(missed), *others]) == []
    misplaced = [{**one, "metadata": {**one["metadata"], "labels": {"imds-exporter": "sidecar"}}} for one in owners]
    # Without what it needs beside it.
    alone = [annotated(document, key=RESTART, value="shop") for document in [*owners, pod(OTHERS[1], namespace="shop")]]
    assert found(tmp_path, [*templates, *missed, *misplaced, *alone]) == [
        f"{document['kind']} shop/{document['metadata']['name']}" for document in [*missed, *misplaced, *alone]]
