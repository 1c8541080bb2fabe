"""The notify protocol with systemd's end of it: a socket, and the environment of a service."""

import contextlib
import os
import signal
import socket

import pytest

from helpers import exporters, paths
from helpers.exporters import simulator
from helpers.http_client import get, samples
from helpers.processes import Process, free_port
from helpers.waiting import until

WATCHDOG_MICROSECONDS = 200_000


class Manager:
    """systemd's end of the notify socket."""

    def __init__(self, directory):
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(30)

    def next(self):
        return self.socket.recv(4096).decode().splitlines()

    def until(self, wanted):
        """The messages up to the first one with such a line."""
        messages = []
        while not messages or not any(wanted(line) for line in messages[-1]):
            messages.append(self.next())
            assert len(messages) < 1000, messages[-10:]
        return messages


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


@contextlib.contextmanager
def service(manager, imds, port=None, **more):
    """An exporter in the environment of a service: its process and its port."""
    port = port or free_port()
    environment = exporters.environment(imds.endpoint, f"127.0.0.1:{port}", NOTIFY_SOCKET=manager.path,
                                        WATCHDOG_USEC=str(WATCHDOG_MICROSECONDS), **more)
    with Process([paths.exporter()], environment) as process:
        yield process, port


def metrics(port):
    return samples(f"http://127.0.0.1:{port}")


def test_it_is_ready_only_once_the_port_is_bound(manager):
    with simulator() as imds, service(manager, imds) as (_, port):
        assert "READY=1" in manager.next()
        # At once, without a second attempt.
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_it_is_not_ready_when_the_port_is_taken(manager):
    with simulator() as imds, service(manager, imds) as (_, port):
        assert "READY=1" in manager.next()
        with service(manager, imds, port) as (second, _):
            until(lambda: second.poll() is not None, "the second one exits")
            assert second.returncode == 1
        messages = manager.until(lambda line: line == "WATCHDOG=1")
        assert not any("READY=1" in message for message in messages)


def test_watchdog_messages_continue_in_an_outage_and_the_status_names_the_failure(manager):
    with simulator() as imds, service(manager, imds) as (_, port):
        manager.until(lambda line: line.startswith("STATUS=") and "resolve" in line)
        imds.change('fault = "server_error"')
        manager.until(lambda line: line.startswith("STATUS=") and "server_error" in line)
        for _ in range(10):
            manager.until(lambda line: line == "WATCHDOG=1")
        assert metrics(port)["imds_up"] == 0
        imds.change('fault = "none"')
        manager.until(lambda line: line.startswith("STATUS=") and "resolve" in line)


def test_it_announces_that_it_stops_and_exits_with_0(manager):
    with simulator() as imds, service(manager, imds) as (process, port):
        manager.until(lambda line: line == "READY=1")
        os.kill(process.pid, signal.SIGTERM)
        messages = manager.until(lambda line: line == "STOPPING=1")
        assert messages[-1] == ["STOPPING=1"]
        until(lambda: process.poll() is not None, "it exits")
        assert process.returncode == 0
        assert get(f"http://127.0.0.1:{port}/-/healthy") == (None, "")


def test_there_are_no_watchdog_messages_on_behalf_of_another_process(manager):
    """WATCHDOG_PID names the process from which systemd expects them."""
    with simulator() as imds, service(manager, imds, WATCHDOG_PID="1") as (_, port):
        until(lambda: metrics(port).get("imds_fetches_total", 0) >= 3, "it polls")
        messages = []
        manager.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(manager.next())
        assert ["WATCHDOG=1"] not in messages
        assert "READY=1" in messages[0]
