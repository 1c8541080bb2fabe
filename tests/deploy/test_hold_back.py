"""The hold-back, without a cluster: sidecar, init containers and workload run as processes, in the order and with the
commands and the environment of the manifests, in an outage that ends."""

import contextlib
import os
import re
import sys
import threading

import pytest

from conftest import DEPLOY, containers, exporter, ours, pod_of
from machinery import free_port, get, process, samples, simulator, sts, until
from test_agreement import ecs_containers, task, unit_values

OUTAGE = 'fault = "server_error"'
OVER = 'fault = "none"'


class Machine:
    """Starts what a manifest names; stands in for the kubelet, the ECS agent and systemd."""

    def __init__(self, directory, imds, aws, stack):
        self.directory, self.imds, self.aws, self.stack = directory, imds, aws, stack
        self.port = free_port()
        self.running = {}
        self.stopping = False

    def environment(self, given=()):
        """What the manifest gives, with the addresses of this test in place of those of an instance."""
        paths = {name: value.replace("/var/lib/imds-exporter", str(self.directory)) for name, value in given}
        return {
            **paths,
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.endpoint,
            "AWS_ENDPOINT_URL_STS": self.aws.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "IMDS_EXPORTER_LISTEN_ADDRESS": f"127.0.0.1:{self.port}",
            "IMDS_EXPORTER_POLL_INTERVAL": "1s",
            "WORKER_INTERVAL_SECONDS": "0.2",
        }

    def start(self, name, command, environment):
        child = self.stack.enter_context(process(command, environment))
        self.running[name] = child
        return child

    def run(self, name, command, environment):
        """To its end, again and again until it ends well."""
        while not self.stopping:
            child = self.start(name, command, environment)
            until(lambda: child.poll() is not None or self.stopping, f"{name} ends")
            if child.returncode == 0:
                return

    def worker(self):
        """The workload of the example: one boto3 client for the life of the process."""
        program = DEPLOY / "kubernetes" / "examples" / "deployment" / "worker.py"
        self.start("worker", [sys.executable, program], self.environment())


def container_environment(machine, container):
    return machine.environment((v["name"], v["value"]) for v in container.get("env", []))


def kubelet(machine, pod):
    """Init containers one after the other, a sidecar once its startup probe succeeds; then the containers."""
    for container in pod.get("initContainers", []):
        if not ours(container):
            continue
        command = [exporter(), *container.get("args", [])]
        environment = container_environment(machine, container)
        if container.get("restartPolicy") == "Always":
            machine.start(container["name"], command, environment)
            probe = container["startupProbe"]["httpGet"]["path"]
            until(
                lambda: get(machine.port, probe, agent="kube-probe/1.33")[0] == 200 or machine.stopping,
                "the startup probe succeeds",
            )
        else:
            machine.run(container["name"], command, environment)
    if not machine.stopping:
        machine.worker()


def by_sidecar(machine, forms):
    pod = next(pod_of(d) for d in forms["example Deployment"] if d["kind"] == "Deployment")
    assert [ours(c) for c in containers(pod)] == [True, False, False]
    assert pod["containers"][0]["command"] == ["python", "/app/worker.py"]
    kubelet(machine, pod)


def by_init_container(machine, forms):
    pod = next(pod_of(d) for d in forms["wait"] if d["kind"] == "Deployment")
    kubelet(machine, pod)


