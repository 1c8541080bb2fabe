"""Pods as kube-state-metrics exports them: what its own code (tests/tools/go/kube-metrics) answered for the pods of the tests is
recorded, since the version is pinned and takes minutes to build. THOROUGH=1 asks it again. After a change of the pods:

    tests/tools/setup kubestate && UPDATE=1 target/tools/python/bin/pytest tests/rules
"""

import json
import os
import pathlib
import re
from dataclasses import dataclass, field

from exporter_model import MINUTE, times
from helpers.commands import run
from helpers.paths import ROOT, tool

# What the rules read.
READ = ("kube_pod_info{", "kube_pod_labels{", "kube_pod_container_info{", "kube_pod_container_state_started{")
MODULE = ROOT / "tests" / "tools" / "go" / "kube-metrics" / "go.mod"
VERSION = re.search(r"kube-state-metrics/v2 v(\S+)", MODULE.read_text())[1]
RECORD = pathlib.Path(__file__).with_name(f"kube-state-metrics-{VERSION}.json")


def pod(name, node, started, sdk=None, namespace="shop", containers=("app",)):
    """A running pod; `started` is in minutes, for each container or all of them."""
    uid = f"uid-{name}"
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "labels": {"imds-exporter/sdk": sdk} if sdk else {}},
        "spec": {"nodeName": node, "containers": [{"name": container, "image": "made-up"} for container in containers]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.1.0.1", "containerStatuses": [
            {"name": container, "image": "made-up", "imageID": "made-up", "ready": True, "restartCount": 0,
             "containerID": f"containerd://{uid}-{container}",
             "state": {"running": {"startedAt": f"1970-01-01T{minutes // 60:02}:{minutes % 60:02}:00Z"}}}
            for container, minutes in zip(containers, [started] * len(containers) if isinstance(started, int) else started)]},
    }


def exported(pods):
    """Series to value, as kube-state-metrics exports them."""
    return {series: value for one in pods for series, value in _recorded(one).items()}


def _recorded(one):
    record, key = json.loads(RECORD.read_text()) if RECORD.exists() else {}, json.dumps(one)
    if os.environ.get("THOROUGH") == "1":
        asked = _asked(one)
        assert record.get(key, asked) == asked
        return asked
    if os.environ.get("UPDATE") == "1":
        record[key] = _asked(one)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    assert key in record, f"not recorded: {key}; see {__file__}"
    return record[key]


def _asked(one):
    text = run(tool("kube-metrics"), "imds-exporter/sdk", input=json.dumps({"apiVersion": "v1", "kind": "PodList", "items": [one]}))
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(READ))}


@dataclass
class Pod:
    """A pod from one minute to another, and when kube-state-metrics does not answer: (from, to)."""

    what: dict
    labels: dict
    start: float = 0
    until: float = float("inf")
    away: list = field(default_factory=list)

    def series(self, minutes, step):
        def is_seen(minute):
            return self.start <= minute < self.until and not any(start <= minute < end for start, end in self.away)

        target = "".join(f'{name}="{value}",' for name, value in self.labels.items())
        seen = [is_seen(now / MINUTE) for now in times(minutes, step)]
        return {series.replace("{", f"{{{target}", 1): [value if one else None for one in seen]
                for series, value in exported([self.what]).items()}
