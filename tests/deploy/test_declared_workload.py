"""Every form declares which workload starts with its exporter, and what it declares is true of it.

What the exporter does with a declaration is tested in tests/integration and tests/end_to_end.
"""

import pathlib

from forms import (
    compose_services, containers, ecs_exporters, ecs_task, exporters_in, pods, serves, systemd_files, unit_environment,
)

DECLARED, STATE_FILE = "IMDS_EXPORTER_WORKLOAD", "IMDS_EXPORTER_STATE_FILE"


def environment(container):
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


def serving(forms):
    """(form, pod, container) of every container in Kubernetes that serves."""
    return [(form, pod, one) for form, _, pod in pods(forms) for one in exporters_in(pod) if serves(one)]


def is_sidecar(pod, container):
    return container in pod.get("initContainers", [])


def test_every_exporter_in_kubernetes_declares_what_is_true_of_its_pod(forms):
    found = set()
    for form, pod, container in serving(forms):
        declared = environment(container)[DECLARED]
        if is_sidecar(pod, container):
            # The kubelet starts no container after it before the probe succeeds.
            assert pod["initContainers"][0] is container, form
            assert container["startupProbe"]["httpGet"]["path"] == "/-/startup", form
            assert declared == "starts-when-ready", form
        else:
            assert containers(pod) == [container], f"{form}: another container may start with the exporter"
            assert declared == "independent", form
        found.add((form, declared))
    assert {form for form, declared in found if declared == "independent"} == {
        "DaemonSet", "host-network", "signed-call", "chart", "chart with everything", "chart with protection"}
    assert {form for form, declared in found if declared == "starts-when-ready"} == {
        "example Deployment", "example Job", "sidecar"}


def test_a_container_that_serves_nothing_declares_nothing(forms):
    others = [one for _, _, pod in pods(forms) for one in exporters_in(pod) if not serves(one)]
    assert {one["args"][0] for one in others} == {"wait", "check"}
    assert all(DECLARED not in environment(one) for one in others)


def test_a_sidecar_keeps_its_state_over_a_restart_of_its_container_alone(forms):
    sidecars = [(form, pod, one) for form, pod, one in serving(forms) if is_sidecar(pod, one)]
    assert len(sidecars) >= 6
    for form, pod, container in sidecars:
        folder = str(pathlib.PurePosixPath(environment(container)[STATE_FILE]).parent)
        (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == folder]
        assert not mount.get("readOnly"), form
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
        # It lives as long as the pod, and so does the workload.
        assert "emptyDir" in volume, form
        users = [one["name"] for one in containers(pod) for m in one.get("volumeMounts", []) if m["name"] == mount["name"]]
        assert users == [container["name"]], form


def test_the_ecs_task_declares_what_is_true_of_it():
    (exporter,) = [one for one in ecs_exporters() if "Command" not in one]
    (wait,) = [one for one in ecs_exporters() if "Command" in one]
    variables = {variable["Name"]: variable["Value"] for variable in exporter["Environment"]}
    assert variables[DECLARED] == "starts-when-ready"
    assert wait["Command"][0] == "wait" and "Environment" not in wait
    # The workload waits for the container that runs `wait`, which finds the exporter on the loopback address.
    (workload,) = [one for one in ecs_task()["ContainerDefinitions"] if one not in ecs_exporters()]
    assert {"ContainerName": wait["Name"], "Condition": "SUCCESS"} in workload["DependsOn"]
    assert ecs_task()["NetworkMode"] == "awsvpc"
    (mount,) = exporter["MountPoints"]
    assert mount["ContainerPath"] == str(pathlib.PurePosixPath(variables[STATE_FILE]).parent)
    (volume,) = ecs_task()["Volumes"]
    assert volume["Name"] == mount["SourceVolume"] and not mount.get("ReadOnly")
    # It ends with the task, and so does the workload.
    assert volume["DockerVolumeConfiguration"] == {"Scope": "task", "Driver": "local"}


def test_on_a_host_and_in_compose_no_workload_starts_with_the_exporter():
    (unit,) = [path for path in systemd_files() if path.suffix == ".service"]
    assert unit_environment(unit)[DECLARED] == "independent"
    assert all(DECLARED not in unit_environment(path) for path in systemd_files() if path != unit)
    assert compose_services()["exporter"]["environment"][DECLARED] == "independent"
