"""The alert rules against histories of exporters, evaluated by promtool.

Each case tells what happens and in which minutes which alerts fire. At every edge of every such span, just before and
just after, the whole set of firing alerts is compared: what is not named must be silent. Every case is played as it is
and once more with scrapes lost on the way, and lasting faults with a restart of the exporter in the middle.
"""

import json
from dataclasses import dataclass, field, replace

import pytest
import yaml

from history import MINUTE, STEP, Exporter, Workload, input_series, selector
from tools import RULES, promtool

TARGET = {"job": "imds-exporter", "instance": "10.0.0.1:10169", "cluster": "one", "namespace": "shop", "pod": "cart-0"}
POD = {"cluster": "one", "namespace": "shop", "pod": "cart-0"}


def other(**labels):
    return {**TARGET, **labels}


def dropped(labels, *names):
    return {key: value for key, value in labels.items() if key not in names}


WINDOW = 2 * STEP + 1


@dataclass
class Fires:
    """An alert that fires between two minutes; `slack` seconds are allowed at each.

    WINDOW is for what a window's edge decides: Prometheus 2 counts a sample on its far edge, Prometheus 3 does not.
    """

    alert: str
    severity: str
    start: float
    end: float
    labels: dict = field(default_factory=lambda: TARGET)
    slack: int = STEP

    def at(self, seconds):
        """True or False, or None where either will do."""
        for edge in (self.start, self.end):
            if abs(seconds - edge * MINUTE) < self.slack:
                return None
        return self.start * MINUTE <= seconds < self.end * MINUTE

    def sample(self):
        labels = {"alertname": self.alert, "severity": self.severity, **self.labels}
        return selector("", labels)


@dataclass
class Case:
    """What happens to whom for how long, and what fires."""

    name: str
    minutes: float
    targets: list
    fires: list
    restart: float | None = None  # a minute in which the exporters may restart without changing what fires
    disturbed: bool = True  # losing scrapes changes nothing
    ignored: str = ""  # a label whose value is not told


def failing(start, end, kind="connect_refused", step="token", critical=True, **labels):
    """What fires while fetches fail."""
    labels = {**other(**labels), "kind": kind, "step": step}
    bands = [Fires("ImdsCredentialsFetchFailing", "warning", start + 2, end + 5, labels)]
    if critical:
        bands.append(Fires("ImdsCredentialsFetchFailing", "critical", start + 10, end + 5, labels))
    return bands


def fleet(size, failing_ones, cluster):
    return [
        Exporter(other(cluster=cluster, instance=f"10.1.{cluster[-1]}.{n}:10169", pod=f"pod-{n}"),
                 fails=[(20, 29, "no_role", "role")] if n < failing_ones else [])
        for n in range(size)
    ]


def fleet_singles(failing_ones, cluster):
    return [
        alert for n in range(failing_ones)
        for alert in failing(20, 29, "no_role", "role", cluster=cluster, instance=f"10.1.{cluster[-1]}.{n}:10169",
                             pod=f"pod-{n}", critical=False)
    ]


WORKLOAD = {"job": "cart", "instance": "10.0.0.1:8000", **POD}
SUSPECT = {**TARGET, "workload_job": "cart", "workload_instance": "10.0.0.1:8000"}
HOST = dropped(TARGET, "namespace", "pod")

