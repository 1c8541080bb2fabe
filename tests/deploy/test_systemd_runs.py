"""The notify protocol as systemd speaks it: the program, a socket, the environment of a service."""

import contextlib
import os
import signal
import socket

import pytest

from conftest import exporter
from machinery import free_port, get, process, samples, simulator, until

WATCHDOG_MICROSECONDS = 200_000


class Manager:
    """systemd's end of the socket."""

    def __init__(self, directory):
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(30)

    def next(self):
        return self.socket.recv(4096).decode().splitlines()

    def until(self, wanted):
        """The messages up to the one with a line that is wanted."""
        heard = []
        while not heard or not any(wanted(line) for line in heard[-1]):
            heard.append(self.next())
            assert len(heard) < 1000, heard[-10:]
        return heard


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


@contextlib.contextmanager
def service(manager, imds, **more):
    port = free_port()
    environment = {
        "NOTIFY_SOCKET": manager.path,
        "WATCHDOG_USEC": str(WATCHDOG_MICROSECONDS),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
        "IMDS_EXPORTER_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "IMDS_EXPORTER_POLL_INTERVAL": "1s",
        **more,
    }
    with process([exporter()], environment) as child:
        yield child, port


def test_it_is_ready_only_once_the_port_is_bound(manager):
    with simulator() as imds, service(manager, imds) as (_, port):
        assert "READY=1" in manager.next()
        # At that very moment, without another try.
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_it_is_not_ready_when_the_port_is_taken(manager):
    with simulator() as imds, service(manager, imds) as (_, port):
        assert "READY=1" in manager.next()
        with service(manager, imds, IMDS_EXPORTER_LISTEN_ADDRESS=f"127.0.0.1:{port}") as (second, _):
            until(lambda: second.poll() is not None, "the second one ends")
            assert second.returncode == 1
        heard = manager.until(lambda line: line == "WATCHDOG=1")
        assert not any("READY=1" in message for message in heard)


def test_the_watchdog_is_fed_through_an_outage_and_the_status_tells_of_it(manager):
    with simulator() as imds, service(manager, imds) as (_, port):
        manager.until(lambda line: line.startswith("STATUS=") and "resolve" in line)
        imds.tell('fault = "server_error"')
        manager.until(lambda line: line.startswith("STATUS=") and "server_error" in line)
        for _ in range(10):
            manager.until(lambda line: line == "WATCHDOG=1")
        assert samples(port)["imds_up"] == 0
        imds.tell('fault = "none"')
        manager.until(lambda line: line.startswith("STATUS=") and "resolve" in line)


def test_it_says_that_it_stops_and_ends_well(manager):
    with simulator() as imds, service(manager, imds) as (child, port):
        manager.until(lambda line: line == "READY=1")
        os.kill(child.pid, signal.SIGTERM)
        heard = manager.until(lambda line: line == "STOPPING=1")
        assert heard[-1] == ["STOPPING=1"]
        until(lambda: child.poll() is not None, "it ends")
        assert child.returncode == 0
        assert get(port, "/-/healthy") == (None, "")


def test_another_process_s_watchdog_is_not_fed(manager):
    """WATCHDOG_PID names the process that systemd waits for: a program that this one starts must not answer for it."""
    with simulator() as imds, service(manager, imds, WATCHDOG_PID="1") as (_, port):
        until(lambda: samples(port).get("imds_fetches_total", 0) >= 3, "it polls")
        heard = []
        manager.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(manager.next())
        assert ["WATCHDOG=1"] not in heard
        assert "READY=1" in heard[0]
