"""Exporters in the states that a reader can meet, brought about by the simulator. Each state is a context."""

import contextlib
import pathlib
import socket
import sys
import tempfile

from helpers import exporters
from helpers.exporters import exporter
from helpers.processes import Process
from helpers.waiting import until


@contextlib.contextmanager
def simulated(change="", **more):
    """A simulator with this change, and an exporter that polls it."""
    with exporters.simulator() as simulator:
        if change:
            simulator.change(change)
        with exporter(simulator.endpoint, **more) as polling:
            yield simulator, polling


@contextlib.contextmanager
def fine_with_simulator():
    with simulated() as (simulator, polling):
        polling.reach(up=True)
        yield simulator, polling


@contextlib.contextmanager
def fine():
    with fine_with_simulator() as (_, polling):
        yield polling


@contextlib.contextmanager
def failing():
    with fine_with_simulator() as (simulator, polling):
        simulator.change('fault = "connect_refused"')
        polling.reach(up=False)
        yield polling


@contextlib.contextmanager
def stuck(**process):
    """The declared workload started in an outage. With suspects: a process that did so too, started with these options."""
    program = [sys.executable, "-c", "import time; time.sleep(600) # stuck-worker"]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator, polling = stack.enter_context(simulated(
            'fault = "read_timeout"', IMDS_EXPORTER_WATCH_PROCESSES="stuck-worker", IMDS_EXPORTER_TIMEOUT="50ms",
            IMDS_EXPORTER_WORKLOAD="starts-with-exporter", IMDS_EXPORTER_STATE_FILE=str(folder / "state")))
        polling.reach(up=False)
        stack.enter_context(Process(program, **process))
        simulator.change('fault = "none"')
        polling.reach(up=True, clients_stuck=True)
        until(lambda: polling.status()["suspects"], "a suspect")
        yield polling


@contextlib.contextmanager
def expired():
    with simulated('expires_in = "-5m"') as (_, polling):
        polling.reach(up=True)
        yield polling


@contextlib.contextmanager
def fallback():
    """The token request fails, and IMDSv1 answers."""
    with simulated('fault = "token_forbidden"\ntokens = "optional"') as (_, polling):
        polling.reach(up=True, v1_fallback="token_forbidden")
        yield polling


@contextlib.contextmanager
def shadowed():
    """SDKs with the exporter's environment get their credentials from IRSA. IMDS fails, which concerns none of them."""
    with simulated('fault = "connect_refused"', AWS_ROLE_ARN="arn:aws:iam::000000000000:role/made-up",
                   AWS_WEB_IDENTITY_TOKEN_FILE="/var/run/secrets/token") as (_, polling):
        polling.reach(up=False, chain_shadowed="web_identity")
        yield polling


@contextlib.contextmanager
def starting():
    """IMDS accepts the connection and never answers; the time-out outlasts the test."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with exporter(endpoint, IMDS_EXPORTER_POLL_INTERVAL="10m", IMDS_EXPORTER_TIMEOUT="30s") as polling:
            polling.reach(up=None)
            yield polling


STATES = {"fine": fine, "failing": failing, "stuck": stuck, "expired": expired, "fallback": fallback,
          "shadowed": shadowed, "starting": starting}