CASES = [
    Case("a healthy day with rotations, a restart, lost scrapes and a workload that restarts", 24 * 60, [
        Exporter(TARGET, restarts=[600], lost=[(300, 300.5), (900, 901)], expects="app", suspects=[(2000, 2001, 1)]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1"), keeps_state=False, restarts=[90, 91, 700]),
        Exporter(other(instance="10.0.0.3:10169", pod="cart-2"), interval=3600),
        Workload(WORKLOAD, 0, until=601), Workload({**WORKLOAD, "instance": "10.0.0.1:8001"}, 601),
    ], [], disturbed=False),
    Case("failures shorter than two minutes", 60, [
        Exporter(TARGET, fails=[(20, 21.7, "read_timeout", "role"), (40, 41.7, "connect_refused", "token")]),
    ], []),
    Case("the exporter dies and comes back", 60, [
        Exporter(TARGET, lost=[(20, 35)]), Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
    ], [Fires("ImdsExporterDown", "warning", 25, 40, slack=WINDOW)], disturbed=False),
    Case("a restart that takes two minutes", 40, [Exporter(TARGET, lost=[(20, 22)], restarts=[21])], []),
    Case("no exporter is a target any more", 60, [Exporter(TARGET, gone=[(20, 40)])],
         [Fires("ImdsExporterAbsent", "critical", 30, 40, {"job": "imds-exporter"})], disturbed=False),
    Case("no exporter was ever a target", 20, [Workload(WORKLOAD, 0)],
         [Fires("ImdsExporterAbsent", "critical", 10, 21, {"job": "imds-exporter"})], disturbed=False),
    Case("the job of a PodMonitor is known as well", 60, [
        Exporter(other(job="shop/imds-exporter"), lost=[(20, 35)]),
        Exporter(other(job="shop/imds-exporter", instance="10.0.0.2:10169", pod="cart-1"), stalls=[(20, 35)]),
    ], [Fires("ImdsExporterDown", "warning", 25, 40, other(job="shop/imds-exporter"), slack=WINDOW),
        Fires("ImdsPollStalled", "warning", 25, 45,
              other(job="shop/imds-exporter", instance="10.0.0.2:10169", pod="cart-1"), slack=WINDOW)],
        disturbed=False),
    Case("the poll loop hangs", 60, [Exporter(TARGET, stalls=[(20, 40)])],
         [Fires("ImdsPollStalled", "warning", 25, 50, slack=WINDOW)]),
    Case("the poll loop hangs until a restart", 60, [Exporter(TARGET, stalls=[(20, 40)], restarts=[40])],
         [Fires("ImdsPollStalled", "warning", 25, 50, slack=3 * STEP + 1)]),
    Case("the first poll never ends", 40, [Exporter(TARGET, stalls=[(0, 20)])],
         [Fires("ImdsPollStalled", "warning", 2, 30, slack=WINDOW)]),
    Case("the credentials cannot be fetched", 60, [Exporter(TARGET, fails=[(20, 35, "connect_refused", "token")])],
         failing(20, 35), restart=28),
    Case("kinds that take turns are one failure", 60, [
        Exporter(TARGET, fails=[(20 + n / 2, 20.5 + n / 2, ("hop_limit", "read_timeout")[n % 2], "token")
                                for n in range(30)]),
    ], [replace(alert, labels=dropped(alert.labels, "kind"), slack=WINDOW) for alert in failing(20, 35)],
        ignored="kind", disturbed=False),
    Case("the credentials end while they cannot be fetched", 440, [
        Exporter(TARGET, fails=[(20, 420, "no_role", "role")]),
    ], [
        *failing(20, 420, "no_role", "role"),
        Fires("ImdsClientsFailing", "critical", 346, 430, {**TARGET, "kind": "no_role", "step": "role"}),
        Fires("ImdsCredentialsExpired", "critical", 361, 427),
    ]),
    Case("a restart does not end the alert of failing clients", 430, [
        Exporter(TARGET, fails=[(20, 400, "server_error", "token")], restarts=[380]),
    ], [
        *failing(20, 400, "server_error"),
        Fires("ImdsClientsFailing", "critical", 346, 410, {**TARGET, "kind": "server_error", "step": "token"}),
        Fires("ImdsCredentialsExpired", "critical", 361, 390, slack=3 * MINUTE),
    ]),
    Case("IMDS stops renewing the document", 430, [Exporter(TARGET, rotates=[0, 405])], [
        Fires("ImdsRotationOverdue", "warning", 210, 410),
        Fires("ImdsRotationOverdue", "critical", 356, 410),
        Fires("ImdsCredentialsExpired", "critical", 391, 412),
    ], restart=300),
    Case("one missed rotation", 400, [Exporter(TARGET, rotates=[0, 120, 180, 240, 300, 360])], []),
    Case("short credentials of a proxy that renews them in time", 120, [
        Exporter(TARGET, rotates=range(-10, 121, 10), lifetime=15 * MINUTE),
    ], []),
    Case("an expired document", 60, [Exporter(TARGET, rotates=[-400, 30])], [
        Fires("ImdsCredentialsExpired", "critical", 1, 37),
        Fires("ImdsRotationOverdue", "warning", 15, 35),
        Fires("ImdsRotationOverdue", "critical", 5, 35),
    ], restart=25),
    Case("a client that was born in an outage, until the pod is replaced", 60, [
        Exporter(TARGET, fails=[(0, 8, "connect_refused", "token")], gone=[(30, 60)]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1"), starts=30),
    ], [*failing(0, 8, critical=False), Fires("ImdsClientsStuck", "critical", 13, 43, {**TARGET, "sdk": "boto3"},
                                             slack=WINDOW)],
        restart=20),
    Case("clients that were born healthy are not stuck after an outage", 60, [
        Exporter(TARGET, fails=[(20, 21, "connect_refused", "token")]),
    ], []),
    Case("suspect processes until they are restarted", 60, [Exporter(TARGET, suspects=[(20, 40, 2)])],
         [Fires("ImdsSuspectProcesses", "warning", 25, 47)], restart=30),
    Case("a workload in the pod started during the outage", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
        Workload(WORKLOAD, 19.5, until=40),  # before the last success, and within the allowance
        Workload({**WORKLOAD, "instance": "10.0.0.1:8001"}, 18),
        Workload({**WORKLOAD, "instance": "10.0.0.1:8002"}, 22),
        Workload({**WORKLOAD, "instance": "10.0.0.1:8003"}, 20.5, shows=("go_info",)),
        Workload({**WORKLOAD, "instance": "10.0.0.2:8000", "pod": "cart-1"}, 20.5),
        Workload({**WORKLOAD, "instance": "10.0.0.1:8000", "cluster": "two"}, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 26.5, 48, SUSPECT, slack=WINDOW)], restart=32),
    Case("a restart that forgets the outage does not end the alert", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")], keeps_state=False, restarts=[32]),
        Workload(WORKLOAD, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 26.5, 61, SUSPECT, slack=WINDOW)]),
    Case("a workload on the host started during the outage", 60, [
        Exporter(HOST, fails=[(20, 21.5, "connect_timeout", "token")]),
        Exporter({**HOST, "instance": "10.0.0.2:10169"}),
        Workload({"job": "cart", "instance": "10.0.0.1:8000", "cluster": "one"}, 20.5),
        Workload({"job": "cart", "instance": "10.0.0.11:8000", "cluster": "one"}, 20.5),
        Workload({"job": "cart", "instance": "10.0.0.2:8000", "cluster": "one"}, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 26.5, 61,
              {**HOST, "workload_job": "cart", "workload_instance": "10.0.0.1:8000", "host": "10.0.0.1"},
              slack=WINDOW)]),
    Case("an exporter that is scraped twice does not break the join", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")]),
        Exporter(other(job="shop/imds-exporter"), fails=[(20, 21.75, "connect_timeout", "token")]),
        Workload(WORKLOAD, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 27, 61, {**SUSPECT, "job": "shop/imds-exporter"},
              slack=WINDOW)], disturbed=False),
    Case("four outages in an hour", 200, [
        Exporter(TARGET, fails=[(20 + 9 * n, 21 + 9 * n, "read_timeout", "role") for n in range(4)]),
    ], [Fires("ImdsFlapping", "warning", 48, 95, slack=WINDOW)]),
    Case("three outages in an hour", 120, [
        Exporter(TARGET, fails=[(20 + 9 * n, 21 + 9 * n, "read_timeout", "role") for n in range(3)]),
    ], []),
    Case("one long outage is no flapping", 60, [Exporter(TARGET, fails=[(20, 35, "read_timeout", "role")])],
         failing(20, 35, "read_timeout", "role"), restart=25),
    Case("slow answers", 140, [Exporter(TARGET, slow=[(30, 60, 0.7)])],
         [Fires("ImdsFetchSlow", "warning", 41, 84, slack=90)], restart=55),
    Case("a slow answer now and then", 90, [Exporter(TARGET, slow=[(n, n + 0.25, 0.9) for n in range(30, 60, 5)])], []),
    Case("a clock that is off", 60, [Exporter(TARGET, skew=[(10, 20, -90), (20, 40, 270)])], [
        Fires("ImdsClockSkew", "warning", 15, 45), Fires("ImdsClockSkew", "critical", 25, 45),
    ], restart=30),
    Case("a clock that is a little off", 60, [Exporter(TARGET, skew=[(10, 50, -45)])], []),
    Case("another role", 90, [Exporter(TARGET, role=[(0, "app"), (30, "admin")])],
         [Fires("ImdsRoleChanged", "info", 30, 45, slack=WINDOW)]),
    Case("an unexpected role", 60, [
        Exporter(TARGET, expects="app", role=[(0, "admin"), (30, "app")]),
    ], [Fires("ImdsUnexpectedRole", "warning", 5, 35),
        Fires("ImdsRoleChanged", "info", 30, 45, slack=WINDOW)], restart=20),
    Case("a quarter of a fleet is not a fleet", 60, fleet(12, 3, "c1"), fleet_singles(3, "c1")),
    Case("more than a quarter of one fleet of two", 60, [*fleet(12, 4, "c1"), *fleet(4, 2, "c2")], [
        *fleet_singles(4, "c1"), *fleet_singles(2, "c2"),
        Fires("ImdsFleetOutage", "critical", 21, 44, {"cluster": "c1", "job": "imds-exporter"}),
    ], restart=25),
]


