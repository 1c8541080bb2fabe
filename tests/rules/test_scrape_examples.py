"""The commented scrape configurations of prometheus.yaml, in a real Prometheus: static targets with the labels that the
service discovery would find stand for it."""

import re

import pytest
import yaml

from helpers.paths import DEPLOY
from helpers.prometheus import prometheus
from helpers.waiting import until

TEXT = (DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8")
POD = {"container_name": "imds-exporter", "container_port_number": "10169", "phase": "Running",
       "name": "cart-0", "node_name": "node-1"}


def example(discovery):
    """The commented job that uses this service discovery."""
    blocks = re.findall(r"(?:^  # .*\n)+", TEXT, re.MULTILINE)
    jobs = ["\n".join(line[4:] for line in block.splitlines() if re.match(r"  # (- job_name| )", line)) for block in blocks]
    [job] = [yaml.safe_load(job)[0] for job in jobs if f"{discovery}_sd_configs:" in job]
    return job


def discovered(address, prefix, labels):
    return {"targets": [address], "labels": {f"__meta_{prefix}_{name}": value for name, value in labels.items()}}


@pytest.fixture
def targets(tmp_path):
    """A function: what the example makes of what was discovered, instance to the labels of the target."""
    def made(discovery, found):
        job = example(discovery)
        del job[f"{discovery}_sd_configs"]
        with prometheus(tmp_path, {"scrape_configs": [{**job, "static_configs": found}]}) as server:
            def complete():
                answer = server.get("targets")
                return answer if len(answer["activeTargets"]) + len(answer["droppedTargets"]) == len(found) else None
            active = until(complete, "all targets")["activeTargets"]
        return {target["labels"].pop("instance"): target["labels"] for target in active}
    return made


def test_pods_that_have_ended_and_other_containers_are_no_targets(targets):
    pods = {"127.0.0.1:1": {}, "127.0.0.1:2": {"phase": "Succeeded"}, "127.0.0.1:3": {"phase": "Failed"},
            "127.0.0.1:4": {"phase": "Pending"}, "127.0.0.1:5": {"container_name": "cart"},
            "127.0.0.1:6": {"container_port_number": "10170"}, "127.0.0.1:7": {"phase": "Unknown"}}
    found = targets("kubernetes", [discovered(address, "kubernetes_pod", {**POD, **pod}) for address, pod in pods.items()])
    assert set(found) == {"127.0.0.1:1", "127.0.0.1:4", "127.0.0.1:7"}


def test_a_pod_has_the_labels_that_the_rules_join_on(targets):
    pod = discovered("127.0.0.1:1", "kubernetes_pod", POD)
    pod["labels"]["__meta_kubernetes_namespace"] = "shop"
    assert targets("kubernetes", [pod]) == {"127.0.0.1:1": {
        "job": "imds-exporter", "namespace": "shop", "pod": "cart-0", "node": "node-1"}}


def test_an_instance_has_the_zone_as_a_label(targets):
    instance = discovered("127.0.0.1:1", "ec2", {"availability_zone": "eu-central-1a", "instance_id": "i-1"})
    assert targets("ec2", [instance]) == {"127.0.0.1:1": {"job": "imds-exporter", "zone": "eu-central-1a", "node": "i-1"}}


def test_instances_that_are_stopped_are_not_discovered():
    filters = example("ec2")["ec2_sd_configs"][0]["filters"]
    assert {"name": "instance-state-name", "values": ["running"]} in filters
