"""The deployment forms as data: Kubernetes and Helm rendered, ECS, compose and systemd read."""

import concurrent.futures
import importlib.util
import json
import pathlib
import re

import yaml

from helpers.commands import run
from helpers.paths import DEPLOY, tool


def program(path):
    """A program of deploy/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = program(DEPLOY / "generate.py")
CHART = generate.CHART
EVERYTHING = CHART / "ci" / "everything-values.yaml"
PROTECTED = CHART / "ci" / "protected-values.yaml"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
WORKER = DEPLOY / "kubernetes" / "examples" / "deployment" / "worker.py"
# What the templates are rendered for. 1.33: native sidecars are stable.
KUBERNETES = "1.33.0"
# The API of the Prometheus operator.
OPERATOR = "monitoring.coreos.com/v1"
# The APIs that Kubernetes' own code validates.
KUBERNETES_APIS = {"v1", "apps/v1", "batch/v1", "networking.k8s.io/v1"}


def _documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def kustomize(directory, *options):
    return _documents(run(tool("kubectl"), "kustomize", directory, *options))


def helm(*arguments, values=None):
    """The chart rendered. `values` is the content of a user's values file."""
    command = [tool("helm"), "template", "release", CHART, "--namespace", "monitoring", "--kube-version", KUBERNETES]
    if values is None:
        return _documents(run(*command, *arguments))
    return _documents(run(*command, *arguments, "--values", "-", input=json.dumps(values)))


def kubernetes_forms():
    """Every Kubernetes form, by name."""
    kubernetes = DEPLOY / "kubernetes"
    overlays = pathlib.Path(__file__).with_name("overlays")
    renderings = {
        "example Deployment": lambda: kustomize(kubernetes / "examples" / "deployment"),
        "example Job": lambda: kustomize(kubernetes / "examples" / "job"),
        "DaemonSet": lambda: kustomize(kubernetes / "daemonset"),
        "monitoring": lambda: kustomize(kubernetes / "monitoring"),
        "chart": helm,
        "chart with everything": lambda: helm("--values", EVERYTHING),
        "chart with protection": lambda: helm("--values", PROTECTED),
        **{overlay.name: lambda overlay=overlay: kustomize(overlay) for overlay in sorted(overlays.iterdir())},
    }
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(renderings, pool.map(lambda rendering: rendering(), renderings.values())))


def template_of(document):
    """The pod in a document, with its metadata, if there is one."""
    if document["kind"] == "Pod":
        return document
    if document["kind"] == "CronJob":
        return document["spec"]["jobTemplate"]["spec"]["template"]
    if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return document["spec"]["template"]
    return None


def pod_of(document):
    """The pod spec in a document, if there is one."""
    template = template_of(document)
    return template and template["spec"]


def pods(forms):
    """(form, document, pod spec) of every pod."""
    return [
        (form, document, pod_of(document))
        for form, documents in forms.items()
        for document in documents
        if pod_of(document)
    ]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def serves(container):
    """Whether a container runs the exporter as a server, and not one of its other commands."""
    return runs_exporter(container) and not container.get("args")


def runs_exporter(container):
    """Whether a container runs the exporter's image."""
    return container["image"].split("@")[0].split(":")[0].split("/")[-1] == "imds-exporter"


def exporters_in(pod):
    """The containers of a pod that run the exporter's image."""
    return [container for container in containers(pod) if runs_exporter(container)]


class _CloudFormation(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, which are read as their argument."""


def _argument(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node, deep=True)


_CloudFormation.add_multi_constructor("!", _argument)


def ecs_resources(name="imds-exporter.yaml"):
    return yaml.load((DEPLOY / "ecs" / name).read_text(), Loader=_CloudFormation)["Resources"]


def ecs_task():
    return ecs_resources()["Task"]["Properties"]


def ecs_exporters():
    """The containers of the ECS task that run the exporter's image."""
    return [container for container in ecs_task()["ContainerDefinitions"] if container["Image"] == "ExporterImage"]


def compose_services():
    return yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]


def systemd_files():
    """The units and their drop-ins."""
    return sorted((DEPLOY / "systemd").rglob("*.service")) + sorted((DEPLOY / "systemd").rglob("*.conf"))


def unit_values(path, key):
    """The values of a key in a unit, one for each line."""
    return re.findall(rf"^{key}=(.*)$", path.read_text(), re.M)


def unit_environment_files(path):
    """The files from which a unit reads variables; the leading hyphen says that a file may be missing."""
    files = unit_values(path, "EnvironmentFile")
    assert all(file.startswith("-/") for file in files)
    return [file.removeprefix("-") for file in files]


def unit_environment(path):
    """The variables that a unit sets, with the state directory of the system manager."""
    pairs = (pair.split("=", 1) for pair in unit_values(path, "Environment"))
    return {name: value.replace("%S", "/var/lib") for name, value in pairs}
