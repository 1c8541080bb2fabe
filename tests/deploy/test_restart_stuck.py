"""The component restart-stuck: its liveness probe, run as the kubelet runs it, beside real exporters and a real boto3 client
that is stuck."""

import os
import signal
import socket
import time

import pytest

from forms import exporters_in
from machine import END_OF_OUTAGE, PYTHON, container_environment, example_pod, machine_in_an_outage, output

from helpers.commands import complete
from helpers.control_groups import control_group
from helpers.http_server import Handler, serve
from helpers.paths import exporter
from helpers.reference import default_port
from helpers.waiting import until


@pytest.fixture
def probe(forms):
    return example_pod(forms)["containers"][0]["livenessProbe"]


def run(probe, port, command="python", **environment):
    """The exit code of the probe in the container of the workload, which has this program."""
    *interpreter, script = probe["exec"]["command"]
    for old, new in ((str(default_port()), str(port)), ("command=python", f"command={command}")):
        assert script.count(old) == 1
        script = script.replace(old, new)
    environment = {"PATH": os.environ["PATH"], **environment}
    started = time.monotonic()
    done = complete(*interpreter, script, env=environment)
    assert done.stdout + done.stderr == ""
    # The kubelet counts a probe that takes longer as failed.
    assert time.monotonic() - started < probe["timeoutSeconds"]
    return done.returncode


def test_only_a_workload_with_a_suspect_in_its_own_container_is_restarted(tmp_path, forms, probe):
    (sidecar,) = exporters_in(example_pod(forms))
    with control_group(f"imds-exporter-test-{os.getpid()}") as another_container, machine_in_an_outage(tmp_path) as machine:
        port = machine.address.rsplit(":", 1)[1]
        # No sidecar: it has not started yet, or its image is being pulled.
        assert run(probe, port) == 0
        environment = container_environment(machine, sidecar)
        machine.start("sidecar", [exporter()], environment)
        until(lambda: machine.get("/-/ready")[0] == 200, "the first poll")
        stuck = machine.worker()
        until(lambda: "NoCredentialsError" in output(machine, "worker"), "a stuck client")
        # As long as the outage lasts, a restart would not help.
        assert run(probe, port) == 0
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: machine.get("/-/clients")[0] == 503, "a suspect")
        assert run(probe, port) == 1
        # A proxy in the workload's environment is not for the sidecar.
        assert run(probe, port, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9") == 1
        assert run(probe, port, command="gunicorn") == 0
        # In another container, a program with the same name.
        another_container.add(stuck.pid)
        assert machine.get("/-/clients?command=python")[0] == 503
        assert run(probe, port) == 0
        # The container restarts, and its new client has credentials.
        stuck.kill()
        stuck.wait()
        machine.worker()
        until(lambda: machine.aws.calls, "calls of the new workload")
        assert machine.get("/-/clients")[0] == 200
        assert run(probe, port) == 0


def test_a_workload_is_restarted_once_the_sidecar_is_back(tmp_path, forms, probe):
    (sidecar,) = exporters_in(example_pod(forms))
    with machine_in_an_outage(tmp_path) as machine:
        port = machine.address.rsplit(":", 1)[1]
        environment = container_environment(machine, sidecar)
        process = machine.start("sidecar", [exporter()], environment)
        until(lambda: machine.get("/-/ready")[0] == 200, "the first poll")
        machine.worker()
        machine.imds.change(END_OF_OUTAGE)
        until(lambda: run(probe, port) == 1, "a failing probe")
        process.signal_group(signal.SIGKILL)
        process.wait()
        assert run(probe, port) == 0
        machine.start("sidecar", [exporter()], environment)
        until(lambda: run(probe, port) == 1, "a failing probe")


class Odd(Handler):
    """Something else at the sidecar's port."""

    def do_GET(self):  # noqa: N802: the name is the base class's.
        self.answer(self.server.body, status=self.server.status)


SUSPECT = b"suspect: pid 1 (python) started\n"


@pytest.mark.parametrize("status, body", [
    (200, b"no suspect process\n"), (200, SUSPECT), (404, b"not found\n"), (500, SUSPECT), (503, b""), (503, b"\xff\xfe"),
    (503, b"suspect: pid 999999999 (python) started\n"), (503, b"upstream pid 1 \n"),
])
def test_another_answer_restarts_nothing(probe, status, body):
    with serve(Odd, status=status, body=body) as server:
        assert run(probe, server.server_port) == 0


def test_a_server_that_never_answers_restarts_nothing(probe):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert run(probe, silent.getsockname()[1]) == 0


def test_one_failed_probe_restarts_nothing(probe):
    """A process may end between the answer and the look at it."""
    assert probe["failureThreshold"] >= 2


def test_the_default_command_is_the_name_of_the_interpreter_in_the_example(forms, probe):
    (worker,) = example_pod(forms)["containers"]
    assert worker["command"][0] == os.path.basename(PYTHON) == "python"
    assert "command=python" in probe["exec"]["command"][-1]
    (sidecar,) = exporters_in(example_pod(forms))
    assert {"name": "IMDS_EXPORTER_WATCH_PROCESSES", "value": "python"} in sidecar["env"]
