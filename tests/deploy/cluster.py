"""What a cluster does with the forms: Helm's and Kubernetes' own code, in the program of tests/tools/go/cluster."""

import json

import yaml

from forms import CHART, KUBERNETES

from helpers.commands import GO, run
from helpers.paths import tool

# The API servers whose schemas the objects must fit: the oldest that the chart takes, the first with native sidecars, the
# newest.
VERSIONS = ["1.25", "1.29", "1.37"]


def ask(command, request):
    return json.loads(run(*GO, tool("cluster"), command, input=json.dumps(request)))


def render(cases, path=CHART):
    """Of each set of values the objects, or the error as a text. A set is the values, or (the values, the API's versions)."""
    pairs = [case if isinstance(case, tuple) else (case, []) for case in cases]
    requests = [json.dumps({"Values": values, "APIVersions": versions}) for values, versions in pairs]
    # Many cases of a table are the same but for what they expect.
    distinct = list(dict.fromkeys(requests))
    chart = {"Chart": str(path), "Release": "release", "Namespace": "monitoring", "KubeVersion": KUBERNETES}
    answers = ask("render", {**chart, "Cases": list(map(json.loads, distinct))})
    rendered = {
        request: one["error"] or [document for document in yaml.load_all(one["manifest"], yaml.CSafeLoader) if document]
        for request, one in zip(distinct, answers, strict=True)
    }
    return [rendered[request] for request in requests]


def find(documents, kind, name=""):
    """The only object of a kind whose name ends so."""
    (found,) = (d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(name))
    return found


def _in_a_namespace(document):
    """As kubectl sends an object."""
    if document["kind"] == "Namespace":
        return document
    return {**document, "metadata": {"namespace": "default", **document["metadata"]}}


def mistakes(objects):
    """Of each object what an API server would refuse, or an empty text."""
    return ask("validate", list(map(_in_a_namespace, objects)))


def pod_security(level, pods):
    """Of each pod what Pod Security finds at a level, or an empty text."""
    return ask("admit", {"Level": level, "Pods": pods})


def nodes_of(daemonsets, nodes):
    """Of each DaemonSet the names of the nodes on which it runs a pod."""
    return ask("place", {"DaemonSets": daemonsets, "Nodes": nodes})


def node(name="node", taints=(), **labels):
    """A node of EKS; the first two characters of a label's name, `eks_`, stand for its prefix."""
    named = {key.replace("eks_", "eks.amazonaws.com/").replace("_", "-"): value for key, value in labels.items()}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", **named}},
        "spec": {"taints": list(taints)},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
