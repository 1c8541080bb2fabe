"""The real programs together: simulators with faults, exporters, Prometheus, Alertmanager, a receiver.

The rules and the Alertmanager configuration are the shipped ones with their times divided by FASTER. All faults happen
at once, each on an exporter with a `cluster` of its own, so that no alert of one fault inhibits or hides another's.
"""

import json
import os
import re
import shutil
import signal
import threading
import time
import urllib.parse
from contextlib import ExitStack

import pytest
import yaml

from helpers import exporters
from helpers.http_client import body, samples
from helpers.http_server import Handler, serve
from helpers.paths import DEBIAN, DEPLOY, RULES, tool
from helpers.processes import Process
from helpers.prometheus import listening, loaded_rules, prometheus
from helpers.waiting import until

FASTER = 20
DEADLINE_SECONDS = 400
# As the head of the rules recommends, divided by FASTER. Alertmanager takes an alert that was not sent again for four times
# the delay for resolved: longer than a restart of Prometheus takes, shorter than the ten minutes of a page that waits anew.
PROMETHEUS_FLAGS = ["--rules.alert.for-grace-period=3s", "--rules.alert.resend-delay=7s"]
TEMPLATES = b"/usr/share/prometheus/alertmanager"
WORKLOAD = "imds-e2e-workload"


def faster(duration):
    """A duration, divided by FASTER, but one second at least."""
    assert re.fullmatch(r"(\d+[smhd])+", duration), duration
    seconds = sum(int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))
    return f"{max(1, seconds // FASTER)}s"


