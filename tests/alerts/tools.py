"""Where the tools and the files under test are."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy/prometheus"
RULES = DEPLOY / "imds-alerts.yaml"
DEBIAN = ROOT / "target/tools/debian/usr/bin"
GO = ROOT / "target/tools/go/bin"
EXPORTER = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/imds-exporter"
# Another promtool, of a newer Prometheus for instance, can be put in its place.
PROMTOOL = os.environ.get("PROMTOOL", DEBIAN / "promtool")


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)


def promtool(*arguments):
    return run(PROMTOOL, *arguments)
