"""The real parts together: simulated faults, exporters, Prometheus, Alertmanager, a receiver.

The rules and the Alertmanager's configuration are the shipped ones with their times divided by FASTER. All faults are
played at once, each on an exporter with a `cluster` of its own, so that no fault can hide behind another.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from tools import DEBIAN, DEPLOY, EXPORTER, RULES

FASTER = 30
DEADLINE = 120
TEMPLATES = b"/usr/share/prometheus/alertmanager"
MARK = "imds-e2e-workload"


def faster(duration):
    """A duration of minutes, hours or seconds, FASTER times as short, never below one second."""
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return f"{max(1, int(number) * {'s': 1, 'm': 60, 'h': 3600}[unit] // FASTER)}s"


def faster_rules():
    document = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda window: f"[{faster(window[1])}]", rule["expr"])
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = faster(rule[key])
    return document


def faster_routes(receiver):
    config = yaml.safe_load((DEPLOY / "alertmanager.yaml").read_text())
    for key in ("group_wait", "group_interval"):
        config["route"][key] = faster(config["route"][key])
    for target in config["receivers"]:
        for webhook in target["webhook_configs"]:
            webhook["url"] = f"{receiver}/{target['name']}"
    return config


def fetch(url, data=None):
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as answer:
        return answer.read().decode()


def wait_for(what, condition, deadline=DEADLINE):
    """The first true value of `condition`, tried until the deadline."""
    end = time.monotonic() + deadline
    while True:
        try:
            value = condition()
        except (urllib.error.URLError, OSError):
            value = None
        if value:
            return value
        assert time.monotonic() < end, f"in vain: {what() if callable(what) else what}"
        time.sleep(0.1)


class Server:
    """A small HTTP server in a thread."""

    def __init__(self, answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, content_type, body = answer(self.path, None)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


class Process:
    """A program with its log; what it listens on is read from there."""

    def __init__(self, home, name, command, environment=None):
        self.log = home / f"{name}.log"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT,
                                          env=environment, cwd=home)

    def found(self, pattern):
        def look():
            assert self.child.poll() is None, self.log.read_text()
            return re.search(pattern, self.log.read_text())
        return wait_for(f"{pattern} in {self.log.name}", look)[1]

    def stop(self, how=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(how)
            self.child.wait(timeout=20)


class Simulator(Process):
    def __init__(self, home, name):
        super().__init__(home, f"{name}-imds",
                         [EXPORTER, "simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        self.imds = self.found(r"IMDS +http://(\S+)")
        self.control = self.found(r"control +http://(\S+)")

    def tell(self, change):
        fetch(f"http://{self.control}/", change.encode())


class Exporter(Process):
    def __init__(self, home, name, imds, address="127.0.0.1:0"):
        environment = {
            "PATH": os.environ["PATH"], "IMDS_EXPORTER_LISTEN_ADDRESS": address, "IMDS_EXPORTER_POLL_INTERVAL": "1s",
            "IMDS_EXPORTER_WATCH_PROCESSES": f"^{MARK}-{name} ", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds}",
        }
        super().__init__(home, name, [EXPORTER], environment)
        self.address = self.found(r"serving.* address=(\S+)") if address.endswith(":0") else address


def alertmanager_in(home):
    """Debian's Alertmanager, which looks for its templates where only an installed package has them, made to look in
    its working directory: the path in the program is replaced by one of the same length."""
    program = home / "prometheus-alertmanager"
    program.write_bytes((DEBIAN / program.name).read_bytes().replace(TEMPLATES, b"./" * (len(TEMPLATES) // 2)))
    program.chmod(0o755)
    for template in (DEBIAN.parents[1] / TEMPLATES.decode().lstrip("/")).glob("*.tmpl"):
        shutil.copy(template, home)
    return program


class Stage:
    """Prometheus, Alertmanager and the receiver, and the exporters that they watch."""

    def __init__(self, home, stack):
        self.home, self.stack = home, stack
        self.received, self.targets = [], []
        self.simulators, self.exporters = {}, {}
        self.receiver = Server(self._receive)

    def _receive(self, path, body):
        for alert in json.loads(body)["alerts"]:
            self.received.append((path.strip("/"), alert))
        return 200, "text/plain", b""

    def keep(self, process):
        self.stack.callback(process.stop)
        return process

    def simulator(self, name):
        self.simulators[name] = self.keep(Simulator(self.home, name))
        return self.simulators[name]

    def exporter(self, name, cluster=None, fault="none"):
        simulator = self.simulators.get(cluster) or self.simulator(cluster or name)
        simulator.tell(f'fault = "{fault}"')
        self.exporters[name] = self.keep(Exporter(self.home, name, simulator.imds))
        self.target(cluster or name, self.exporters[name].address)

    def restart(self, name):
        old = self.exporters[name]
        old.stop()
        simulator = self.simulators[name]
        self.exporters[name] = self.keep(Exporter(self.home, name, simulator.imds, old.address))

    def target(self, cluster, address):
        self.targets.append({"targets": [address], "labels": {"cluster": cluster}})

    def start(self):
        manager = self.home / "alertmanager.json"
        manager.write_text(json.dumps(faster_routes(f"http://{self.receiver.address}")))
        alertmanager = self.keep(Process(self.home, "alertmanager", [
            alertmanager_in(self.home), f"--config.file={manager}", f"--storage.path={self.home / 'am'}",
            "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
        ]))
        self.alertmanager = alertmanager.found(r"Listening on.* address=(127\.0\.0\.1:\d+)")
        (self.home / "rules.json").write_text(json.dumps(faster_rules()))
        config = self.home / "prometheus.json"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.json"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager]}]}]},
            "scrape_configs": [{"job_name": "imds-exporter", "static_configs": self.targets}],
        }))
        prometheus = self.keep(Process(self.home, "prometheus", [
            DEBIAN / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.home / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
        ]))
        self.prometheus = prometheus.found(r"Listening on.* address=(127\.0\.0\.1:\d+)")

    def query(self, expression):
        asked = urllib.parse.urlencode({"query": expression})
        return json.loads(fetch(f"http://{self.prometheus}/api/v1/query?{asked}"))["data"]["result"]

    def heard(self, status):
        """Who heard of which alert of which cluster, each as often as it arrived with this status."""
        return [(receiver, alert["labels"]["cluster"], alert["labels"]["alertname"], alert["labels"].get("kind"))
                for receiver, alert in list(self.received) if alert["status"] == status]

    def kept_quiet(self):
        """What the Alertmanager holds back because another alert speaks."""
        alerts = json.loads(fetch(f"http://{self.alertmanager}/api/v2/alerts"))
        return {(alert["labels"]["cluster"], alert["labels"]["alertname"]) for alert in alerts
                if alert["status"]["inhibitedBy"]}


EXPECTED = {
    ("ticket", "refused", "ImdsCredentialsFetchFailing", "connect_refused"),
    ("page", "refused", "ImdsCredentialsFetchFailing", "connect_refused"),
    ("ticket", "no-role", "ImdsCredentialsFetchFailing", "no_role"),
    ("ticket", "hop-limit", "ImdsCredentialsFetchFailing", "hop_limit"),
    ("page", "ending", "ImdsClientsFailing", "server_error"),
    ("page", "expired", "ImdsCredentialsExpired", None),
    ("page", "stuck", "ImdsClientsStuck", None),
    ("ticket", "stalled", "ImdsPollStalled", None),
    ("ticket", "dead", "ImdsExporterDown", None),
    ("page", "fleet", "ImdsFleetOutage", None),
}

INHIBITED = {
    ("ending", "ImdsCredentialsFetchFailing"),
    ("expired", "ImdsRotationOverdue"),
    ("stuck", "ImdsSuspectProcesses"),
    ("fleet", "ImdsCredentialsFetchFailing"),
}


class Freezer:
    """An exporter whose poll loop hangs: its pages as they are, its metrics as they were when it froze."""

    def __init__(self, address):
        self.address, self.frozen = address, None
        self.server = Server(self._answer)

    def _answer(self, path, _):
        body = self.frozen if path == "/metrics" and self.frozen else fetch(f"http://{self.address}{path}").encode()
        return 200, "text/plain; version=0.0.4" if path == "/metrics" else "text/html", body

    def freeze(self):
        self.frozen = fetch(f"http://{self.address}/metrics").encode()

    def thaw(self):
        self.frozen = None


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Everything that arrived, after all faults came and went."""
    with ExitStack() as stack:
        stage = Stage(tmp_path_factory.mktemp("e2e"), stack)
        for name in ("healthy", "refused", "no-role", "hop-limit", "ending", "expired", "dead"):
            stage.exporter(name)
        for number in range(4):
            stage.exporter(f"fleet-{number}", "fleet")
        stage.simulator("stalled")
        hidden = stage.keep(Exporter(stage.home, "stalled", stage.simulators["stalled"].imds))
        freezer = Freezer(hidden.address)
        stage.target("stalled", freezer.server.address)

        # Born in an outage, with a workload beside it.
        stage.exporter("stuck", fault="connect_refused")
        workload = subprocess.Popen(["bash", "-c", f"exec -a {MARK}-stuck sleep 1000"])
        stack.callback(workload.wait)
        stack.callback(workload.kill)
        stuck = stage.exporters["stuck"].address
        wait_for("a failed poll", lambda: "imds_up 0" in fetch(f"http://{stuck}/metrics"))
        stage.simulators["stuck"].tell('fault = "none"')

        stage.start()
        wait_for("all are scraped", lambda: len(stage.query("imds_up == 1")) == len(stage.targets))

        stage.simulators["ending"].tell('expires_in = "10m"')
        ending = stage.exporters["ending"].address
        wait_for("the short document", lambda: float(
            re.search(r"^imds_credentials_remaining_seconds (\S+)", fetch(f"http://{ending}/metrics"), re.M)[1]) < 900)
        stage.simulators["ending"].tell('fault = "server_error"')
        stage.simulators["refused"].tell('fault = "connect_refused"')
        stage.simulators["no-role"].tell('fault = "no_role"')
        stage.simulators["hop-limit"].tell('fault = "hop_limit"\nforget_tokens = true')
        stage.simulators["expired"].tell('expires_in = "-5m"')
        stage.simulators["fleet"].tell('fault = "read_timeout"')
        stage.exporters["dead"].stop(signal.SIGKILL)
        freezer.freeze()

        def cure(cluster):
            if cluster == "stalled":
                freezer.thaw()
            elif cluster == "dead":
                stage.restart("dead")
            elif cluster == "stuck":
                workload.kill()
                stage.restart("stuck")
            else:
                stage.simulators[cluster].tell('fault = "none"\nrotate = true\nlifetime = "6h34m"')

        # Cured before its critical band, so that one of them is seen alone.
        for cluster in ("no-role", "hop-limit"):
            wait_for(cluster, lambda cluster=cluster: cluster in {heard[1] for heard in stage.heard("firing")})
            cure(cluster)
        wait_for(lambda: f"{EXPECTED - set(stage.heard('firing'))} to arrive",
                 lambda: set(stage.heard("firing")) >= EXPECTED)
        wait_for(lambda: f"{INHIBITED - stage.kept_quiet()} to be held back", lambda: stage.kept_quiet() >= INHIBITED)
        stage.pages = {alert["annotations"]["runbook_url"]: fetch(alert["annotations"]["runbook_url"].split("#")[0])
                       for _, alert in list(stage.received)}
        for cluster in {expected[1] for expected in EXPECTED} - {"no-role", "hop-limit"}:
            cure(cluster)
        wait_for(lambda: f"all to resolve, only {stage.heard('resolved')} did",
                 lambda: {heard[1:] for heard in stage.heard("resolved")} >= {expected[1:] for expected in EXPECTED})
        wait_for("nothing to fire", lambda: not stage.query("ALERTS"))
        yield stage