def by_ecs(machine, _):
    """Each container once what it depends on is as it has to be."""
    definitions = {container["Name"]: container for container in task()["ContainerDefinitions"]}
    commands = {
        container["Name"]: (
            [exporter(), *container.get("Command", [])],
            machine.environment((v["Name"], v["Value"]) for v in container.get("Environment", [])),
        )
        for container in ecs_containers()
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
    """The exporter's service, then what the drop-in runs before the held service, then that."""
    units = DEPLOY / "systemd"
    (line,) = unit_values(units / "imds-exporter.service", "ExecStart")
    given = (pair.replace("%S", "/var/lib").split("=", 1) for pair in unit_values(units / "imds-exporter.service", "Environment"))
    machine.start("imds-exporter", [exporter(), *line.split()[1:]], machine.environment(given))
    for line in unit_values(units / "examples" / "hold-back.conf", "ExecStartPre"):
        machine.run("wait", [exporter(), *line.split()[1:]], machine.environment())
    if not machine.stopping:
        machine.worker()


def unheld(machine, _):
    """The workload at once."""
    machine.worker()


@contextlib.contextmanager
def machine_in_an_outage(directory):
    with contextlib.ExitStack() as stack:
        imds, aws = stack.enter_context(simulator()), stack.enter_context(sts())
        imds.tell(OUTAGE)
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


def said_by(machine, name):
    children = [child for known, child in list(machine.running.items()) if name in known]
    return "".join(line for child in children for line in list(child.lines))


def log(machine):
    return said_by(machine, "worker")


@pytest.mark.parametrize("form", [by_sidecar, by_init_container, by_ecs, by_systemd])
def test_the_workload_starts_when_the_outage_ends_and_is_never_stuck(tmp_path, forms, form):
    with machine_in_an_outage(tmp_path) as machine, started(form, machine, forms):
        # The outage has been met more than once, and still nothing has started.
        if form is not by_init_container:
            until(lambda: samples(machine.port).get("imds_fetch_consecutive_failures", 0) >= 2, "polls fail")
            assert get(machine.port, "/-/healthy")[0] == 200
        if form is not by_sidecar:
            # Before it says so it has told the exporter, if there is one beside it.
            until(lambda: "server_error" in said_by(machine, "wait"), "it waits")
        assert "worker" not in machine.running
        machine.imds.tell(OVER)
        until(lambda: len(machine.aws.calls) >= 3, "the workload calls AWS")
        assert all(re.search(r"Credential=\w+/", call) for call in machine.aws.calls)
        assert "I am arn" in log(machine)
        assert "Error" not in log(machine)
        if form is not by_init_container:
            # The exporter beside it knows that the workload was held back: no alert on clients that are not there.
            usable = 'imds_client_usable{sdk="boto3",created="at_start"}'
            until(lambda: samples(machine.port)["imds_up"] == 1, "the exporter's own poll succeeds")
            assert samples(machine.port)[usable] == 1


def test_a_workload_that_is_not_held_back_is_stuck_for_good(tmp_path, forms):
    """The control: in the same outage, the same program never calls AWS."""
    with machine_in_an_outage(tmp_path) as machine, started(unheld, machine, forms):
        until(lambda: "NoCredentialsError" in log(machine) if "worker" in machine.running else False, "the client is stuck")
        machine.imds.tell(OVER)
        seen = len(machine.running["worker"].lines)
        until(lambda: len(machine.running["worker"].lines) >= seen + 10, "it goes on trying")
        assert machine.aws.calls == []


def test_the_liveness_probe_restarts_a_stuck_workload_and_leaves_the_new_one_alone(tmp_path, forms):
    """The component restart-stuck, with a workload that was started past the hold-back."""
    pod = next(pod_of(d) for d in forms["example Deployment"] if d["kind"] == "Deployment")
    sidecar, worker = pod["initContainers"][0], pod["containers"][0]
    probe = worker["livenessProbe"]["httpGet"]["path"]
    with machine_in_an_outage(tmp_path) as machine:
        environment = container_environment(machine, sidecar)
        assert environment["IMDS_EXPORTER_WATCH_PROCESSES"] == "python"
        # Here the namespace is that of the whole machine: only this test's workload.
        program = tmp_path / "worker.py"
        program.write_text((DEPLOY / "kubernetes" / "examples" / "deployment" / "worker.py").read_text())
        environment["IMDS_EXPORTER_WATCH_PROCESSES"] = re.escape(str(program))
        machine.start("imds-exporter", [exporter()], environment)
        until(lambda: samples(machine.port).get("imds_fetch_consecutive_failures", 0) >= 1, "polls fail")
        stuck = machine.start("worker", [sys.executable, program], machine.environment())
        until(lambda: "NoCredentialsError" in log(machine), "the client is stuck")
        assert get(machine.port, probe)[0] == 200
        machine.imds.tell(OVER)
        until(lambda: get(machine.port, probe)[0] == 503, "the probe fails")
        assert str(stuck.pid) in get(machine.port, probe)[1]
        stuck.kill()
        stuck.wait()
        machine.start("worker", [sys.executable, program], machine.environment())
        until(lambda: machine.aws.calls, "the new workload calls AWS")
        until(lambda: get(machine.port, probe)[0] == 200, "the probe succeeds")
        until(lambda: samples(machine.port)["imds_suspect_processes"] == 0, "the next poll counts none")