def disturb(case):
    """The same with every eleventh scrape lost, and the one before the last that each alert waits for."""
    before = [(alert.start - 0.75, alert.start - 0.25) for alert in case.fires if alert.start > 1]
    targets = [replace(target, lose_every=11 + n, lost=[*target.lost, *before])
               if isinstance(target, Exporter) else target for n, target in enumerate(case.targets)]
    fires = [replace(alert, slack=alert.slack + STEP + 1) for alert in case.fires]
    return replace(case, name=f"{case.name}, with lost scrapes", targets=targets, fires=fires)


def restarted(case):
    """The same with a restart of every exporter in the middle."""
    targets = [replace(target, restarts=[*target.restarts, case.restart]) if isinstance(target, Exporter) else target
               for target in case.targets]
    return replace(case, name=f"{case.name}, with a restart", targets=targets)


ALL = [*CASES, *[disturb(case) for case in CASES if case.disturbed],
       *[restarted(case) for case in CASES if case.restart is not None]]


def promtool_test(case):
    """The case as one entry of a promtool test file."""
    edges = {edge * MINUTE for alert in case.fires for edge in (alert.start, alert.end)}
    slacks = {alert.slack for alert in case.fires} or {STEP}
    moments = {moment for edge in edges for slack in slacks for moment in (edge - slack, edge + slack)}
    moments |= {moment for moment in range(0, int(case.minutes * MINUTE), 10 * MINUTE)}
    expr = 'max without (%s) (ALERTS{alertstate="firing"})' % ", ".join(["alertstate", *case.ignored.split()])
    checks = []
    for moment in sorted(m for m in moments if 0 <= m <= case.minutes * MINUTE):
        told = [(alert, alert.at(moment)) for alert in case.fires]
        if any(state is None for _, state in told):
            continue
        samples = [{"labels": alert.sample(), "value": 1} for alert, state in told if state]
        checks.append({"expr": expr, "eval_time": f"{int(moment)}s", "exp_samples": samples})
    covered = {alert.alert + alert.severity for alert in case.fires
               for check in checks if alert.sample() in [sample["labels"] for sample in check["exp_samples"]]}
    assert covered == {alert.alert + alert.severity for alert in case.fires}, "a case must see its alerts fire"
    return {"name": case.name, "interval": f"{STEP}s", "input_series": input_series(case.targets, case.minutes),
            "promql_expr_test": checks}


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_alerts_fire_when_they_should_and_only_then(case, tmp_path):
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({
        "rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s", "tests": [promtool_test(case)],
    }))
    result = promtool("test", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_alert_grows_faster_than_the_targets(tmp_path):
    """As many exporters and workloads on one host and in one pod as tempt the joins to multiply."""
    size = 30
    one_pod = [{**TARGET, "instance": f"10.0.0.1:{20000 + n}"} for n in range(size)]
    born = [{**WORKLOAD, "instance": f"10.0.0.1:{30000 + n}"} for n in range(size)]
    one_host = [dropped(labels, "namespace", "pod") for labels in one_pod]
    hosted = [dropped(labels, "namespace", "pod") for labels in born]
    gap = [(4, 5.5, "connect_refused", "token")]
    kinds = [(8 + n / 2, 8.5 + n / 2, ("hop_limit", "read_timeout")[n % 2], "token") for n in range(30)]
    targets = [
        *(Exporter(labels, fails=[*gap, *kinds], rotates=[-400]) for labels in one_pod),
        *(Exporter({**labels, "job": "shop/imds-exporter"}, fails=gap, skew=[(0, 30, 270)]) for labels in one_host),
        *(Workload(labels, 4.5) for labels in [*born, *hosted]),
    ]
    count = "count without (instance, workload_instance, kind, step) (ALERTS)"
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s", "tests": [{
        "interval": f"{STEP}s", "input_series": input_series(targets, 20),
        "promql_expr_test": [
            {"expr": f"{count} > {2 * size}", "eval_time": f"{minute}m"} for minute in range(1, 20)
        ] + [
            {"expr": f'count(ALERTS{{alertname="{alert}", severity="{severity}"}}) > {expected - 1}',
             "eval_time": "19m", "exp_samples": [{"labels": "{}", "value": expected}]}
            for alert, severity, expected in [
                ("ImdsClientsFailing", "critical", size),
                ("ImdsClockSkew", "critical", size),
                ("ImdsWorkloadStartedDuringOutage", "warning", 2 * size),
            ]
        ],
    }]}))
    result = promtool("test", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_case_in_which_it_fires():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    written = {(rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"]
               if "alert" in rule}
    assert {(alert.alert, alert.severity) for case in CASES for alert in case.fires} == written
