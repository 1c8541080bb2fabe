"""Where the sources, the tools and the built programs are."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / "target" / "tools"
DEBIAN = TOOLS / "debian"
NODE = TOOLS / "node"
RULES = DEPLOY / "prometheus" / "imds-alerts.yaml"
KUBERNETES_RULES = DEPLOY / "prometheus" / "imds-kubernetes.yaml"
BOTO3_RULES = DEPLOY / "prometheus" / "imds-boto3.yaml"
THRESHOLDS = ROOT / "src" / "runbook" / "thresholds.json"
INSTANCE_DASHBOARD = ROOT / "dashboards" / "imds-instance.json"
FLEET_DASHBOARD = ROOT / "dashboards" / "imds-fleet.json"
DASHBOARDS = [INSTANCE_DASHBOARD, FLEET_DASHBOARD]


def tool(name):
    """A program that tests/tools/setup fetched."""
    for directory in (DEBIAN / "usr" / "bin", DEBIAN / "sbin", TOOLS / "go" / "bin", TOOLS / "python" / "bin"):
        if (directory / name).exists():
            return directory / name
    raise AssertionError(f"{name} is not in {TOOLS}: run tests/tools/setup")


def _built(program, how):
    assert program.exists(), f"{program} is missing: run {how}"
    return program


def exporter():
    """The exporter with its simulator."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return _built(target / "debug" / "imds-exporter", "cargo build")


def production_exporter(architecture=None):
    """The exporter of the image: static, and without the simulator; for this machine, or another architecture."""
    suffix = f"-{architecture}" if architecture else ""
    return _built(ROOT / "target" / "static" / f"imds-exporter{suffix}", "tests/run deploy")
