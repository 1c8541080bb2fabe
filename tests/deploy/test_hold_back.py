"""Holding a workload back, without a cluster: sidecar, init containers and workload run as processes in an outage that
ends, in the order and with the commands and the environment of the manifests."""

import contextlib
import re
import sys
import threading

import pytest

from forms import WORKER, containers, ecs_exporters, ecs_task, pod_of, runs_exporter, unit_environment, unit_values

from helpers import exporters
from helpers.exporters import simulator
from helpers.http_client import get, samples
from helpers.paths import DEPLOY, exporter
from helpers.processes import Process, free_port
from helpers.sts import sts
from helpers.waiting import until

OUTAGE = 'fault = "server_error"'
END_OF_OUTAGE = 'fault = "none"'


class Machine:
    """Starts what a manifest names, in place of the kubelet, the ECS agent or systemd."""

    def __init__(self, directory, imds, aws, stack):
        self.directory, self.imds, self.aws, self.stack = directory, imds, aws, stack
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.running = {}
        self.stopping = False

    def environment(self, manifest=()):
        """The environment in the manifest, with the addresses and folders of this test in place of an instance's."""
        folder = str(self.directory)
        return {
            **{name: value.replace("/var/lib/imds-exporter", folder) for name, value in dict(manifest).items()},
            **exporters.environment(self.imds.endpoint, self.address),
            "HOME": folder,
            "AWS_ENDPOINT_URL_STS": self.aws.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "WORKER_INTERVAL_SECONDS": "0.2",
        }

    def get(self, path):
        """Status and body, requested as the kubelet does."""
        return get(self.url + path, User_Agent="kube-probe/1.33")

    def samples(self):
        return samples(self.url)

    def start(self, name, command, environment):
        child = self.stack.enter_context(Process(command, environment))
        self.running[name] = child
        return child

    def run(self, name, command, environment):
        """Runs a command until it exits with 0."""
        while not self.stopping:
            child = self.start(name, command, environment)
            until(lambda: child.poll() is not None or self.stopping, f"{name} exits")
            if child.returncode == 0:
                return

    def worker(self):
        """Starts the workload of the example: one boto3 client for the life of the process."""
        self.start("worker", [sys.executable, WORKER], self.environment())


def container_environment(machine, container):
    return machine.environment((v["name"], v["value"]) for v in container.get("env", []))


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
            until(
                lambda: machine.get(probe)[0] == 200 or machine.stopping,
                "the startup probe",
            )
        else:
            machine.run(container["name"], command, environment)
    if not machine.stopping:
        machine.worker()


def by_sidecar(machine, forms):
    pod = next(pod_of(d) for d in forms["example Deployment"] if d["kind"] == "Deployment")
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
        container["Name"]: (
            [exporter(), *container.get("Command", [])],
            machine.environment((v["Name"], v["Value"]) for v in container.get("Environment", [])),
        )
        for container in ecs_exporters()
    }
    started = set()

    def start(name):
        for dependency in definitions[name].get("DependsOn", []):
            on, condition = dependency["ContainerName"], dependency["Condition"]
            if on not in started:
                start(on)
            if condition == "HEALTHY":
                program, *arguments = definitions[on]["HealthCheck"]["Command"][1:]
                assert program == "/imds-exporter"
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
    """Starts the exporter's service, then what the drop-in runs before the held service, then the latter."""
    units = DEPLOY / "systemd"
    (line,) = unit_values(units / "imds-exporter.service", "ExecStart")
    environment = machine.environment(unit_environment(units / "imds-exporter.service"))
    machine.start("imds-exporter", [exporter(), *line.split()[1:]], environment)
    for line in unit_values(units / "examples" / "hold-back.conf", "ExecStartPre"):
        machine.run("wait", [exporter(), *line.split()[1:]], machine.environment())
    if not machine.stopping:
        machine.worker()


def without_holding_back(machine, _):
    """Starts the workload at once."""
    machine.worker()


@contextlib.contextmanager
def machine_in_an_outage(directory):
    with contextlib.ExitStack() as stack:
        imds, aws = stack.enter_context(simulator()), stack.enter_context(sts())
        imds.change(OUTAGE)
        machine = Machine(directory, imds, aws, stack)
        try:
            yield machine
        finally:
            machine.stopping = True


