"""The commands for Kubernetes in the documents, run as written, with a `kubectl` and a `helm` that only render. What a
stranger has to replace is said before each."""

import re
import subprocess
import textwrap

import pytest
import yaml

from forms import CHART, KUBERNETES, exporters_in, pod_of

from helpers.paths import DEPLOY, ROOT, tool
from helpers.reference import version

KUBECTL = """#!/bin/sh
set -e
case "$1 $2" in
  "apply -k") exec {kubectl} kustomize "$3" ;;
  "apply --server-side") exec {kubectl} kustomize "$4" ;;
  "--namespace imds-exporter") exit 0 ;;
esac
echo "kubectl $* is not rendered" >&2
exit 1
"""
HELM = """#!/bin/sh
set -e
command=$1 release=$2
shift 2
[ "$command" = test ] && exit 0
for argument; do
  shift
  case $argument in --create-namespace|--reset-then-reuse-values) ;; *) set -- "$@" "$argument" ;; esac
done
exec {helm} template "$release" --kube-version {version} "$@"
"""


def blocks(document, headings):
    """(heading, text before it, script) of every shell block in the sections whose headings begin so."""
    for section in re.split(r"(?m)^(?=## )", document.read_text()):
        heading, _, body = section.partition("\n")
        if heading.removeprefix("## ").startswith(headings):
            for match in re.finditer(r"^( *)```sh\n(.*?)^ *```", body, re.M | re.S):
                script = textwrap.dedent(match[2])
                # What only looks at a cluster is tested with the rest of its subject.
                if not script.startswith("kubectl get"):
                    yield heading, body[: match.start()], script


BLOCKS = [*blocks(DEPLOY / "README.md", ("Kubernetes", "Helm")), *blocks(CHART / "README.md", ("Install", "TLS"))]


@pytest.fixture
def shell(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("kubectl", KUBECTL), ("helm", HELM)):
        (programs / name).write_text(text.format(kubectl=tool("kubectl"), helm=tool("helm"), version=KUBERNETES))
        (programs / name).chmod(0o755)
    # A clone, into which the commands write nothing.
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("deploy", "dashboards"):
        (clone / name).symlink_to(ROOT / name)

    def run(script):
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=clone,
            env={"PATH": f"{programs}:/usr/bin:/bin"},
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [d for d in yaml.load_all(done.stdout, yaml.CSafeLoader) if d]

    return run


def test_there_are_commands():
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("heading, before, script", BLOCKS, ids=[f"{b[0][3:]} {n}" for n, b in enumerate(BLOCKS)])
def test_what_to_replace_is_said_before_the_command(heading, before, script):
    for placeholder in set(re.findall(r"YOUR_[A-Z_]+", script)):
        assert f"`{placeholder}`" in before, f"{heading}: {placeholder}"


@pytest.mark.parametrize("script", [b[2] for b in BLOCKS], ids=[f"{b[0][3:]} {n}" for n, b in enumerate(BLOCKS)])
def test_the_commands_apply_what_finds_its_image_and_its_prometheus(shell, script):
    objects = shell(script)
    images = {c["image"] for document in objects if pod_of(document) for c in exporters_in(pod_of(document))}
    assert images <= {f"YOUR_REGISTRY/imds-exporter:{version()}"} or "--reset-then-reuse-values" in script
    policies = [d["spec"] for d in objects if d["kind"] == "MutatingAdmissionPolicy"]
    assert all(policy["variables"][0]["expression"] == f'"YOUR_REGISTRY/imds-exporter:{version()}"' for policy in policies)
    watched = [d for d in objects if d["apiVersion"].startswith("monitoring.coreos.com/")]
    assert all(d["metadata"]["labels"]["release"] == "YOUR_STACK" for d in watched)
    assert bool(watched) == ("YOUR_STACK" in script)
    boards = [
        d["metadata"]
        for d in objects
        if d["kind"] == "ConfigMap" and "grafana_dashboard" in d["metadata"].get("labels", {})
    ]
    assert {board["namespace"] for board in boards} == ({"monitoring"} if watched else set())
    assert objects or "create secret" in script
