"""The static binary for arm64, emulated where this machine is another one: it checks, serves, and scrapes are the same."""

import gzip
import json
import os
import platform
import ssl
import struct
import urllib.request

import pytest

from helpers import exporters
from helpers.certificates import certify
from helpers.commands import complete
from helpers.exporters import Exporter, simulator
from helpers.http_client import get, lines
from helpers.paths import production_exporter, tool
from helpers.processes import Process
from helpers.waiting import until

ELF_MACHINE_OF_ARM64 = 183
# Built for a release alone.
pytestmark = pytest.mark.skipif(os.environ.get("THOROUGH") != "1", reason="THOROUGH=1 builds it")
# Emulation is slow, above all its start.
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def program():
    """The command that runs the binary."""
    emulator = [] if platform.machine() == "aarch64" else [tool("qemu-aarch64-static")]
    return [*emulator, production_exporter("aarch64")]


@pytest.fixture
def imds():
    with simulator() as imds:
        yield imds


def test_the_binary_is_for_arm64(program):
    head = program[-1].read_bytes()[:64]
    assert head[:6] == b"\x7fELF\x02\x01"
    assert struct.unpack_from("<H", head, 18) == (ELF_MACHINE_OF_ARM64,)


def test_it_checks(program, imds):
    checked = complete(*program, "check", "--json", env=exporters.environment(imds.endpoint), timeout=PATIENCE_SECONDS)
    assert checked.returncode in (0, 2), checked
    assert json.loads(checked.stdout)["verdict"] in ("usable", "warning"), checked.stdout
    imds.change('fault = "connect_refused"')
    checked = complete(*program, "check", "--json", env=exporters.environment(imds.endpoint), timeout=PATIENCE_SECONDS)
    assert (checked.returncode, json.loads(checked.stdout)["verdict"]) == (1, "failing"), checked


def test_it_serves_compressed_over_tls(program, imds, tmp_path):
    certify(tmp_path / "cert.pem", tmp_path / "key.pem")
    web_config = tmp_path / "web.yml"
    web_config.write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}")
    environment = exporters.environment(
        imds.endpoint, IMDS_EXPORTER_POLL_INTERVAL="1h", IMDS_EXPORTER_WEB_CONFIG_FILE=str(web_config),
        IMDS_EXPORTER_PROBE_LISTEN_ADDRESS="127.0.0.1:0")
    trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    with Process(program, environment) as process:
        probes = process.printed(r"probe_address\S*?(127\.0\.0\.1:\d+)")[1]
        until(lambda: get(f"http://{probes}/-/startup")[0] == 200, lambda: process.output, PATIENCE_SECONDS)

        def scrape(encoding):
            request = urllib.request.Request(f"https://{Exporter(process).address}/metrics",
                                             headers={"Accept-Encoding": encoding})
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
            with opener.open(request, timeout=PATIENCE_SECONDS) as answer:
                assert answer.headers.get("Content-Encoding", "identity") == encoding
                return answer.read()

        plain, compressed = scrape("identity").decode(), gzip.decompress(scrape("gzip")).decode()
        # The same but for what the time between them changes.
        before, after = ([line for line in lines(text) if "remaining" not in line and not line.startswith("process_")]
                         for text in (plain, compressed))
        assert "imds_up 1" in before
        assert before == after
        assert process.stop(PATIENCE_SECONDS) == 0, process.output
