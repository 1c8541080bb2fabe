"""Pods as kube-state-metrics exports them, by its own code (tests/tools/go/kube-metrics)."""

import json
from dataclasses import dataclass, field

from exporter_model import MINUTE, times
from helpers.commands import run
from helpers.paths import tool


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
    listing = {"apiVersion": "v1", "kind": "PodList", "items": pods}
    text = run(tool("kube-metrics"), "imds-exporter/sdk", input=json.dumps(listing))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}


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
                for series, value in exported([self.what]).items()
                if series.startswith(("kube_pod_info", "kube_pod_labels", "kube_pod_container_info", "kube_pod_container_state_started"))}