def test_the_right_alerts_arrive_with_the_right_kind_and_once(played):
    assert sorted(map(str, played.heard("firing"))) == sorted(map(str, EXPECTED))


def test_a_resolve_arrives(played):
    assert {heard[1:] for heard in played.heard("resolved")} == {expected[1:] for expected in EXPECTED}


def test_links_lead_to_sections_that_exist(played):
    for _, alert in played.received:
        url = alert["annotations"]["runbook_url"]
        anchor = url.split("#")[1]
        # Which exporter answers for a fleet may change while an alert lasts.
        page = played.pages.get(url) or fetch(url.split("#")[0])
        assert f'id="{anchor}"' in page
        kind = alert["labels"].get("kind")
        assert anchor == (kind if alert["labels"]["alertname"] == "ImdsCredentialsFetchFailing"
                          else alert["labels"]["alertname"])


def test_a_dead_exporter_is_explained_by_another(played):
    [url] = {alert["annotations"]["runbook_url"] for _, alert in played.received
             if alert["labels"]["alertname"] == "ImdsExporterDown"}
    assert urllib.parse.urlsplit(url).netloc != played.exporters["dead"].address


def test_descriptions_are_rendered(played):
    for _, alert in played.received:
        text = alert["annotations"]["description"]
        assert "<no value>" not in text and "error" not in text.replace("server_error", ""), text
        assert ". Next: " in text
    [fleet] = {alert["annotations"]["description"] for receiver, alert in played.received
               if alert["labels"]["alertname"] == "ImdsFleetOutage" and alert["status"] == "firing"}
    assert "read_timeout: " in fleet
