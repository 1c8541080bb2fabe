"""Exporters in the states that the status page must show, brought about for real: the simulator plays IMDS, the
exporter watches it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "imds-exporter"
PATIENCE = 60


def until(what, holds):
    """The first true answer of `holds`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := holds():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


@contextlib.contextmanager
def running(*command, log, **environment):
    """A program with this environment alone, whose output goes to a file."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={"PATH": os.environ["PATH"], **environment}, start_new_session=True)
    try:
        yield process
    finally:
        # The group: Debian's Chromium is a script that does not become it.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def said(process, log, pattern):
    """What a program says first of all."""
    def found():
        text = log.read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, text
        return re.search(pattern, text)
    return until(f"{pattern} in {log}", found)


class Exporter:
    """A running exporter and the simulated IMDS behind it."""

    def __init__(self, url, control):
        self.url, self.control = url, control

    def tell(self, order):
        """Has the simulator change."""
        urllib.request.urlopen(self.control, data=order.encode(), timeout=10).read()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read()

    def status(self):
        return json.loads(self.get("/api/v1/status"))

    def reach(self, **state):
        """Waits for a status with these values."""
        return until(f"{state}", lambda: all(self.status()[key] == value for key, value in state.items()))


@contextlib.contextmanager
def exporter(folder, before="", endpoint=None, **settings):
    """An exporter that starts when the simulator has been told `before`."""
    folder.mkdir(parents=True)
    with running(BINARY, "simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
                 log=folder / "simulator") as simulator:
        imds, control = said(simulator, folder / "simulator", r"IMDS +(http\S+)[^$]*?control +(http\S+)").groups()
        if before:
            Exporter(None, control).tell(before)
        with running(BINARY, log=folder / "exporter", **{
                "IMDS_EXPORTER_LISTEN_ADDRESS": "127.0.0.1:0", "IMDS_EXPORTER_POLL_INTERVAL": "1s",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint or imds, **settings}) as process:
            # The log may colour its fields.
            port = said(process, folder / "exporter", r"serving.*?address\S*?127\.0\.0\.1:(\d+)")[1]
            yield Exporter(f"http://127.0.0.1:{port}", control)


@contextlib.contextmanager
def fine(folder):
    with exporter(folder) as one:
        one.reach(up=True)
        yield one


@contextlib.contextmanager
def failing(folder):
    with exporter(folder) as one:
        one.reach(up=True)
        one.tell('fault = "connect_refused"')
        one.reach(up=False)
        yield one


@contextlib.contextmanager
def stuck(folder):
    """With suspects: the processes that start in the outage."""
    program = [sys.executable, "-c", "import time; time.sleep(600) # stuck-worker"]
    with exporter(folder, before='fault = "read_timeout"', IMDS_EXPORTER_WATCH_PROCESSES="stuck-worker",
                  IMDS_EXPORTER_TIMEOUT="50ms") as one:
        one.reach(up=False)
        with running(*program, log=folder / "worker"):
            one.tell('fault = "none"')
            one.reach(up=True, clients_stuck=True)
            until("a suspect", lambda: one.status()["suspects"])
            yield one


@contextlib.contextmanager
def expired(folder):
    with exporter(folder, before='expires_in = "-5m"') as one:
        one.reach(up=True)
        yield one


@contextlib.contextmanager
def starting(folder):
    """IMDS takes the connection and never answers, within a time-out that outlasts the test."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with exporter(folder, endpoint=endpoint, IMDS_EXPORTER_POLL_INTERVAL="10m",
                      IMDS_EXPORTER_TIMEOUT="10m") as one:
            one.reach(up=None)
            yield one


STATES = {"fine": fine, "failing": failing, "stuck": stuck, "expired": expired, "starting": starting}
