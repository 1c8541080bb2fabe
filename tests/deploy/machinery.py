"""Real processes for the tests: the simulator, the exporter, a stand-in for STS. All on loopback, ports by the system."""

import contextlib
import http.server
import os
import re
import signal
import socket
import subprocess
import threading
import time
import tomllib
import urllib.error
import urllib.request

from conftest import exporter

# Longer than anything takes that goes well, on a machine under load.
PATIENCE_SECONDS = 60

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def until(condition, what, seconds=PATIENCE_SECONDS):
    """The first true value of the condition; polls, for there is nothing to wait on."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not in {seconds} s: {what}")


def get(port, path, agent="kube-probe/1.33"):
    """Status and body, asked for as by the kubelet; nothing where nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"User-Agent": agent})
    try:
        with NO_PROXY.open(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


def samples(port):
    """The metrics that the exporter serves."""
    _, body = get(port, "/metrics")
    lines = (line.rsplit(" ", 1) for line in body.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def process(command, environment, **options):
    """A process that does not outlive the test. What it prints can be read in the end from `output`."""
    child = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )
    child.lines = []
    reader = threading.Thread(target=lambda: child.lines.extend(child.stdout), daemon=True)
    reader.start()
    try:
        yield child
    finally:
        # The group: a program that went to another user is not ended with the one that started it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        reader.join(PATIENCE_SECONDS)
        assert not reader.is_alive(), "a process outlived its test"
        child.stdout.close()


class Simulator:
    def __init__(self, child):
        def addresses():
            found = re.findall(r"http://127\.0\.0\.1:\d+", "".join(child.lines))
            return found if len(found) == 2 else None

        self.endpoint, self.control = until(addresses, "the simulator's addresses")

    def tell(self, toml):
        tomllib.loads(toml)
        with NO_PROXY.open(urllib.request.Request(self.control, data=toml.encode(), method="POST"), timeout=10):
            pass


@contextlib.contextmanager
def simulator():
    command = [exporter(), "simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    with process(command, {}) as child:
        yield Simulator(child)


class Sts(http.server.BaseHTTPRequestHandler):
    """Answers GetCallerIdentity, and keeps what the calls were signed with."""

    def do_POST(self):  # noqa: N802: the name is the base class's.
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append(self.headers["Authorization"])
        body = (
            '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
            "<Arn>arn:aws:sts::000000000000:assumed-role/made-up/i-0</Arn><UserId>x</UserId>"
            "<Account>000000000000</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def sts():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sts)
    server.calls = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
