"""The cost of the exporter in what can be counted repeatably, against the committed figures in cost.json.

Instructions are counted by callgrind and system calls by strace, of the binary in the image. Each is the difference of
two runs that differ only in the number of scrapes or polls, so that start and stop cancel out. After an intended
change, `UPDATE=1 target/tools/python/bin/pytest tests/bench` writes the figures again.
"""

import contextlib
import functools
import gzip
import http.client
import json
import os
import pathlib
import platform
import socket
import threading
import tomllib

import counting
import pytest

from helpers import exporters
from helpers.commands import run
from helpers.http_server import Handler, serve
from helpers.paths import ROOT, production_exporter
from helpers.processes import Process, free_port
from helpers.waiting import until

FIGURES = pathlib.Path(__file__).with_name("cost.json")
# Programs run several times slower under callgrind and strace.
PATIENCE_SECONDS = 120

# By how much a figure may differ from the committed one, both ways: a gain that is not committed hides the next loss.
MARGINS = {"series": 0, "binary_bytes": 0.05, "scrape_bytes": 0.05, "compressed_share": 0.05,
           "instructions_per_scrape": 0.1, "instructions_per_poll": 0.1, "system_calls_per_scrape": 0.05,
           # How much more than what is touched becomes resident is for the kernel to choose.
           "resident_kib": 0.25}

TOKEN = b"made-up-session-token-made-up-session-token-made-up-sess"
DOCUMENT = json.dumps({
    "Code": "Success", "LastUpdated": "2026-01-31T12:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "ASIAMADEUPFORTHECOST",
    "SecretAccessKey": "made-up-" * 5, "Token": "made-up-" * 100, "Expiration": "2099-01-31T18:00:00Z",
}, indent=2).encode()


class Imds(Handler):
    """Answers as IMDS does, in one write, and closes the connection. Keeps the poll after the last one waiting."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_PUT(self):  # noqa: N802: the name is the base class's.
        self.answer(TOKEN)

    def do_GET(self):  # noqa: N802
        if not self.path.endswith("/security-credentials/"):
            self.answer(DOCUMENT)
        elif self.server.polls.acquire(blocking=False):
            self.answer(b"cost")
        else:
            self.server.all_polled.set()
            self.server.end.wait(PATIENCE_SECONDS)
            self.close_connection = True

    def answer(self, body):
        self.send_response(200)
        self.send_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def imds(polls):
    """An IMDS for so many polls."""
    end = threading.Event()
    with serve(Imds, polls=threading.Semaphore(polls), all_polled=threading.Event(), end=end) as server:
        try:
            yield server
        finally:
            end.set()


def ask(connection, path="/metrics", encoding="gzip"):
    """Status and body, as it came; asked as Prometheus asks."""
    connection.request("GET", path, headers={"Accept": "text/plain;version=0.0.4", "Accept-Encoding": encoding})
    answer = connection.getresponse()
    return answer.status, answer.read()


@contextlib.contextmanager
def scraper(port):
    """A connection to the exporter after its first poll."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
        until(lambda: ask(connection, "/-/ready")[0] == 200, "readiness", PATIENCE_SECONDS)
        yield connection


def listens(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True


@contextlib.contextmanager
def exporter(server, interval, *wrapper):
    """Port and process id of an exporter, started by the wrapper; in the end it stops on SIGTERM, as in a pod."""
    port = free_port()
    environment = exporters.environment(server.url, f"127.0.0.1:{port}", IMDS_EXPORTER_POLL_INTERVAL=interval)
    with Process([*wrapper, production_exporter()], environment) as process:
        until(lambda: process.poll() is not None or listens(port), "a listening exporter", PATIENCE_SECONDS)
        assert process.poll() is None, process.output
        yield port, process.pid
        assert process.stop(PATIENCE_SECONDS) == 0, process.output


def scraped(scrapes, counter):
    wrapper, count = counter
    with imds(1) as server, exporter(server, "1h", *wrapper) as (port, _), scraper(port) as connection:
        assert all(ask(connection)[0] == 200 for _ in range(scrapes))
    return count()


def polled(polls, counter):
    wrapper, count = counter
    with imds(polls) as server, exporter(server, "1s", *wrapper):
        assert server.all_polled.wait(PATIENCE_SECONDS)
    return count()


def one_more(measured, few, many, counter, directory):
    """The cost of one more scrape or poll."""
    return (measured(many, counter(directory)) - measured(few, counter(directory))) / (many - few)


@functools.cache
def bodies():
    """A scrape, as Prometheus gets it and as plain text."""
    with imds(1) as server, exporter(server, "1h") as (port, _), scraper(port) as connection:
        compressed, plain = ask(connection)[1], ask(connection, encoding="identity")[1]
    assert counting.series(gzip.decompress(compressed).decode()) == counting.series(plain.decode())
    return compressed, plain


def resident_kib(_):
    """After a scrape of each kind."""
    with imds(1) as server, exporter(server, "1h") as (port, pid), scraper(port) as connection:
        for encoding in ("gzip", "identity"):
            assert ask(connection, encoding=encoding)[0] == 200
        return counting.resident_kib(pid)


MEASURE = {
    "series": lambda _: counting.series(bodies()[1].decode()),
    "binary_bytes": lambda _: production_exporter().stat().st_size,
    "scrape_bytes": lambda _: len(bodies()[0]),
    "compressed_share": lambda _: len(bodies()[0]) / len(bodies()[1]),
    "instructions_per_scrape": functools.partial(one_more, scraped, 100, 600, counting.callgrind),
    "instructions_per_poll": functools.partial(one_more, polled, 2, 10, counting.callgrind),
    "system_calls_per_scrape": functools.partial(one_more, scraped, 100, 600, counting.strace),
    "resident_kib": resident_kib,
}


@pytest.mark.parametrize("name", MEASURE)
def test_the_cost_is_the_committed_one(name, tmp_path):
    measured = round(MEASURE[name](tmp_path), 3)
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    here = figures.setdefault(platform.machine(), {})
    if os.environ.get("UPDATE") == "1":
        here[name] = measured
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    assert measured <= counting.CEILINGS.get(name, measured)
    # On an architecture without committed figures only the ceilings apply.
    assert measured == pytest.approx(here.get(name, measured), rel=MARGINS[name]), f"{name}: {measured}"


def test_memory_stays_bounded_under_request_heads_that_never_end():
    """Waves of more connections than the exporter has slots; what the allocator needs for one wave it keeps."""
    with imds(1) as server, exporter(server, "1h") as (port, pid):
        for _ in range(6):
            with contextlib.ExitStack() as wave:
                for _ in range(500):
                    connection = wave.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS))
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 12_000)
                assert counting.resident_kib(pid) < 8 * 1024
                with scraper(port) as connection:
                    assert ask(connection)[0] == 200
        assert counting.resident_kib(pid) < 8 * 1024


def test_the_benchmark_builds_with_the_release_profile():
    own, benchmarks = (tomllib.loads((ROOT / file).read_text())["profile"] for file in ("Cargo.toml", "tests/bench/Cargo.toml"))
    assert benchmarks["release"] == own["release"]


@pytest.mark.parametrize("crate", ["bench", "fuzz"])
def test_the_lock_file_is_current(crate):
    """The benchmark is not built by the tests: it would be noticed only when somebody runs it."""
    run("cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", ROOT / f"tests/{crate}/Cargo.toml")