def faster_rules(home):
    """The rules as Prometheus has loaded them from the shipped file, with their times divided."""
    groups = loaded_rules(home, RULES)
    for group in groups:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda window: f"[{faster(window[1])}]", rule["expr"])
            rule["expr"] = re.sub(r"offset (\w+)", lambda ago: f"offset {faster(ago[1])}", rule["expr"])
            # How long an outage lasts, and how long no poll has ended, in seconds.
            if re.search("outage_seconds|outage_since|last_attempt", rule["expr"]):
                rule["expr"] = re.sub(r"\b(90|120|420|600)\b", lambda seconds: str(int(seconds[1]) // FASTER), rule["expr"])
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = faster(rule[key])
    return {"groups": groups}


def faster_routes(receiver):
    config = yaml.safe_load((DEPLOY / "prometheus" / "alertmanager.yaml").read_text())
    for key in ("group_wait", "group_interval"):
        config["route"][key] = faster(config["route"][key])
    for target in config["receivers"]:
        for webhook in target["webhook_configs"]:
            webhook["url"] = f"{receiver}/{target['name']}"
    return config


def wait_for(what, condition):
    return until(condition, what, DEADLINE_SECONDS)


def intermittent(simulator, exporter):
    """Lets IMDS fail for six seconds and then answer three polls, again and again, until the function that is returned is
    called."""
    ended = threading.Event()

    def answered():
        return samples(exporter.url).get('imds_fetch_duration_seconds_count{outcome="success"}', 0)

    def play():
        while not ended.is_set():
            simulator.change('fault = "connect_refused"')
            ended.wait(6)
            before = answered()
            simulator.change('fault = "none"')
            wait_for("three polls that are answered", lambda: ended.is_set() or answered() >= before + 3)

    player = threading.Thread(target=play, daemon=True)
    player.start()

    def end():
        ended.set()
        player.join()
    return end


class Receiver(Handler):
    """Keeps the notifications in `self.server.received`: (receiver's name, alert)."""

    def do_POST(self):  # noqa: N802: the name is the base class's.
        for alert in json.loads(self.request_body())["alerts"]:
            self.server.received.append((self.path.strip("/"), alert))
        self.answer(b"")


class Proxy(Handler):
    """A proxy of an exporter: `self.server.metrics`, if set, is what it serves instead, and `self.server.more` is added."""

    def do_GET(self):  # noqa: N802
        is_metrics = self.path == "/metrics"
        text = is_metrics and self.server.metrics or body(self.server.exporter + self.path)
        text += self.server.more if is_metrics else ""
        self.answer(text.encode(), "text/plain; version=0.0.4" if is_metrics else "text/html")


def alertmanager_in(home):
    """Debian's Alertmanager looks for its templates in the folder of the installed package. This copy looks in its
    working directory: the path in the program is replaced by one of the same length."""
    original = tool("prometheus-alertmanager")
    program = home / original.name
    program.write_bytes(original.read_bytes().replace(TEMPLATES, b"./" * (len(TEMPLATES) // 2)))
    program.chmod(0o755)
    for template in (DEBIAN / TEMPLATES.decode().lstrip("/")).glob("*.tmpl"):
        shutil.copy(template, home)
    return program


class Monitoring:
    """Prometheus, Alertmanager and the receiver, and the exporters that they watch."""

    def __init__(self, home, stack):
        self.home, self.stack = home, stack
        self.targets, self.runbooks = [], {}
        # What had been received when all alerts had ended.
        self.at_last = None
        self.simulators, self.exporters, self.environments = {}, {}, {}
        self.receiver = stack.enter_context(serve(Receiver, received=[]))

    @property
    def received(self):
        return list(self.receiver.received if self.at_last is None else self.at_last)

    def simulator(self, name):
        self.simulators[name] = self.stack.enter_context(exporters.simulator())
        return self.simulators[name]

    def start_exporter(self, name, endpoint, address="127.0.0.1:0", **more):
        self.environments[name] = more
        self.exporters[name] = self.stack.enter_context(exporters.exporter(endpoint, address, **more))
        return self.exporters[name]

    def proxied(self, name):
        """An exporter behind a proxy, which is the target."""
        behind = self.start_exporter(name, self.simulator(name).endpoint)
        proxy = self.stack.enter_context(serve(Proxy, exporter=behind.url, metrics=None, more=""))
        self.target(name, proxy.address)
        return behind, proxy

    def exporter(self, name, cluster=None, fault="none", **more):
        simulator = self.simulators.get(cluster) or self.simulator(cluster or name)
        simulator.change(f'fault = "{fault}"')
        self.target(cluster or name, self.start_exporter(name, simulator.endpoint, **more).address, node=name)

    def restart(self, name, cluster=None):
        """An orderly stop and another start."""
        old = self.exporters[name]
        old.process.stop()
        self.start_exporter(name, self.simulators[cluster or name].endpoint, old.address, **self.environments[name])

    def target(self, cluster, address, **labels):
        self.targets.append({"targets": [address], "labels": {"cluster": cluster, **labels}})

    def start(self):
        configuration = self.home / "alertmanager.json"
        configuration.write_text(json.dumps(faster_routes(self.receiver.url)))
        alertmanager = self.stack.enter_context(Process([
            alertmanager_in(self.home), f"--config.file={configuration}",
            f"--storage.path={self.home / 'alertmanager'}",
            "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
        ], cwd=self.home))
        self.alertmanager = listening(alertmanager)
        (self.home / "rules.json").write_text(json.dumps(faster_rules(self.home)))
        self.start_prometheus()

    def start_prometheus(self):
        self.prometheus = self.stack.enter_context(prometheus(self.home, {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.json"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager]}]}]},
            # No name by which the rules know an exporter.
            "scrape_configs": [{"job_name": "kubernetes-pods", "static_configs": self.targets}],
        }, *PROMETHEUS_FLAGS))

    def restart_prometheus(self, meanwhile):
        """An orderly stop, and a start with the same data; `meanwhile` is called in between."""
        self.prometheus.process.stop()
        meanwhile()
        self.start_prometheus()

    def notifications(self, status):
        """(receiver, cluster, alert) of each notification with this status, as often as it arrived."""
        return [(receiver, alert["labels"]["cluster"], alert["labels"]["alertname"])
                for receiver, alert in self.received if alert["status"] == status]

    def can_be_read(self, alert):
        """Whether the runbook link leads to an exporter that was not killed just then, and to a section that exists: that of
        a reason is made up by a fake here."""
        page, anchor = alert["annotations"]["runbook_url"].split("#")
        return urllib.parse.urlsplit(page).netloc not in self.killed and not anchor.startswith("signed_call_")

    def read_runbooks(self):
        """Keeps the pages to which the links lead that have arrived."""
        urls = {alert["annotations"]["runbook_url"] for _, alert in self.received if self.can_be_read(alert)}
        self.runbooks |= {url: body(url.split("#")[0]) for url in urls - self.runbooks.keys()}

    def inhibited(self):
        """(cluster, alert) of what the Alertmanager holds back because of another alert."""
        alerts = json.loads(body(f"http://{self.alertmanager}/api/v2/alerts"))
        return {(alert["labels"]["cluster"], alert["labels"]["alertname"]) for alert in alerts
                if alert["status"]["inhibitedBy"]}


EXPECTED = {
    ("ticket", "refused", "ImdsCredentialsFetchFailing"),
    ("page", "refused", "ImdsCredentialsFetchFailing"),
    ("ticket", "no-role", "ImdsCredentialsFetchFailing"),
    ("ticket", "hop-limit", "ImdsCredentialsFetchFailing"),
    ("ticket", "optional", "ImdsV1Fallback"),
    ("page", "expired", "ImdsCredentialsExpired"),
    ("page", "rejected", "ImdsCredentialsRejected"),
    ("page", "stuck", "ImdsClientsStuck"),
    ("ticket", "stalled", "ImdsPollStalled"),
    ("ticket", "dead", "ImdsExporterDown"),
    ("page", "all-dead", "ImdsExportersDown"),
    ("ticket", "restarting", "ImdsExporterRestarting"),
    ("ticket", "died", "ImdsCredentialsFetchFailing"),
    ("page", "died", "ImdsCredentialsFetchFailing"),
    ("ticket", "died", "ImdsExporterDown"),
    ("page", "unreliable", "ImdsFetchUnreliable"),
    ("page", "fleet", "ImdsFleetOutage"),
}

KILLED = ("dead", "all-dead-0", "all-dead-1", "died")

STARTED = 'process_start_time_seconds{cluster="restarting"}'

INHIBITED = {
    ("stuck", "ImdsSuspectProcesses"),
    ("all-dead", "ImdsExporterDown"),
    ("fleet", "ImdsCredentialsFetchFailing"),
}

# Whether these arrive depends on the rhythm of the fault beside that of the scrapes, and, for what is inhibited, on whether a busy
# machine leaves out the few seconds by which the alert that inhibits it comes first.
POSSIBLE = {
    ("ticket", "unreliable", "ImdsCredentialsFetchFailing"),
    ("ticket", "unreliable", "ImdsFetchUnreliable"),
} | {("ticket", *inhibited) for inhibited in INHIBITED}

# Until the machine has been fine for an hour, and the exporter has not restarted for one.
STAYS = {("unreliable", "ImdsFetchUnreliable"), ("restarting", "ImdsExporterRestarting")}

KINDS = {"refused": "connect_refused", "no-role": "no_role", "hop-limit": "hop_limit", "died": "server_error"}

# Fixed before their critical band, so that the warning band is seen alone.
FIXED_EARLY = ("no-role", "hop-limit")

# Fixed while Prometheus does not run.
FIXED_UNSEEN = "refused"


@pytest.fixture
def monitoring(prepared):
    return prepared()


def prepare(folder, _):
    """Everything that arrived, after all faults have come and gone."""
    with ExitStack() as stack:
        monitoring = Monitoring(folder, stack)
        simulators, running = monitoring.simulators, monitoring.exporters
        for name in ("healthy", "refused", "no-role", "hop-limit", "optional", "expired", "dead", "died",
                     "restarting", "unreliable"):
            monitoring.exporter(name)
        for number in range(4):
            monitoring.exporter(f"fleet-{number}", "fleet")
        for number in range(2):
            monitoring.exporter(f"all-dead-{number}", "all-dead")
        behind, stalled = monitoring.proxied("stalled")
        _, rejected = monitoring.proxied("rejected")

        # IMDS fails from the start, which concerns no SDK here.
        monitoring.exporter("shadowed", fault="connect_refused", AWS_ROLE_ARN="arn:aws:iam::000000000000:role/made-up",
                            AWS_WEB_IDENTITY_TOKEN_FILE="/var/run/secrets/token")

        # Exporter and workload start in an outage: one workload is declared to start with its exporter, the other is not.
        monitoring.exporter("undeclared", fault="connect_refused", IMDS_EXPORTER_WATCH_PROCESSES=f"^{WORKLOAD}-undeclared ")
        monitoring.exporter("stuck", fault="connect_refused", IMDS_EXPORTER_WORKLOAD="starts-with-exporter",
                            IMDS_EXPORTER_WATCH_PROCESSES=f"^{WORKLOAD}-stuck ",
                            IMDS_EXPORTER_STATE_FILE=str(monitoring.home / "state"))
        workload = stack.enter_context(Process(["bash", "-c", f"exec -a {WORKLOAD}-stuck sleep 1000"], os.environ))
        for name in ("stuck", "undeclared"):
            wait_for("a failed poll", lambda: samples(running[name].url).get("imds_up") == 0)
            simulators[name].change('fault = "none"')

        monitoring.start()
        # One that no rule has seen answer is no exporter yet.
        wait_for("an evaluation after a scrape of every target",
                 lambda: len(monitoring.prometheus.query("imds:exporter:up == 1")) == len(monitoring.targets))
        wait_for("success", lambda: len(monitoring.prometheus.query("imds_up == 1")) == len(monitoring.targets) - 1)

        simulators["refused"].change('fault = "connect_refused"')
        simulators["no-role"].change('fault = "no_role"')
        simulators["hop-limit"].change('fault = "hop_limit"\nforget_tokens = true')
        simulators["optional"].change('fault = "hop_limit"\ntokens = "optional"')
        simulators["expired"].change('expires_in = "-5m"')
        simulators["fleet"].change('fault = "read_timeout"')
        simulators["died"].change('fault = "server_error"')
        for name in KILLED[:-1]:
            running[name].process.signal_group(signal.SIGKILL)
        stalled.metrics = behind.get("/metrics")
        rejected.more = 'imds_signed_call_failure_active{reason="invalid_token"} 1\n'
        stop_intermittent = intermittent(simulators["unreliable"], running["unreliable"])
        stack.callback(stop_intermittent)
        wait_for("a scrape of the failure before the exporter dies", lambda: monitoring.prometheus.query(
            'imds:exporter:failing{cluster="died"} == 1'))
        running["died"].process.signal_group(signal.SIGKILL)
        for number in range(1, 5):
            # Its start time has whole seconds.
            started = samples(monitoring.exporters["restarting"].url)["process_start_time_seconds"]
            wait_for("another second", lambda: time.time() > started + 2)
            monitoring.restart("restarting")
            wait_for(lambda: f"a scrape after restart {number}: {monitoring.prometheus.query(STARTED)}",
                     lambda: monitoring.prometheus.query(f"changes({STARTED}[2m]) >= {number}"))

        def fix(cluster):
            if cluster == "stalled":
                stalled.metrics = None
            elif cluster == "rejected":
                rejected.more = ""
            elif cluster == "unreliable":
                stop_intermittent()
            elif cluster == "dead":
                monitoring.restart("dead")
            elif cluster == "died":
                simulators["died"].change('fault = "none"')
                monitoring.restart("died")
            elif cluster == "all-dead":
                for number in range(2):
                    monitoring.restart(f"all-dead-{number}", "all-dead")
            elif cluster == "stuck":
                workload.signal_group(signal.SIGKILL)
                monitoring.restart("stuck")
            else:
                simulators[cluster].change('fault = "none"\nrotate = true\nlifetime = "6h34m"')

        def firing():
            return set(monitoring.notifications("firing"))

        for fixed in FIXED_EARLY:
            wait_for(fixed, lambda: fixed in {cluster for _, cluster, _ in firing()})
            fix(fixed)
        wait_for(lambda: f"notifications of {EXPECTED - firing()}",
                 lambda: firing() >= EXPECTED or firing() - POSSIBLE - EXPECTED)
        assert firing() - POSSIBLE == EXPECTED
        wait_for(lambda: f"inhibition of {INHIBITED - monitoring.inhibited()}",
                 lambda: monitoring.inhibited() >= INHIBITED)
        possible = {one[1:] for one in POSSIBLE} - INHIBITED
        lasting = {(cluster, alert) for _, cluster, alert in EXPECTED
                   if cluster not in (*FIXED_EARLY, FIXED_UNSEEN, "restarting")}

        def fix_unseen():
            fix(FIXED_UNSEEN)
            running[FIXED_UNSEEN].reach(up=True)

        monitoring.restart_prometheus(meanwhile=fix_unseen)
        restarted = time.time()

        def firing_again():
            fresh = monitoring.prometheus.query(f'timestamp(ALERTS{{alertstate="firing"}}) > {restarted}')
            return {(labels["cluster"], labels["alertname"]) for labels, _ in fresh}

        wait_for(lambda: f"{lasting - firing_again()} after a restart of Prometheus", lambda: firing_again() >= lasting)
        # In less than the five minutes for which Prometheus takes what was last recorded for present.
        wait_for("the end that was not seen",
                 lambda: not monitoring.prometheus.query(f'imds:machine:failing{{cluster="{FIXED_UNSEEN}"}} == 1'))
        alerts = json.loads(body(f"http://{monitoring.alertmanager}/api/v2/alerts"))
        monitoring.suspects = [one for one in alerts if one["labels"]["alertname"] == "ImdsSuspectProcesses"]
        monitoring.killed = {running[name].address for name in KILLED}
        monitoring.read_runbooks()
        for cluster in {expected[1] for expected in EXPECTED} - {*FIXED_EARLY, FIXED_UNSEEN, "restarting"}:
            fix(cluster)
        possible |= STAYS
        wait_for(lambda: f"all to resolve; resolved are {monitoring.notifications('resolved')}",
                 lambda: {one[1:] for one in monitoring.notifications("resolved")} >= {one[1:] for one in EXPECTED} - STAYS)
        # Not from ALERTS, where what fired before the restart counts for five minutes.
        wait_for("all alerts to end", lambda: not any(
            alert["state"] == "firing" and (alert["labels"]["cluster"], alert["labels"]["alertname"]) not in possible
            for alert in monitoring.prometheus.get("alerts")["alerts"]))
        monitoring.at_last = monitoring.received
        # The link of a fleet's alert may name another exporter later on.
        monitoring.read_runbooks()
        return monitoring


def test_exactly_the_expected_alerts_arrive_each_once(monitoring):
    arrived = [one for one in monitoring.notifications("firing") if one not in POSSIBLE]
    assert sorted(arrived) == sorted(EXPECTED)


def test_every_alert_is_resolved(monitoring):
    resolved = {one[1:] for one in monitoring.notifications("resolved")}
    assert resolved - {one[1:] for one in POSSIBLE} == {one[1:] for one in EXPECTED} - STAYS


def test_runbook_links_lead_to_existing_sections(monitoring):
    for _, alert in monitoring.received:
        url = alert["annotations"]["runbook_url"]
        page, anchor = url.split("#")
        if monitoring.can_be_read(alert):
            assert f'id="{anchor}"' in monitoring.runbooks[url]
        name, cluster = alert["labels"]["alertname"], alert["labels"]["cluster"]
        sections = {name, "signed_call_invalid_token"} if name == "ImdsCredentialsRejected" else {name}
        assert anchor in ({KINDS[cluster]} if name == "ImdsCredentialsFetchFailing" and cluster in KINDS else sections
                          | {"connect_refused"})


def test_the_runbook_link_of_a_dead_exporter_leads_to_another(monitoring):
    urls = {alert["annotations"]["runbook_url"] for _, alert in monitoring.received
            if alert["labels"]["alertname"] == "ImdsExporterDown" and alert["labels"]["cluster"] == "dead"}
    assert urls and monitoring.exporters["dead"].address not in {urllib.parse.urlsplit(url).netloc for url in urls}


def test_descriptions_are_rendered(monitoring):
    for _, alert in monitoring.received:
        text = alert["annotations"]["description"]
        assert "<no value>" not in text and "error" not in text.replace("server_error", ""), text
        assert ". Next: " in text
    [fleet] = {alert["annotations"]["description"] for _, alert in monitoring.received
               if alert["labels"]["alertname"] == "ImdsFleetOutage" and alert["status"] == "firing"}
    assert "read_timeout: " in fleet
    [fallback] = {alert["annotations"]["description"] for _, alert in monitoring.received
                  if alert["labels"]["alertname"] == "ImdsV1Fallback" and alert["status"] == "firing"}
    assert "its token request fails (hop_limit)" in fallback


def test_the_description_of_suspects_names_them(monitoring):
    [description] = {alert["annotations"]["description"] for alert in monitoring.suspects}
    assert re.search(r"\(sleep \d+(?: in the unit \S+| in the container \w{12})?(?: of the pod \S+)?\)", description)
