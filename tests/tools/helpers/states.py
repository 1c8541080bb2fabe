"""Exporters in the states that a reader can meet, brought about by the simulator. Each state is a context."""

import contextlib
import socket
import sys

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
def stuck():
    """With suspects: a process that started in the outage."""
    program = [sys.executable, "-c", "import time; time.sleep(600) # stuck-worker"]
    with simulated('fault = "read_timeout"', IMDS_EXPORTER_WATCH_PROCESSES="stuck-worker",
                   IMDS_EXPORTER_TIMEOUT="50ms") as (simulator, polling):
        polling.reach(up=False)
        with Process(program):
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
def starting():
    """IMDS accepts the connection and never answers; the time-out outlasts the test."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with exporter(endpoint, IMDS_EXPORTER_POLL_INTERVAL="10m", IMDS_EXPORTER_TIMEOUT="10m") as polling:
            polling.reach(up=None)
            yield polling


STATES = {"fine": fine, "failing": failing, "stuck": stuck, "expired": expired, "starting": starting}
