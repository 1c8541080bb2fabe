"""What the tests of the deployment forms share: the tools, the forms, and what the code says of itself."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / "target" / "tools"
CHART = DEPLOY / "helm" / "imds-exporter"
# What the templates are rendered for. 1.33: native sidecars are stable.
KUBERNETES = "1.33.0"


def tool(name):
    """The path of a tool that tests/setup fetched."""
    for directory in (TOOLS / "go" / "bin", TOOLS / "python" / "bin", TOOLS / "debian" / "usr" / "bin"):
        if (directory / name).exists():
            return str(directory / name)
    raise AssertionError(f"{name} is not in {TOOLS}: run tests/setup")


def run(*command, **options):
    """Runs a command that has to end well, and gives what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def kustomize(directory):
    return documents(run(tool("kustomize"), "build", directory))


def helm(*arguments, values=None):
    """The chart rendered. `values` is what a user's values file would hold."""
    options = {"input": json.dumps(values)} if values is not None else {}
    given = ["--values", "-"] if values is not None else []
    command = [tool("helm"), "template", "release", CHART, "--namespace", "monitoring", "--kube-version", KUBERNETES]
    return documents(run(*command, *given, *arguments, **options))


EVERYTHING = CHART / "ci" / "everything-values.yaml"


def rendered():
    """Every Kubernetes form, by name."""
    kubernetes = DEPLOY / "kubernetes"
    overlays = Path(__file__).with_name("overlays")
    forms = {
        "example Deployment": kustomize(kubernetes / "examples" / "deployment"),
        "example Job": kustomize(kubernetes / "examples" / "job"),
        "DaemonSet": kustomize(kubernetes / "daemonset"),
        "monitoring": kustomize(kubernetes / "monitoring"),
        "chart": helm(),
        "chart with everything": helm("--values", EVERYTHING),
    }
    forms.update({overlay.name: kustomize(overlay) for overlay in sorted(overlays.iterdir())})
    return forms


@pytest.fixture(scope="session")
def forms():
    return rendered()


def pod_of(document):
    """The pod spec in a document, if there is one."""
    if document["kind"] == "Pod":
        return document["spec"]
    if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return document["spec"]["template"]["spec"]
    return None


def pods(forms):
    """Form, document and pod spec of every pod."""
    return [
        (form, document, pod_of(document))
        for form, documents in forms.items()
        for document in documents
        if pod_of(document)
    ]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def ours(container):
    """Whether a container runs the exporter's image."""
    return container["image"].split("@")[0].split(":")[0].split("/")[-1] == "imds-exporter"


class Code:
    """What the code itself says: the tables from which the exporter is made."""

    def __init__(self):
        source = ROOT / "src"
        table = re.search(r"^routes! \{\n(.*?)^\}", (source / "http.rs").read_text(), re.S | re.M)
        self.routes = re.findall(r'^ +\w+ = "(/[^"]*)",', table[1], re.M)
        variables = (source / "config" / "variables.rs").read_text()
        self.variables = dict(re.findall(r'= "([A-Z][A-Z0-9_]+)", default "([^"]*)"', variables))
        self.port = int(self.variables["IMDS_EXPORTER_LISTEN_ADDRESS"].rsplit(":", 1)[1])
        manifest = (ROOT / "Cargo.toml").read_text()
        self.version = re.search(r'^version = "(.+)"', manifest, re.M)[1]
        self.rust = re.search(r'channel = "(.+)"', (ROOT / "rust-toolchain.toml").read_text())[1]


@pytest.fixture(scope="session")
def code():
    code = Code()
    assert len(code.routes) >= 7 and "/metrics" in code.routes
    assert len(code.variables) >= 12
    return code


def exporter():
    """The exporter with its simulator, as `cargo build` makes it."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = target / "debug" / "imds-exporter"
    assert binary.exists(), f"{binary} is missing: run cargo build"
    return binary


def production():
    """The binary of the image: static, and without the simulator."""
    binary = ROOT / "target" / "static" / "imds-exporter"
    assert binary.exists(), f"{binary} is missing: run tests/build-static"
    return binary
