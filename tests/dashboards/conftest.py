"""The story in a real Prometheus, for all tests here."""

import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import grafana
import pytest
import story

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "target" / "tools" / "debian" / "usr" / "bin"

# Running exporters are staged by the status page's tests.
sys.path.append(str(ROOT / "tests" / "page"))


def listening(log):
    """The port that Prometheus chose, once it says so."""
    for line in log.read_text(encoding="utf-8").splitlines():
        if "Listening on" in line:
            return line.rsplit(":", 1)[1].strip().rstrip('"')
    return None


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory):
    """A Prometheus that holds the story and scrapes nothing."""
    home = tmp_path_factory.mktemp("prometheus")
    text = home / "story.om"
    with text.open("w", encoding="utf-8") as out:
        out.writelines(story.openmetrics())
    subprocess.run([DEBIAN / "promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, home / "data"],
                   check=True, stdout=subprocess.DEVNULL)
    config = home / "prometheus.yml"
    config.write_text("global: {}\n", encoding="utf-8")
    log = home / "log"
    with log.open("wb") as err:
        server = subprocess.Popen(
            [DEBIAN / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={home / 'data'}",
             "--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0"],
            stdout=subprocess.DEVNULL, stderr=err)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            port = listening(log)
            try:
                if port and urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).status == 200:
                    break
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        yield grafana.Prometheus(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(timeout=30)