@contextlib.contextmanager
def started(form, machine, forms):
    thread = threading.Thread(target=form, args=(machine, forms), daemon=True)
    thread.start()
    try:
        yield
    finally:
        machine.stopping = True
        thread.join(60)


def output(machine, name):
    """What the programs with this in their name have printed."""
    return "".join(child.output for known, child in list(machine.running.items()) if name in known)


@pytest.mark.parametrize("form", [by_sidecar, by_init_container, by_ecs, by_systemd])
def test_the_workload_starts_when_the_outage_ends_and_is_not_stuck(tmp_path, forms, form):
    with machine_in_an_outage(tmp_path) as machine, started(form, machine, forms):
        # After several failed polls the workload has not started.
        if form is not by_init_container:
            until(lambda: machine.samples().get("imds_fetch_consecutive_failures", 0) >= 2, "failed polls")
            assert machine.get("/-/healthy")[0] == 200
        if form is not by_sidecar:
            # By then it has reported itself to the exporter, if one runs beside it.
            until(lambda: "server_error" in output(machine, "wait"), "a message of the waiting program")
        assert "worker" not in machine.running
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: len(machine.aws.calls) >= 3, "calls of the workload")
        assert all(re.search(r"Credential=\w+/", call) for call in machine.aws.calls)
        assert "I am arn" in output(machine, "worker")
        assert "Error" not in output(machine, "worker")
        if form is not by_init_container:
            # The exporter beside it knows that the workload was held back: it reports no stuck clients.
            usable = 'imds_client_usable{sdk="boto3",created="at_start"}'
            until(lambda: machine.samples()["imds_up"] == 1, "a successful poll of the exporter")
            assert machine.samples()[usable] == 1


def test_a_workload_that_is_not_held_back_stays_stuck(tmp_path, forms):
    """The control experiment: in the same outage, the same program never calls AWS."""
    with machine_in_an_outage(tmp_path) as machine, started(without_holding_back, machine, forms):
        until(lambda: "NoCredentialsError" in output(machine, "worker") if "worker" in machine.running else False, "a stuck client")
        machine.imds.change(END_OF_OUTAGE)
        seen = len(machine.running["worker"].lines)
        until(lambda: len(machine.running["worker"].lines) >= seen + 10, "further attempts")
        assert machine.aws.calls == []


def test_the_liveness_probe_fails_for_a_stuck_workload_and_not_for_its_successor(tmp_path, forms):
    """The component restart-stuck, with a workload that nothing held back."""
    pod = next(pod_of(d) for d in forms["example Deployment"] if d["kind"] == "Deployment")
    sidecar, worker = pod["initContainers"][0], pod["containers"][0]
    probe = worker["livenessProbe"]["httpGet"]["path"]
    with machine_in_an_outage(tmp_path) as machine:
        environment = container_environment(machine, sidecar)
        assert environment["IMDS_EXPORTER_WATCH_PROCESSES"] == "python"
        # The process namespace is that of the whole machine: watch the workload of this test only.
        program = tmp_path / "worker.py"
        program.write_text(WORKER.read_text())
        environment["IMDS_EXPORTER_WATCH_PROCESSES"] = re.escape(str(program))
        machine.start("imds-exporter", [exporter()], environment)
        until(lambda: machine.samples().get("imds_fetch_consecutive_failures", 0) >= 1, "failed polls")
        stuck = machine.start("worker", [sys.executable, program], machine.environment())
        until(lambda: "NoCredentialsError" in output(machine, "worker"), "a stuck client")
        assert machine.get(probe)[0] == 200
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: machine.get(probe)[0] == 503, "a failing probe")
        assert str(stuck.pid) in machine.get(probe)[1]
        stuck.kill()
        stuck.wait()
        machine.start("worker", [sys.executable, program], machine.environment())
        until(lambda: machine.aws.calls, "calls of the new workload")
        until(lambda: machine.get(probe)[0] == 200, "a succeeding probe")
        until(lambda: machine.samples()["imds_suspect_processes"] == 0, "a poll that counts no suspects")
