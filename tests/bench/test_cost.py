"""The exporter of the image stays within what the documentation promises; tests/bench/run measures it beside others."""

import contextlib
import gzip
import pathlib
import re
import socket
import urllib.request

import pytest

from helpers import exporters
from helpers.http_client import OPENER, lines
from helpers.paths import production_exporter
from helpers.processes import Process
from helpers.waiting import PATIENCE_SECONDS, until

# What the shipped Kubernetes forms request, and half of their limit.
REQUESTED_KIB, HALF_OF_LIMIT_KIB = 8 * 1024, 16 * 1024


def resident_kib(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def scrape(exporter, encoding="gzip"):
    request = urllib.request.Request(f"{exporter.url}/metrics", headers={"Accept-Encoding": encoding})
    return OPENER.open(request, timeout=PATIENCE_SECONDS).read()


@pytest.fixture
def exporter():
    """The exporter of the image, after its first poll."""
    with exporters.simulator() as simulator:
        with Process([production_exporter()], exporters.environment(simulator.endpoint)) as process:
            started = exporters.Exporter(process)
            started.reach(up=True)
            yield started


def test_the_binary_and_a_scrape_are_small(exporter):
    assert production_exporter().stat().st_size <= 8_000_000
    plain, compressed = scrape(exporter, "identity"), scrape(exporter)
    assert len(lines(plain.decode())) == len(lines(gzip.decompress(compressed).decode())) <= 160
    assert len(compressed) <= len(plain) / 4


def test_memory_stays_bounded_under_request_heads_that_never_end(exporter):
    """Waves of more connections than the exporter has slots; how many it reads at once is a matter of time."""
    host, port = exporter.address.split(":")
    for _ in range(6):
        with contextlib.ExitStack() as wave:
            for _ in range(500):
                connection = wave.enter_context(socket.create_connection((host, int(port)), PATIENCE_SECONDS))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 12_000)
            assert resident_kib(exporter.process.pid) < HALF_OF_LIMIT_KIB
            assert scrape(exporter)
    until(lambda: resident_kib(exporter.process.pid) < REQUESTED_KIB, "the memory that was requested")
