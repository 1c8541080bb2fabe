"""Holding a workload back, without a cluster: sidecar, init containers and workload run as processes in an outage that
ends, in the order and with the commands and the environment of the manifests."""

import contextlib
import re
import signal
import threading

import pytest

from forms import (
    containers, ecs_exporters, ecs_task, pod_of, runs_exporter, unit_environment, unit_environment_files, unit_values,
)
from machine import END_OF_OUTAGE, OUTAGE, PYTHON, container_environment, example_pod, machine_in_an_outage, output

from helpers.paths import DEPLOY, exporter
from helpers.waiting import until

AT_START = 'imds_client_usable{sdk="boto3",created="at_start"}'


def kubelet(machine, pod):
    """Starts the init containers in turn, waits for the startup probe of a sidecar, then starts the containers."""
    for container in pod.get("initContainers", []):
        if not runs_exporter(container):
            continue
        command = [exporter(), *container.get("args", [])]
        environment = container_environment(machine, container)
        if container.get("restartPolicy") == "Always":
            machine.start(container["name"], command, environment)
            probe = container["startupProbe"]["httpGet"]["path"]
            until(lambda: machine.get(probe)[0] == 200 or machine.stopping, "the startup probe")
        else:
            machine.run(container["name"], command, environment)
    if not machine.stopping:
        machine.worker()


def by_sidecar(machine, forms):
    pod = example_pod(forms)
    assert [runs_exporter(c) for c in containers(pod)] == [True, False, False]
    assert pod["containers"][0]["command"] == ["python", "/app/worker.py"]
    kubelet(machine, pod)


def by_init_container(machine, forms):
    pod = next(pod_of(d) for d in forms["wait"] if d["kind"] == "Deployment")
    kubelet(machine, pod)


def by_ecs(machine, _):
    """Starts each container when the conditions on those it depends on hold."""
    definitions = {container["Name"]: container for container in ecs_task()["ContainerDefinitions"]}
    commands = {
        container["Name"]: ([exporter(), *container.get("Command", [])],
                            machine.environment((v["Name"], v["Value"]) for v in container.get("Environment", [])))
        for container in ecs_exporters()}
    started = set()

    def start(name):
        for dependency in definitions[name].get("DependsOn", []):
            on, condition = dependency["ContainerName"], dependency["Condition"]
            if on not in started:
                start(on)
            if condition == "HEALTHY":
                program, *arguments = definitions[on]["HealthCheck"]["Command"][1:]
                assert program == "imds-exporter"
                machine.run(f"{on}: health", [exporter(), *arguments], machine.environment())
        started.add(name)
        if name not in commands:
            if not machine.stopping:
                machine.worker()
        elif any({"ContainerName": name, "Condition": "SUCCESS"} in d.get("DependsOn", []) for d in definitions.values()):
            machine.run(name, *commands[name])
        else:
            machine.start(name, *commands[name])

    start("workload")


def by_systemd(machine, _):
    """Starts the exporter's service, then what the drop-in runs before the held service, then the latter. The port is set
    in the exporter's own settings alone."""
    settings = {"/etc/default/imds-exporter": {"IMDS_EXPORTER_LISTEN_ADDRESS": machine.address}}

    def environment(unit):
        variables = unit_environment(unit)
        for file in unit_environment_files(unit):
            variables |= settings[file]
        return machine.environment(variables, listen=False)

    service, drop_in = (DEPLOY / "systemd" / name for name in ("imds-exporter.service", "examples/hold-back.conf"))
    (line,) = unit_values(service, "ExecStart")
    machine.start("imds-exporter", [exporter(), *line.split()[1:]], environment(service))
    for line in unit_values(drop_in, "ExecStartPre"):
        machine.run("wait", [exporter(), *line.split()[1:]], environment(drop_in))
    if not machine.stopping:
        machine.worker()


def without_holding_back(machine, _):
    """Starts the workload at once."""
    machine.worker()


@contextlib.contextmanager
def started(form, machine, forms):
    thread = threading.Thread(target=form, args=(machine, forms), daemon=True)
    thread.start()
    try:
        yield
    finally:
        machine.stopping = True
        thread.join(60)


# What the exporter beside the workload says of a client that the workload created at its start; absent where no workload is
# declared to start with it.
FORMS = {by_sidecar: 1, by_ecs: 1, by_systemd: None, by_init_container: None}


@pytest.mark.parametrize("form", FORMS)
def test_the_workload_starts_when_the_outage_ends_and_is_not_stuck(tmp_path, forms, form):
    with machine_in_an_outage(tmp_path) as machine, started(form, machine, forms):
        # After several failed polls the workload has not started.
        if form is not by_init_container:
            until(lambda: machine.samples().get("imds_fetch_consecutive_failures", 0) >= 2, "failed polls")
            assert machine.get("/-/healthy")[0] == 200
        if form is not by_sidecar:
            until(lambda: "server_error" in output(machine, "wait"), "a message of the waiting program")
        assert "worker" not in machine.running
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: len(machine.aws.calls) >= 3, "calls of the workload")
        assert all(re.search(r"Credential=\w+/", call) for call in machine.aws.calls)
        assert "I am arn" in output(machine, "worker")
        assert "Error" not in output(machine, "worker")
        if form is by_init_container:
            assert machine.startup_when_the_worker_started == (None, "")
            return
        # The exporter had seen the end of the outage before the workload started: it neither suspects the workload nor
        # reports stuck clients.
        assert machine.startup_when_the_worker_started == (200, "ok\n")
        until(lambda: machine.samples().get("imds_watched_processes") == 1, "a look at the workload's process")
        assert machine.samples()["imds_suspect_processes"] == 0
        assert machine.samples().get(AT_START) == FORMS[form]


def test_a_sidecar_that_crashes_knows_that_its_workload_was_held_back(tmp_path, forms):
    """It crashes while it holds the workload back, and again in a later outage."""
    sidecar = example_pod(forms)["initContainers"][0]
    with machine_in_an_outage(tmp_path) as machine:
        environment = container_environment(machine, sidecar)

        def restart():
            if "sidecar" in machine.running:
                machine.running["sidecar"].signal_group(signal.SIGKILL)
                machine.running["sidecar"].wait()
            machine.start("sidecar", [exporter()], environment)
            until(lambda: machine.get("/-/ready")[0] == 200, "the first poll")

        restart()
        restart()
        assert machine.get("/-/startup")[0] == 503
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: machine.get("/-/startup") == (200, "ok\n"), "the startup probe")
        machine.worker()
        machine.imds.change(OUTAGE)
        until(lambda: machine.samples()["imds_up"] == 0, "a failed poll")
        assert machine.samples()[AT_START] == 1
        restart()
        # The pod stays ready, and the client of the workload signs with what it holds.
        assert machine.samples()["imds_up"] == 0
        assert machine.get("/-/startup")[0] == 200
        assert machine.samples()[AT_START] == 1
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: machine.samples()["imds_up"] == 1, "a successful poll")
        assert machine.samples()[AT_START] == 1


def test_a_workload_that_is_not_held_back_stays_stuck(tmp_path, forms):
    """The control experiment: in the same outage, the same program never calls AWS."""
    with machine_in_an_outage(tmp_path) as machine, started(without_holding_back, machine, forms):
        until(lambda: "NoCredentialsError" in output(machine, "worker") if "worker" in machine.running else False, "a stuck client")
        machine.imds.change(END_OF_OUTAGE)
        seen = len(machine.running["worker"].lines)
        until(lambda: len(machine.running["worker"].lines) >= seen + 10, "further attempts")
        assert machine.aws.calls == []


def test_with_imdsv1_disabled_a_workload_that_is_not_held_back_fails_at_its_start(tmp_path, forms):
    """The first remedy of the README: the same program, with one more variable, does not run without credentials."""
    with machine_in_an_outage(tmp_path) as machine:
        environment = {**machine.environment(), "AWS_EC2_METADATA_V1_DISABLED": "true"}
        worker = machine.start("worker", [PYTHON, machine.program], environment)
        until(lambda: worker.poll() is not None, "the worker ends")
        assert worker.returncode == 1 and "MetadataRetrievalError" in worker.output
