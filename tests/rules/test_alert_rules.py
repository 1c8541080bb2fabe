"""The alert rules on the series of exporters that something happens to, evaluated by promtool.

A case says what happens, and which alerts fire in which minutes. Just before and just after the start and the end of
each alert, the whole set of firing alerts is compared: an alert that is not named must not fire. Cases run again with
lost scrapes, where the SDKs do not ask IMDS, and those with a lasting fault with a restart of the exporter during the fault.
"""

import itertools
import json
import os
import re
from dataclasses import dataclass, field, replace

import pytest

from evaluation import GROUPS_IN_ORDER, Story, alerts_of, notifications
from exporter_model import MINUTE, STEP, Exporter, Given, Workload, input_series
from helpers.alert_rules import EVERY_ALERT
from helpers.paths import RULES
from helpers.prometheus import PROMTOOLS, loaded_rules, promtool
from kubernetes_model import Pod, pod
from test_scrape_examples import example

TARGET = {"job": "imds-exporter", "instance": "10.0.0.1:10169", "cluster": "one", "namespace": "shop", "pod": "cart-0"}
POD = {"cluster": "one", "namespace": "shop", "pod": "cart-0"}


def other(**labels):
    return {**TARGET, **labels}


def dropped(labels, *names):
    return {key: value for key, value in labels.items() if key not in names}


WINDOW = 2 * STEP + 1


# These are about a container or a program.
NOT_OF_EXPORTERS = {"ImdsContainersStartedDuringOutage", "ImdsBoto3CallsWithoutCredentials"}
# These are about a machine, whichever exporters run there.
OF_MACHINES = {"ImdsCredentialsFetchFailing", "ImdsFetchUnreliable", "ImdsClientsFailing", "ImdsCredentialsExpired",
               "ImdsRotationOverdue", "ImdsClockSkew"}


def machine(labels):
    """The name by which the rules know the machine of a target."""
    return labels.get("node") or re.fullmatch(r"(\[.+\]|[^]:[]+)(?::[0-9]+)?|(.+)", labels["instance"]).expand(r"\1\2")


@dataclass
class Fires:
    """An alert that fires from one minute to another, give or take `slack` seconds; `labels` are those of the target.

    WINDOW is for alerts that a sample at the far end of a window decides: Prometheus 2 counts it, 3 does not.
    """

    alert: str
    severity: str
    start: float
    end: float
    labels: dict = field(default_factory=lambda: TARGET)
    slack: int = STEP

    def at(self, seconds, tolerance=0):
        """Whether it fires; None where both are right."""
        for edge in (self.start, self.end):
            if abs(seconds - edge * MINUTE) < self.slack + tolerance:
                return None
        return self.start * MINUTE <= seconds < self.end * MINUTE

    def labelled(self):
        """The labels of the alert."""
        labels = self.labels
        if self.alert in OF_MACHINES:
            labels = {key: labels[key] for key in ("cluster", "explained_by") if key in labels} | {"machine": machine(labels)}
        elif "instance" in labels and "workload_job" not in labels and self.alert not in NOT_OF_EXPORTERS:
            labels = {**labels, "machine": machine(labels)}
        return {"alertname": self.alert, "severity": self.severity, **labels}


@dataclass
class Case:
    """What happens to these targets in so many minutes, and what fires."""

    name: str
    minutes: float
    targets: list
    fires: list
    restart: float | None = None  # a minute at which a restart of the exporters changes nothing
    lossy: bool = True  # lost scrapes change nothing
    unseen: list = field(default_factory=list)  # (from, to): Prometheus does not run
    pages: list | None = None  # the critical alerts that the Alertmanager notifies, in their order
    near: tuple = ()  # the alerts that it comes close to and that do not fire


def failing(start, end, critical=True, explained=False, **labels):
    """What fires while fetches fail; it is inhibited where an outage of the fleet explains the failure."""
    labels = {**other(**labels), **({"explained_by": "ImdsFleetOutage"} if explained else {})}
    bands = [Fires("ImdsCredentialsFetchFailing", "warning", start + 2, end + 5, labels)]
    if critical:
        bands.append(Fires("ImdsCredentialsFetchFailing", "critical", start + 10, end + 10, labels))
    return bands


def fleet(size, number_failing, cluster):
    return [
        Exporter(other(cluster=cluster, instance=f"10.1.{cluster[-1]}.{n}:10169", pod=f"pod-{n}"),
                 fails=[(20, 29, "no_role", "role")] if n < number_failing else [])
        for n in range(size)
    ]


def shadowed(exporters):
    """Others like these, beside which no SDK asks IMDS."""
    return [replace(one, labels={**one.labels, "instance": f"other-{one.labels['instance']}"}, shadowed="container")
            for one in exporters]


def alerts_of_single_exporters(number_failing, cluster, explained=False):
    return [
        alert for n in range(number_failing)
        for alert in failing(20, 29, cluster=cluster, explained=explained, instance=f"10.1.{cluster[-1]}.{n}:10169",
                             pod=f"pod-{n}", critical=False)
    ]


MARKED = {"imds_exporter_sdk": "boto3"}
WORKLOAD = {"job": "cart", "instance": "10.0.0.1:8000", **POD, **MARKED}
SUSPECT = {**TARGET, **MARKED, "workload_job": "cart", "workload_instance": "10.0.0.1:8000"}
HOST = dropped(TARGET, "namespace", "pod")
ELSEWHERE = {**HOST, "instance": "10.0.0.9:10169"}

CASES = [
    Case("healthy hours with rotations, a restart, lost scrapes and a workload that restarts", 7 * 60, [
        Exporter(TARGET, restarts=[200], lost=[(100, 100.5), (300, 301)], expects="app", watches=True, processes=[(-5, 200), (201, 2000)]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1"), keeps_state=False, restarts=[90, 91, 250]),
        Exporter(other(instance="10.0.0.3:10169", pod="cart-2"), interval=3600),
        Workload(WORKLOAD, 0, until=201), Workload({**WORKLOAD, "instance": "10.0.0.1:8001"}, 201),
    ], [], lossy=False),
    Case("failures shorter than two minutes", 60, [
        Exporter(TARGET, fails=[(20, 21.7, "read_timeout", "role"), (40, 41.7, "connect_refused", "token")]),
    ], [], near=("ImdsCredentialsFetchFailing",)),
    Case("the exporter dies and comes back", 60, [
        Exporter(TARGET, lost=[(20, 35)]), Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
    ], [Fires("ImdsExporterDown", "warning", 25, 40, slack=WINDOW)], lossy=False),
    Case("a restart that takes two minutes", 40, [Exporter(TARGET, lost=[(20, 22)], restarts=[21])], []),
    Case("all exporters vanish from the targets", 60, [Exporter(TARGET, absent=[(20, 40)]), Workload(WORKLOAD, 0)],
         [Fires("ImdsExporterAbsent", "critical", 30, 40, {"cluster": "one"})], lossy=False),
    Case("no exporter has ever been a target", 20, [Workload(WORKLOAD, 0)], [], lossy=False),
    Case("the job name of a PodMonitor", 60, [
        Exporter(other(job="shop/imds-exporter"), lost=[(20, 35)]),
        Exporter(other(job="shop/imds-exporter", instance="10.0.0.2:10169", pod="cart-1"), stalls=[(20, 35)]),
    ], [Fires("ImdsExporterDown", "warning", 25, 40, other(job="shop/imds-exporter"), slack=WINDOW),
        Fires("ImdsPollStalled", "warning", 27, 45,
              other(job="shop/imds-exporter", instance="10.0.0.2:10169", pod="cart-1"), slack=WINDOW)],
        lossy=False),
    Case("the poll loop hangs", 60, [Exporter(TARGET, stalls=[(20, 40)])],
         [Fires("ImdsPollStalled", "warning", 27, 50, slack=WINDOW)]),
    Case("the poll loop hangs until a restart", 60, [Exporter(TARGET, stalls=[(20, 40)], restarts=[40])],
         [Fires("ImdsPollStalled", "warning", 27, 50, slack=3 * STEP + 1)]),
    Case("the first poll never ends", 40, [Exporter(TARGET, stalls=[(0, 20)])],
         [Fires("ImdsPollStalled", "warning", 3, 30, slack=WINDOW)]),
    Case("the credentials cannot be fetched", 60, [Exporter(TARGET, fails=[(20, 35, "connect_refused", "token")])],
         failing(20, 35), restart=28),
    Case("alternating kinds are one failure", 60, [
        Exporter(TARGET, fails=[(20 + n / 2, 20.5 + n / 2, ("hop_limit", "read_timeout")[n % 2], "token")
                                for n in range(30)]),
    ], failing(20, 35), restart=28),
    Case("a fault that starts as one kind, becomes another and ends as a third", 90, [
        Exporter(TARGET, fails=[(20, 28, "connect_timeout", "token"), (28, 28.5, "throttled", "role"),
                                (28.5, 50, "server_error", "credentials")]),
    ], failing(20, 50), restart=45),
    Case("three kinds in rotation every six minutes", 120, [
        Exporter(TARGET, fails=[(20 + 6 * n, 26 + 6 * n, ("hop_limit", "read_timeout", "no_role")[n % 3], "token")
                                for n in range(12)]),
    ], failing(20, 92), restart=60),
    # Of shorter lifetimes than those of AWS, which would only take time.
    Case("the credentials expire while they cannot be fetched", 160, [
        Exporter(TARGET, lifetime=110 * MINUTE, fails=[(20, 140, "server_error", "role")]),
    ], [*failing(20, 140), Fires("ImdsClientsFailing", "critical", 66, 150)]),
    Case("a restart does not resolve the alert on failing clients", 160, [
        Exporter(TARGET, lifetime=110 * MINUTE, fails=[(20, 130, "server_error", "token")], restarts=[115]),
    ], [*failing(20, 130), Fires("ImdsClientsFailing", "critical", 66, 140)]),
    Case("a restart without a state file does not resolve the alert on failing clients either", 160, [
        Exporter(TARGET, lifetime=110 * MINUTE, fails=[(20, 130, "server_error", "token")], restarts=[115], keeps_state=False),
    ], [*failing(20, 130), Fires("ImdsClientsFailing", "critical", 66, 140)]),
    Case("a restart in an outage, without a state file, before the credentials expire", 160, [
        Exporter(TARGET, lifetime=110 * MINUTE, fails=[(20, 130, "server_error", "token")], restarts=[60], keeps_state=False),
    ], [*failing(20, 130), Fires("ImdsClientsFailing", "critical", 66, 140)]),
    Case("the exporter dies in an outage that lasts, and its target is removed at last", 160, [
        Exporter(TARGET, lifetime=110 * MINUTE, fails=[(20, 200, "server_error", "token")], dead=[(40, 1000)],
                 absent=[(130, 160)]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
    ], [
        *failing(20, 130), Fires("ImdsClientsFailing", "critical", 66, 140),
        Fires("ImdsExporterDown", "warning", 45, 135, slack=WINDOW),
    ], lossy=False),
    Case("IMDS stops renewing the document", 430, [Exporter(TARGET, rotates=[0, 405])], [
        Fires("ImdsRotationOverdue", "warning", 210, 395),
        Fires("ImdsRotationOverdue", "critical", 355, 395),
        Fires("ImdsCredentialsExpired", "critical", 391, 412),
    ], restart=300),
    Case("one missed rotation", 400, [Exporter(TARGET, rotates=[0, 120, 180, 240, 300, 360])], [], near=("ImdsRotationOverdue",)),
    Case("short-lived credentials that a proxy renews in time", 120, [
        Exporter(TARGET, rotates=range(-10, 121, 10), lifetime=15 * MINUTE),
    ], []),
    Case("an expired document", 60, [Exporter(TARGET, rotates=[-400, 30])], [
        Fires("ImdsCredentialsExpired", "critical", 1, 37),
    ], restart=25),
    Case("a workload that started in an outage with its sidecar, until the pod is replaced", 60, [
        Exporter(TARGET, workload="starts-with-exporter", fails=[(0, 8, "connect_refused", "token")],
                 absent=[(30, 60)]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1"), workload="starts-with-exporter", starts=30),
    ], [*failing(0, 8, critical=False), Fires("ImdsClientsStuck", "critical", 13, 40, TARGET, slack=WINDOW)],
        restart=20),
    Case("a workload that started in an outage with its sidecar, until the exporter stops in an orderly way", 60, [
        Exporter(TARGET, workload="starts-with-exporter", fails=[(0, 8, "connect_refused", "token")], stops=[30]),
    ], [*failing(0, 8, critical=False), Fires("ImdsClientsStuck", "critical", 13, 40, TARGET, slack=WINDOW)],
        restart=20),
    Case("no workload is declared: nobody is stuck after an outage at the start", 60, [
        Exporter(TARGET, fails=[(0, 8, "connect_refused", "token")], stops=[30]),
    ], failing(0, 8, critical=False), restart=20),
    Case("a workload that is held back is not stuck after an outage at the start", 60, [
        Exporter(TARGET, workload="starts-when-ready", fails=[(0, 8, "connect_refused", "token")], restarts=[4]),
    ], failing(0, 8, critical=False), restart=20),
    Case("clients that were created before an outage are not stuck after it", 60, [
        Exporter(TARGET, workload="starts-with-exporter", fails=[(20, 21, "connect_refused", "token")]),
    ], []),
    Case("suspect processes until they are restarted", 60, [
        Exporter(TARGET, watches=True, processes=[(19, 40), (19.5, 38), (22, 50)],
                 fails=[(18.5, 20, "connect_refused", "token")]),
    ], [Fires("ImdsSuspectProcesses", "warning", 27, 47)], restart=30),
    Case("a workload in the pod started during the outage", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
        Workload(WORKLOAD, 19.5, until=40),  # before the last success, but within the tolerance
        Workload({**WORKLOAD, "instance": "10.0.0.1:8001"}, 18),
        Workload({**WORKLOAD, "instance": "10.0.0.1:8002"}, 22),
        Workload(dropped({**WORKLOAD, "instance": "10.0.0.1:8003"}, *MARKED), 20.5),
        Workload({**WORKLOAD, "instance": "10.0.0.2:8000", "pod": "cart-1"}, 20.5),
        Workload({**WORKLOAD, "instance": "10.0.0.1:8000", "cluster": "two"}, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 28.5, 51, SUSPECT, slack=WINDOW)], restart=32),
    Case("a restart that forgets the outage does not resolve the alert", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")], keeps_state=False, restarts=[32]),
        Workload(WORKLOAD, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 28.5, 61, SUSPECT, slack=WINDOW)]),
    Case("a workload on the host started during the outage", 60, [
        Exporter(HOST, fails=[(20, 21.5, "connect_timeout", "token")]),
        Exporter({**HOST, "instance": "10.0.0.2:10169"}),
        Workload({**MARKED, "job": "cart", "instance": "10.0.0.1:8000", "cluster": "one"}, 20.5),
        Workload({**MARKED, "job": "cart", "instance": "10.0.0.11:8000", "cluster": "one"}, 20.5),
        Workload({**MARKED, "job": "cart", "instance": "10.0.0.2:8000", "cluster": "one"}, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 28.5, 61,
              {**HOST, **MARKED, "workload_job": "cart", "workload_instance": "10.0.0.1:8000", "host": "10.0.0.1"},
              slack=WINDOW)]),
    Case("an exporter that is scraped twice does not break the join", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")]),
        Exporter(other(job="shop/imds-exporter"), fails=[(20, 21.75, "connect_timeout", "token")]),
        Workload(WORKLOAD, 20.5),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 29, 61, {**SUSPECT, "job": "shop/imds-exporter"},
              slack=WINDOW)], lossy=False),
    Case("the outage of an exporter beside which no SDK asks IMDS does not count for the join", 60, [
        *(exporter for labels in (TARGET, ELSEWHERE) for exporter in (
            Exporter(labels, fails=[(10, 11.5, "connect_timeout", "token")]),
            Exporter({**labels, "job": "shop/imds-exporter"}, shadowed="environment",
                     fails=[(20, 21.5, "connect_timeout", "token")]))),
        Workload(WORKLOAD, 10.5),
        Workload({**MARKED, "job": "cart", "instance": "10.0.0.9:8000", "cluster": "one"}, 10.5),
    ], [
        Fires("ImdsWorkloadStartedDuringOutage", "warning", 18.5, 61, SUSPECT, slack=WINDOW),
        Fires("ImdsWorkloadStartedDuringOutage", "warning", 18.5, 61,
              {**ELSEWHERE, **MARKED, "workload_job": "cart", "workload_instance": "10.0.0.9:8000", "host": "10.0.0.9"},
              slack=WINDOW),
    ], lossy=False),
    Case("four outages in an hour", 200, [
        Exporter(TARGET, fails=[(20 + 9 * n, 21 + 9 * n, "read_timeout", "role") for n in range(4)]),
    ], [Fires("ImdsFetchUnreliable", "warning", 48, 95, slack=WINDOW)]),
    Case("three outages in an hour", 120, [
        Exporter(TARGET, fails=[(20 + 9 * n, 21 + 9 * n, "read_timeout", "role") for n in range(3)]),
    ], [], near=("ImdsFetchUnreliable",)),
    Case("slow answers", 140, [Exporter(TARGET, slow=[(30, 60, 0.7)])],
         [Fires("ImdsFetchSlow", "warning", 41, 84, slack=90)], restart=55),
    Case("an occasional slow answer", 90, [Exporter(TARGET, slow=[(n, n + 0.25, 0.9) for n in range(30, 60, 5)])], [],
         near=("ImdsFetchSlow",)),
    Case("IMDSv1 only, for another reason each minute", 90, [
        Exporter(TARGET, fallback=[(20 + n, 21 + n, ("hop_limit", "read_timeout")[n % 2]) for n in range(30)],
                 slow=[(20, 50, 1.1)]),
    ], [Fires("ImdsV1Fallback", "warning", 35, 55, slack=WINDOW)], restart=30),
    Case("IMDSv1 only for less than 12 minutes", 90, [Exporter(TARGET, fallback=[(20, 31.5, "imds_disabled")])], [],
         near=("ImdsV1Fallback",)),
    Case("a wrong clock", 60, [Exporter(TARGET, skew=[(10, 20, -90), (20, 40, 270)])], [
        Fires("ImdsClockSkew", "warning", 15, 45), Fires("ImdsClockSkew", "critical", 25, 46),
    ], restart=30),
    Case("a slightly wrong clock", 60, [Exporter(TARGET, skew=[(10, 50, -45)])], [], near=("ImdsClockSkew",)),
    Case("the role changes", 90, [Exporter(TARGET, role=[(0, "app"), (30, "admin")])], []),
    Case("an unexpected role", 60, [
        Exporter(TARGET, expects="app", role=[(0, "admin"), (30, "app")]),
    ], [Fires("ImdsUnexpectedRole", "warning", 5, 35)], restart=20),
    Case("less than a quarter of a fleet fails", 60, fleet(13, 3, "c1"), alerts_of_single_exporters(3, "c1"),
         near=("ImdsFleetOutage",)),
    Case("a quarter of a fleet fails, one zone of four", 60, fleet(12, 3, "c1"), [
        *alerts_of_single_exporters(3, "c1", explained=True), Fires("ImdsFleetOutage", "critical", 21, 44, {"cluster": "c1"})]),
    Case("more than a quarter of one of two fleets fails", 60, [*fleet(12, 4, "c1"), *fleet(4, 2, "c2")], [
        *alerts_of_single_exporters(4, "c1", explained=True), *alerts_of_single_exporters(2, "c2"),
        Fires("ImdsFleetOutage", "critical", 21, 44, {"cluster": "c1"}),
    ], restart=25),
    Case("9.5 minutes of failure and half a minute without, for three hours", 260, [
        Exporter(TARGET, fails=[(20 + 10 * n, 29.5 + 10 * n, "connect_timeout", "token") for n in range(18)]),
    ], [
        Fires("ImdsCredentialsFetchFailing", "warning", 22, 204.5),
        Fires("ImdsFetchUnreliable", "critical", 32, 260, slack=2 * STEP),
        Fires("ImdsFetchUnreliable", "warning", 51.5, 235, slack=4 * STEP),
    ], lossy=False),
    Case("200 s of failure in every 240 s", 180, [
        Exporter(TARGET, fails=[(20 + 4 * n, 20 + 4 * n + 10 / 3, "connect_timeout", "token") for n in range(20)]),
    ], [
        Fires("ImdsCredentialsFetchFailing", "warning", 22.5, 104.5, slack=2 * STEP),
        Fires("ImdsFetchUnreliable", "critical", 34, 159.5, slack=2 * STEP),
        Fires("ImdsFetchUnreliable", "warning", 34, 159, slack=4 * STEP),
    ], lossy=False),
    Case("outages of half a minute every five minutes", 220, [
        Exporter(TARGET, fails=[(20 + 5 * n, 20.5 + 5 * n, "connect_timeout", "token") for n in range(24)]),
    ], [Fires("ImdsFetchUnreliable", "warning", 36.5, 195, slack=4 * STEP)], lossy=False),
    Case("intermittent failure that becomes a long outage", 140, [
        Exporter(TARGET, fails=[*((20 + 4 * n, 23 + 4 * n, "connect_timeout", "token") for n in range(5)),
                                (40, 70, "server_error", "role")]),
    ], [
        Fires("ImdsCredentialsFetchFailing", "warning", 22, 75), Fires("ImdsCredentialsFetchFailing", "critical", 50, 80),
        Fires("ImdsFetchUnreliable", "critical", 34, 130, slack=4 * STEP),
        Fires("ImdsFetchUnreliable", "warning", 34, 103, slack=4 * STEP),
    ], lossy=False),
    Case("a short outage and a long one ten minutes after it", 110, [
        Exporter(TARGET, fails=[(20, 22.5, "server_error", "role"), (32, 62, "server_error", "role")]),
    ], [
        Fires("ImdsCredentialsFetchFailing", "warning", 22, 27.5), Fires("ImdsCredentialsFetchFailing", "warning", 34, 67),
        Fires("ImdsCredentialsFetchFailing", "critical", 42, 72),
    ], lossy=False),
    Case("a long outage and a short one after it", 120, [
        Exporter(TARGET, fails=[(20, 40, "server_error", "role"), (43, 44, "server_error", "role")]),
    ], failing(20, 44), lossy=False),
    Case("a fault of one machine that runs four exporters", 60, [
        Exporter(other(instance=f"10.0.{node}.{n}:10169", pod=f"pod-{node}-{n}", node=f"node-{node}"),
                 fails=[(20, 21.7, "no_role", "role")] if node == 0 else [])
        for node in range(3) for n in range(4)
    ], []),
    Case("machines that are told by the host of their address", 60, [
        *(Exporter(other(instance=instance), fails=[(20, 21.7, "no_role", "role")]) for instance in
          ("[fd00::1]:10169", "[fd00::1]:10170", "[fd00::1]", "node-a:10169", "node-a:10170", "node-a")),
        *(Exporter(other(instance=instance)) for instance in ("[fd00::2]:10169", "node-b", "fd00::3", "fd00::4")),
    ], []),
    Case("many machines that are told by the host of their address", 60, [
        *(Exporter(other(instance=instance), fails=[(20, 21.7, "no_role", "role")]) for instance in
          ("[fd00::1]:10169", "fd00::2", "node-a", "10.0.0.1:10169")),
    # Not with lost scrapes: of a fault that is hardly longer than the wait, they can hide enough.
    ], [Fires("ImdsFleetOutage", "critical", 21, 36.7, {"cluster": "one"}, slack=2 * STEP)], lossy=False),
    Case("an outage of the fleet, and a fault that began before", 100, [
        Exporter(other(instance="10.1.0.9:10169", pod="pod-9"), fails=[(8, 60, "imds_disabled", "token")]),
        *(Exporter(other(instance=f"10.1.0.{n}:10169", pod=f"pod-{n}"),
                   fails=[(20 + n, 45, "no_role", "role")] if n < 4 else []) for n in range(8)),
    ], [
        *failing(8, 60, instance="10.1.0.9:10169", pod="pod-9"),
        *(alert for n in range(4) for alert in failing(20 + n, 45, explained=True,
                                                       instance=f"10.1.0.{n}:10169", pod=f"pod-{n}")),
        Fires("ImdsFleetOutage", "critical", 22, 60, {"cluster": "one"}, slack=3 * STEP),
    ], lossy=False),
    Case("one zone of three is out", 60, [
        Exporter(other(instance=f"10.{zone}.0.{n}:10169", pod=f"pod-{zone}-{n}", zone=f"zone-{zone}"),
                 lost=[(20, 40)] if zone == 0 else []) for zone in range(3) for n in range(3)
    ], [Fires("ImdsExporterDown", "warning", 25, 45, other(instance=f"10.0.0.{n}:10169", pod=f"pod-0-{n}", zone="zone-0"),
              slack=WINDOW) for n in range(3)], lossy=False),
    Case("no exporter answers", 60, [
        Exporter(other(instance=f"10.0.0.{n}:10169", pod=f"pod-{n}"), lost=[(20, 40)]) for n in range(4)
    ], [
        *(Fires("ImdsExporterDown", "warning", 25, 45, other(instance=f"10.0.0.{n}:10169", pod=f"pod-{n}"), slack=WINDOW)
          for n in range(4)),
        Fires("ImdsExportersDown", "critical", 24, 50, {"cluster": "one"}, slack=WINDOW),
    ], lossy=False),
    Case("an exporter in a crash loop", 180, [
        Exporter(TARGET, restarts=[20 + 6 * n for n in range(12)]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1"), restarts=[20, 40, 60]),
    ], [Fires("ImdsExporterRestarting", "warning", 39.5, 138, slack=WINDOW)], lossy=False),
    Case("a job of another name", 100, [
        Exporter(other(job="kubernetes-pods"), dead=[(20, 60)]),
        # It restarts in an outage that it sees itself.
        Exporter(other(job="kubernetes-pods", instance="10.0.0.2:10169", pod="cart-1"), restarts=[31],
                 fails=[(30, 31.7, "no_role", "role")]),
        Exporter(dropped(other(job="kubernetes-pods", instance="10.0.0.3:10169"), "pod", "namespace"), restarts=[31],
                 fails=[(30, 31.7, "no_role", "role")]),
        Workload({**WORKLOAD, "job": "kubernetes-pods"}, 0),
    ], [Fires("ImdsExporterDown", "warning", 25, 65, other(job="kubernetes-pods"), slack=WINDOW)], lossy=False),
    Case("a target that answers no more, and is none of ours", 60, [
        Exporter(TARGET), Given("up", {"job": "other", "instance": "10.0.0.9:9100"}, value=0),
    ], []),
    Case("one cluster of three vanishes from a central ruler", 60, [
        target for cluster in "abc" for target in (
            Exporter(other(cluster=cluster), absent=[(20, 45)] if cluster == "b" else []),
            Workload({**WORKLOAD, "cluster": cluster}, 0))
    ], [Fires("ImdsExporterAbsent", "critical", 30, 45, {"cluster": "b"})], lossy=False),
    Case("nodes come and go by the dozen", 40, [
        *(Exporter(other(instance=f"10.0.0.{n}:10169", pod=f"pod-{n}", node=f"node-{n}"), absent=[(20, 40)],
                   fails=[(19.6, 20, "network_unreachable", "token")]) for n in range(36)),
        *(Exporter(other(instance=f"10.0.1.{n}:10169", pod=f"pod-1-{n}", node=f"node-1-{n}"), starts=20 + n % 5,
                   fails=[(20 + n % 5, 20.3 + n % 5, "network_unreachable", "token")]) for n in range(36)),
        *(Exporter(other(instance=f"10.0.2.{n}:10169", pod=f"pod-2-{n}", node=f"node-2-{n}")) for n in range(12)),
    ], [], lossy=False),
    Case("a rolling update of a DaemonSet in an outage", 90, [
        *(Exporter(other(instance=f"10.0.0.{n}:10169", pod=f"old-{n}", node=f"node-{n}"), absent=[(36 + n, 90)],
                   fails=[(20, 60, "connect_refused", "token")]) for n in range(4)),
        *(Exporter(other(instance=f"10.0.0.{n}:10169", pod=f"new-{n}", node=f"node-{n}"), starts=36.5 + n,
                   fails=[(20, 60, "connect_refused", "token")]) for n in range(4)),
    ], [
        Fires("ImdsFleetOutage", "critical", 21, 75, {"cluster": "one"}),
        *(alert for n in range(4) for alert in failing(20, 60, explained=True, instance="", node=f"node-{n}")),
    ], lossy=False),
    Case("Prometheus does not run for a while in an outage", 90, [
        Exporter(TARGET, fails=[(20, 60, "connect_refused", "token")]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
    ], failing(20, 60), unseen=[(40, 42.5)], lossy=False),
    Case("Prometheus does not run while an exporter dies", 90, [
        Exporter(other(job="kubernetes-pods"), dead=[(41, 90)]), Exporter(other(instance="10.0.0.2:10169", pod="cart-1")),
        Exporter(other(instance="10.0.0.3:10169", pod="cart-2")),
    ], [Fires("ImdsExporterDown", "warning", 55, 91, other(job="kubernetes-pods"))], unseen=[(40, 50)], lossy=False),
    Case("a rotation that is forty minutes late", 300, [Exporter(TARGET, rotates=[0, 60, 160, 220, 280])], []),
    Case("a tool swaps roles", 120, [
        Exporter(TARGET, role=[(0, "app"), (30, "admin"), (38, "app")], rotates=[0, 30, 38, 60]),
    ], []),
    Case("a workload that restarts alone in the second of three outages", 140, [
        Exporter(TARGET, fails=[(20 * n, 20 * n + 1.5, "connect_timeout", "token") for n in (1, 2, 3)], restarts=[70, 72],
                 keeps_state=False),
        Workload(WORKLOAD, 0, until=40.5),
        Workload({**WORKLOAD, "container": "again"}, 40.5, until=90),
        Workload({**WORKLOAD, "container": "third"}, 90),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 48.5, 96, {**SUSPECT, "container": "again"}, slack=WINDOW)],
        lossy=False),
    Case("two Prometheus beside each other", 60, [
        *(Exporter(other(prometheus=name), fails=[(20, 21.5, "connect_timeout", "token")]) for name in "ab"),
        *(Workload({**WORKLOAD, "prometheus": name}, 20.5) for name in "ab"),
    ], [Fires("ImdsWorkloadStartedDuringOutage", "warning", 28.5, 61, {**SUSPECT, "prometheus": name}, slack=WINDOW)
        for name in "ab"]),
    Case("AWS rejects the credentials, for changing reasons", 60, [
        Exporter(TARGET, signed_calls=5, rejected=[(20, 30, "invalid_token"), (30, 40, "expired_token")]),
        Exporter(other(instance="10.0.0.2:10169", pod="cart-1"), signed_calls=1, rejected=[(20, 40, "connect")]),
        Exporter(other(instance="10.0.0.3:10169", pod="cart-2"), signed_calls=1,
                 rejected=[(20, 22, "signature"), (40, 51, "throttled")]),
    ], [
        Fires("ImdsCredentialsRejected", "critical", 25, 45, slack=WINDOW),
        Fires("ImdsSignedCallFailing", "warning", 35, 45, other(instance="10.0.0.2:10169", pod="cart-1"), slack=WINDOW),
    ]),
    Case("fleets with exporters beside which no SDK asks IMDS", 60, [
        # They count neither as failing, nor as exporters of the fleet, nor among the three that must fail.
        *fleet(16, 3, "c1"), *shadowed(fleet(4, 4, "c1")),
        *fleet(10, 3, "c2"), *shadowed(fleet(10, 0, "c2")),
        *fleet(4, 2, "c3"), *shadowed(fleet(4, 4, "c3")),
    ], [
        *(alert for number, cluster in ((3, "c1"), (3, "c2"), (2, "c3"))
          for alert in alerts_of_single_exporters(number, cluster, explained=cluster == "c2")),
        Fires("ImdsFleetOutage", "critical", 21, 44, {"cluster": "c2"}),
    ], lossy=False),
]


def host(number, **labels):
    return {"job": "imds-exporter", "instance": f"10.9.0.{number}:10169", "cluster": "one", **labels}


def node(number, pod, **labels):
    """A pod's exporter on a node."""
    return {**host(number), "instance": f"10.8.{number}.{len(pod)}:10169", "namespace": "shop", "pod": pod,
            "node": f"node-{number}", **labels}


def fails(*spans):
    return [(start, end, "connect_refused", "token") for start, end in spans]


def rhythm(on, off, until, start=20):
    """Outages with pauses."""
    spans = []
    while start < until:
        spans.append((start, start + on))
        start += on + off
    return spans


NODE = {"cluster": "one", "instance": "10.8.1.1:10169", "node": "node-1"}
VERSIONED = {**TARGET, "version": "v1"}
# What prometheus.yaml makes of EC2 instances that do not run.
STOPPED_HOSTS_ARE_TARGETS = "instance-state-name" not in str(example("ec2"))
FETCHING, UNRELIABLE = "ImdsCredentialsFetchFailing", "ImdsFetchUnreliable"

# What happens in operation, though no one's fault or one fault only.
OPERATION = [
    Case("a scale-out from three to ten nodes that answer after 110 s", 60, [
        *(Exporter(host(n)) for n in range(3)), *(Exporter(host(n), starts=20, lost=[(20, 21.9)]) for n in range(3, 10)),
    ], [], lossy=False, pages=[]),
    Case("a first installation", 60, [Exporter(host(n), starts=10, lost=[(10, 26)]) for n in range(5)], [], lossy=False, pages=[]),
    Case("a DaemonSet is deleted and created again", 60, [
        *(Exporter(node(n, "old"), lost=[(20, 20.9)], absent=[(21, 60)]) for n in range(5)),
        *(Exporter(node(n, "newer"), starts=22, lost=[(22, 26)]) for n in range(5)),
    ], [], lossy=False, pages=[]),
    Case("an instance refresh, three of five hosts and then the others", 60, [
        *(Exporter(host(n), lost=[(start, start + 1)], absent=[(start + 1, 60)]) for n, start in enumerate((20, 20, 20, 35, 35))),
        *(Exporter(host(10 + n), starts=start + 1, lost=[(start + 1, start + 5)]) for n, start in enumerate((20, 20, 20, 35, 35))),
    ], [], lossy=False, pages=[]),
    Case("three of five hosts are stopped for the night", 100, [
        *(Exporter(host(n)) for n in range(2)),
        *(Exporter(host(n), lost=[(20, 100)], absent=[] if STOPPED_HOSTS_ARE_TARGETS else [(21.5, 100)]) for n in range(2, 5)),
    ], [], lossy=False, pages=[]),
    Case("a group scales to zero", 60, [
        *(Exporter(host(n), lost=[(20, 21)], absent=[(21, 60)]) for n in range(3)),
        *(Given("up", {"job": "node", "instance": f"10.9.0.{n}:9100", "cluster": "one"}, until=21) for n in range(3)),
        Given("up", {"job": "node", "instance": "10.9.0.99:9100", "cluster": "one"}),
    ], [], lossy=False, pages=[], near=("ImdsExporterAbsent",)),
    Case("the exporters are no targets any more, though their machines run", 60, [
        *(Exporter(host(n), absent=[(20, 60)]) for n in range(3)),
        *(Given("up", {"job": "node", "instance": f"10.9.0.{n}:9100", "cluster": "one"}) for n in range(3)),
    ], [Fires("ImdsExporterAbsent", "critical", 30, 61, {"cluster": "one"}, slack=WINDOW)], lossy=False, pages=["ImdsExporterAbsent"]),
    Case("12 minutes of failure, 6 without, for hours", 280, [Exporter(TARGET, fails=fails(*rhythm(12, 6, 240)))], [
        # With pauses as short, it is one outage, which goes on at once.
        *(Fires(FETCHING, "warning", start + (2 if n == 0 else 0.5), end + 5, slack=2 * STEP)
          for n, (start, end) in enumerate(rhythm(12, 6, 240))),
        Fires(FETCHING, "critical", 30, 258, slack=2 * STEP),
        Fires(UNRELIABLE, "warning", 75, 253, slack=12 * MINUTE),
    ], lossy=False, pages=[FETCHING]),
    Case("12 minutes of failure, 5.5 without, for hours", 280, [Exporter(TARGET, fails=fails(*rhythm(12, 5.5, 240)))], [
        # With pauses as short, it is one outage, which goes on at once.
        *(Fires(FETCHING, "warning", start + (2 if n == 0 else 0.5), end + 5, slack=2 * STEP)
          for n, (start, end) in enumerate(rhythm(12, 5.5, 240))),
        Fires(FETCHING, "critical", 30, 252.5, slack=2 * STEP),
        Fires(UNRELIABLE, "warning", 74, 247.5, slack=12 * MINUTE),
    ], lossy=False, pages=[FETCHING]),
]


OPERATION += [
    Case("12 minutes of failure in each hour", 290, [Exporter(TARGET, fails=fails(*rhythm(12, 48, 240)))], [
        *(band for start in (20, 80, 140, 200) for band in failing(start, start + 12)),
        Fires(UNRELIABLE, "critical", 82, 272, slack=2 * STEP),
    ], lossy=False, pages=[FETCHING, UNRELIABLE]),
    Case("11 minutes of failure, 17 without, for hours", 280, [Exporter(TARGET, fails=fails(*rhythm(11, 17, 150)))], [
        *(band for start in (20, 48, 76, 104, 132) for band in failing(start, start + 11)),
        Fires(UNRELIABLE, "critical", 50, 203, slack=2 * STEP),
    ], lossy=False, pages=[FETCHING, UNRELIABLE]),
    Case("one outage of 12 minutes is not unreliable", 100, [Exporter(TARGET, fails=fails((20, 32)))], failing(20, 32),
         lossy=False, pages=[FETCHING]),
    Case("AWS refuses for 2.5, for 3 and for 4 minutes", 60, [
        Exporter(host(n), signed_calls=5, rejected=[(20, 20 + minutes, "invalid_token")])
        for n, minutes in enumerate((2.5, 3, 4))
    ], [], lossy=False, pages=[], near=("ImdsCredentialsRejected",)),
    Case("AWS refuses for half an hour", 90, [Exporter(TARGET, signed_calls=5, rejected=[(20, 50, "invalid_token")])],
         [Fires("ImdsCredentialsRejected", "critical", 28, 56, slack=5 * MINUTE)], lossy=False, pages=["ImdsCredentialsRejected"]),
    Case("a wrong clock is repaired", 90, [
        Exporter(TARGET, signed_calls=1, skew=[(20, 50, 400)], rejected=[(20, 50, "clock_skew")]),
    ], [Fires("ImdsClockSkew", "warning", 25, 55, slack=2 * STEP), Fires("ImdsClockSkew", "critical", 25, 56, slack=2 * STEP),
        Fires("ImdsCredentialsRejected", "critical", 25, 55, slack=3 * MINUTE)], lossy=False, pages=["ImdsClockSkew"]),
    Case("an expired document is renewed", 90, [
        Exporter(TARGET, signed_calls=1, rotates=[-400, 50], rejected=[(0, 50, "expired_token")]),
    ], [Fires("ImdsCredentialsExpired", "critical", 1, 57, slack=2 * STEP),
        Fires("ImdsCredentialsRejected", "critical", 5, 55, slack=3 * MINUTE)], lossy=False, pages=["ImdsCredentialsExpired"]),
    # The next pod comes half a minute after the last one.
    *(Case(f"job pods of {minutes} minutes on one bad node", 120, [
        Exporter(node(1, "a" * (n + 1)), starts=10 + n * (minutes + 0.5), absent=[(10 + n * (minutes + 0.5) + minutes, 120)],
                 fails=fails((0, 120))) for n in range(count)
    ], [Fires(FETCHING, "warning", 12, end + 5, NODE, slack=3 * STEP), Fires(FETCHING, "critical", 20, end + 10, NODE, slack=3 * STEP)],
        lossy=False, pages=[FETCHING]) for minutes, count, end in ((4.5, 12, 69.5), (8.5, 8, 81.5))),
    Case("a pod is replaced in an outage", 90, [
        Exporter(node(1, "old"), absent=[(36, 90)], fails=fails((20, 50))),
        Exporter(node(1, "newer"), starts=38, fails=fails((20, 50))),
    ], [Fires(FETCHING, "warning", 22, 55, NODE, slack=2 * STEP), Fires(FETCHING, "critical", 30, 60, NODE, slack=2 * STEP)],
        lossy=False, pages=[FETCHING]),
    Case("a sidecar dies in an outage that ends for the other exporter of its node", 180, [
        Exporter(node(1, "a"), fails=fails((20, 23)), lifetime=110 * MINUTE),
        Exporter(node(1, "bb"), fails=fails((20, 60)), lost=[(22.5, 180)], rotates=[-10], lifetime=110 * MINUTE),
    ], [Fires(FETCHING, "warning", 22, 28, NODE, slack=2 * STEP), Fires("ImdsExporterDown", "warning", 27.5, 181, node(1, "bb"), slack=WINDOW)],
        lossy=False, pages=[]),
    Case("a pod of the host's network is replaced by one that fails from its start", 90, [
        Exporter({**NODE, "pod": "old", "job": "imds-exporter"}, absent=[(20, 90)]),
        Exporter({**NODE, "pod": "newer", "job": "imds-exporter"}, starts=20, fails=fails((0, 50))),
    ], [Fires(FETCHING, "warning", 22.5, 55, NODE, slack=2 * STEP), Fires(FETCHING, "critical", 30.5, 60, NODE, slack=2 * STEP)],
        lossy=False, pages=[FETCHING]),
    Case("an unreliable node is terminated", 180, [
        Exporter(host(1), fails=fails(*rhythm(4, 4, 100)), lost=[(100, 102)], absent=[(102, 180)]), Exporter(host(2)),
    ], [*(Fires(FETCHING, "warning", start + 2, end + 5, host(1)) for start, end in rhythm(4, 4, 100)),
        Fires(UNRELIABLE, "critical", 40, 117, host(1), slack=2 * STEP),
        Fires(UNRELIABLE, "warning", 46, 115, host(1), slack=2 * STEP)], lossy=False, pages=[UNRELIABLE]),
    Case("the exporters get the label of their cluster, other targets do not", 120, [
        Exporter(dropped(host(1), "cluster"), absent=[(30, 120)]), Exporter({**host(1), "cluster": "prod"}, starts=30, absent=[(0, 30)]),
        Given("up", {"job": "node", "instance": "10.9.0.1:9100"}),
    ], [], lossy=False, pages=[], near=("ImdsExporterAbsent",)),
    Case("a DaemonSet and two sidecars on one node", 60, [
        Exporter(node(1, name), fails=fails((20, 35))) for name in ("a", "bb", "ccc")
    ], [Fires(FETCHING, "warning", 22, 40, NODE), Fires(FETCHING, "critical", 30, 45, NODE)], pages=[FETCHING]),
    Case("a node with twelve of eighteen sidecars dies", 60, [
        Exporter(node(number, "p" * (n + 1)), lost=[(20, 40)] if number == 1 else []) for number in (1, 2) for n in range(number == 1 and 12 or 6)
    ], [Fires("ImdsExporterDown", "warning", 25, 45, node(1, "p" * (n + 1)), slack=WINDOW) for n in range(12)], lossy=False, pages=[]),
    Case("twenty of ninety nodes", 60, [
        Exporter(host(n), fails=fails((20, 35)) if n < 20 else []) for n in range(90)
    ], [*(band for n in range(20) for band in failing(20, 35, explained=True, **host(n))),
        Fires("ImdsFleetOutage", "critical", 21, 50, {"cluster": "one"})], lossy=False, pages=["ImdsFleetOutage"]),
    Case("a target label with the name of one of ours", 100, [
        Exporter(VERSIONED, fails=fails((20, 80))), Exporter({**host(7), "revision": "a", "rustversion": "b"}, lost=[(20, 40)]),
        Exporter(host(8), fails=fails((20, 40))),
    ], [*failing(20, 80), *failing(20, 40, **host(8)), Fires("ImdsExporterDown", "warning", 25, 45, host(7), slack=WINDOW)],
        lossy=False, pages=[FETCHING, FETCHING]),
    Case("metric relabelling that adds a cluster", 60, [Exporter(host(1), up_without=("cluster",), fails=fails((20, 35)))],
         [*failing(20, 35, **host(1)),
          Fires("ImdsExporterAbsent", "warning", 15, 61, {"cluster": "one", "job": "imds-exporter"}, slack=WINDOW)], lossy=False),
    Case("a federation without up", 60, [Exporter(host(1), up_without=None, fails=fails((20, 35)))],
         [*failing(20, 35, **host(1)),
          Fires("ImdsExporterAbsent", "warning", 15, 61, {"cluster": "one", "job": "imds-exporter"}, slack=WINDOW)], lossy=False),
    *(Case(f"an IMDS proxy with sessions of an hour that it renews five minutes before their end, LastUpdated {updated or 'as it is'}",
           280, [Exporter(TARGET, rotates=range(-25, 281, 55), lifetime=60 * MINUTE, updated=updated)], [], lossy=False)
      for updated in (None, "missing", "0001")),
    Case("IMDS stops renewing a document without LastUpdated", 430, [Exporter(TARGET, rotates=[0], updated="missing")], [
        Fires("ImdsRotationOverdue", "critical", 355, 395, slack=2 * STEP), Fires("ImdsCredentialsExpired", "critical", 391, 431),
    ], lossy=False, pages=["ImdsRotationOverdue", "ImdsCredentialsExpired"]),
    Case("no IMDS is intended", 60, [Exporter(TARGET, fails=[(0, 60, "disabled_by_environment", "token")])], []),
    Case("the role is detached for good", 160, [Exporter(TARGET, lifetime=110 * MINUTE, fails=[(20, 160, "no_role", "role")])],
         [Fires(FETCHING, "warning", 22, 161), Fires(FETCHING, "critical", 30, 161)], lossy=False, pages=[FETCHING]),
    Case("boto3 would ask a proxy", 60, [
        Exporter(TARGET), Given("imds_requests_proxied", TARGET, start=10, until=40),
        Exporter(host(1, imds_intended="ImdsFetchSlow,ImdsRequestsProxied")),
        Given("imds_requests_proxied", host(1, imds_intended="ImdsFetchSlow,ImdsRequestsProxied"), start=10, until=40),
    ], [Fires("ImdsRequestsProxied", "warning", 25, 45, slack=2 * STEP)], lossy=False),
    Case("IMDSv1 is intended", 60, [Exporter(host(1, imds_intended="ImdsV1Fallback"), fallback=[(10, 60, "hop_limit")], slow=[(10, 60, 1.1)])],
         []),
]


PROGRAM = {"job": "cart", "instance": "10.8.1.7:8000", "cluster": "one", "namespace": "shop", "pod": "cart-0"}
CONTAINER = {"cluster": "one", "namespace": "shop", "pod": "cart-0", "uid": "uid-cart-0", "container": "app", "node": "node-1",
             "job": "imds-exporter", "instance": "10.8.1.1:10169"}
OF_CLUSTER = {"cluster": "one"}
# What rules read of a large fleet; the rest would only take time.
WHETHER_IT_FAILS = ["imds_exporter_build_info", "imds_up", "imds_failure_active"]


def failed_calls(first, last):
    """So many calls without credentials as there are half minutes between two minutes."""
    return lambda minute: 2 * (min(max(minute, first), last) - first)


OPERATION += [
    Case("one exporter dies that two Prometheus scrape, to one ruler", 60, [
        Exporter(host(1, prometheus=name), lost=[(20, 40)]) for name in "ab"
    ], [Fires("ImdsExporterDown", "warning", 25, 45, host(1, prometheus=name), slack=WINDOW) for name in "ab"],
        lossy=False, pages=[]),
    Case("a hundred of five hundred nodes", 30, [
        Exporter(host(f"{n // 250}.{n % 250}"), fails=fails((8, 20)) if n < 100 else [], metrics=WHETHER_IT_FAILS) for n in range(500)
    ], [*(band for n in range(100) for band in failing(8, 20, explained=True, **host(f"{n // 250}.{n % 250}"))),
        Fires("ImdsFleetOutage", "critical", 9, 31, {"cluster": "one"})], lossy=False, pages=["ImdsFleetOutage"]),
    Case("a program without any AWS client starts in an outage", 60, [
        Exporter(TARGET, fails=[(20, 21.5, "connect_timeout", "token")]), Workload(dropped(WORKLOAD, *MARKED), 20.5),
    ], [], near=("ImdsWorkloadStartedDuringOutage",)),
    # One of its runs falls into an outage.
    Case("a watched cron job of five minutes every two hours, for twelve hours", 720, [
        Exporter(TARGET, watches=True, processes=[(start, start + 5) for start in range(0, 720, 120)],
                 fails=fails((239, 240.5))),
    ], [], lossy=False, near=("ImdsSuspectProcesses",)),
    Case("documents that are renewed 36 and 30 minutes before they expire", 110, [
        Exporter(host(n), lifetime=110 * MINUTE, rotates=[0, 110 - left]) for n, left in enumerate((36, 30))
    ], [Fires("ImdsRotationOverdue", "critical", 75, 85, host(1))], lossy=False, pages=["ImdsRotationOverdue"]),
    Case("a container started in an outage, and kube-state-metrics does not answer for 15 minutes", 70, [
        Exporter(node(1, "x"), fails=fails((20, 22))), Pod(pod("cart-0", "node-1", 21, "boto3"), OF_CLUSTER, 21, away=[(40, 55)]),
    ], [Fires("ImdsContainersStartedDuringOutage", "warning", 29, 71, CONTAINER, slack=WINDOW)], lossy=False),
    Case("calls of boto3 go on failing", 60, [Given("boto3_calls_without_credentials_total", PROGRAM, failed_calls(20, 40))],
         [Fires("ImdsBoto3CallsWithoutCredentials", "warning", 25, 45, PROGRAM, slack=WINDOW)]),
]

# What would be a fault if it lasted a little longer, or concerned a few more.
NEAR_MISSES = [
    Case("no exporter answers for three and a half minutes", 40, [Exporter(host(n), lost=[(20, 23.5)]) for n in range(4)], [],
         lossy=False, near=("ImdsExporterDown", "ImdsExportersDown")),
    Case("half of the machines have no exporter that answers", 60, [
        Exporter(host(n), lost=[(20, 40)] if n < 2 else []) for n in range(4)
    ], [Fires("ImdsExporterDown", "warning", 25, 45, host(n), slack=WINDOW) for n in range(2)], lossy=False, near=("ImdsExportersDown",)),
    Case("the exporters are no targets for nine minutes", 60, [Exporter(TARGET, absent=[(20, 29)]), Workload(WORKLOAD, 0)], [],
         lossy=False, near=("ImdsExporterAbsent",)),
    Case("three restarts in an hour", 100, [Exporter(TARGET, restarts=[20, 38, 56])], [], near=("ImdsExporterRestarting",)),
    Case("the poll loop hangs for five minutes", 60, [Exporter(TARGET, stalls=[(20, 25)])], [], lossy=False, near=("ImdsPollStalled",)),
    Case("an outage ends when clients begin to fail", 110, [Exporter(TARGET, lifetime=110 * MINUTE, fails=fails((20, 65)))],
         failing(20, 65), lossy=False, near=("ImdsClientsFailing",)),
    Case("a document is renewed half a minute after its expiration", 60, [Exporter(TARGET, rotates=[-370, 20.5])], [
        Fires("ImdsRotationOverdue", "warning", 15, 25.5, slack=2 * STEP), Fires("ImdsRotationOverdue", "critical", 5, 25, slack=2 * STEP),
    ], lossy=False, near=("ImdsCredentialsExpired",)),
    Case("a workload that started in an outage with its sidecar is restarted soon", 60, [
        Exporter(TARGET, workload="starts-with-exporter", fails=fails((0, 8)), stops=[11]),
    ], failing(0, 8, critical=False), lossy=False, near=("ImdsClientsStuck",)),
    Case("suspect processes that are restarted after five minutes", 60, [
        Exporter(TARGET, watches=True, processes=[(19.5, 26), (26, 60)], fails=fails((19, 21))),
    ], [], lossy=False, near=("ImdsSuspectProcesses",)),
    # What was last said of it counts for five minutes.
    Case("a workload that started in an outage is replaced after two and a half minutes", 60, [
        Exporter(TARGET, fails=fails((20, 21.5))), Workload(WORKLOAD, 20.5, until=23), Workload({**WORKLOAD, "container": "again"}, 23),
    ], [], lossy=False, near=("ImdsWorkloadStartedDuringOutage",)),
    Case("a container that started in an outage is replaced after two and a half minutes", 60, [
        Exporter(node(1, "x"), fails=fails((20, 22))), Pod(pod("cart-0", "node-1", 21, "boto3"), OF_CLUSTER, 21, 23.5),
        Pod(pod("cart-1", "node-1", 24, "boto3"), OF_CLUSTER, 24),
    ], [], lossy=False, near=("ImdsContainersStartedDuringOutage",)),
    Case("boto3 would ask a proxy for ten minutes", 60, [Exporter(TARGET), Given("imds_requests_proxied", TARGET, start=10, until=20)], [],
         near=("ImdsRequestsProxied",)),
    Case("AWS cannot be asked for twelve minutes", 60, [Exporter(TARGET, signed_calls=1, rejected=[(20, 32, "connect")])], [],
         lossy=False, near=("ImdsSignedCallFailing",)),
    Case("an unexpected role for four minutes", 40, [Exporter(TARGET, expects="app", role=[(0, "app"), (20, "admin"), (24, "app")])],
         [], lossy=False, near=("ImdsUnexpectedRole",)),
    Case("calls of boto3 fail for a minute", 60, [Given("boto3_calls_without_credentials_total", PROGRAM, failed_calls(20, 20.5))], [],
         near=("ImdsBoto3CallsWithoutCredentials",)),
]


def with_lost_scrapes(case):
    """The same with one scrape in eleven lost, and with one lost just before each alert starts."""
    before = [(alert.start - 0.75, alert.start - 0.25) for alert in case.fires if alert.start > 1]
    targets = [replace(target, lose_every=11 + n, lost=[*target.lost, *before])
               if isinstance(target, Exporter) else target for n, target in enumerate(case.targets)]
    fires = [replace(alert, slack=alert.slack + STEP + 1) for alert in case.fires]
    return replace(case, name=f"{case.name}, with lost scrapes", targets=targets, fires=fires)


def with_a_restart(case):
    """The same with a restart of every exporter."""
    targets = [replace(target, restarts=[*target.restarts, case.restart]) if isinstance(target, Exporter) else target
               for target in case.targets]
    return replace(case, name=f"{case.name}, with a restart", targets=targets)


# What is true although the SDKs do not ask IMDS: the exporter's own condition, and the clock.
NOT_ABOUT_IMDS = {"ImdsExporterDown", "ImdsExportersDown", "ImdsExporterAbsent", "ImdsExporterRestarting", "ImdsPollStalled",
                  "ImdsClockSkew"}


def with_shadowed_chains(case):
    """The same where the SDKs do not ask IMDS: nothing about fetches, credentials, roles or clients fires."""
    ways = itertools.cycle(["environment", "web_identity", "container"])
    targets = [replace(target, shadowed=next(ways)) if isinstance(target, Exporter) else target
               for target in case.targets]
    fires = [alert for alert in case.fires if alert.alert in NOT_ABOUT_IMDS]
    return replace(case, name=f"{case.name}, with shadowed chains", targets=targets, fires=fires)


STORIES = [*CASES, *OPERATION, *NEAR_MISSES]
# For a release: the same stories with other circumstances, and all of them in both versions of promtool.
REPETITIONS = [*[with_shadowed_chains(case) for case in CASES if case.fires],
               *[with_lost_scrapes(case) for case in CASES if case.lossy],
               *[with_a_restart(case) for case in CASES if case.restart is not None]]
# One for each kind of rule.
TYPICAL = ["the credentials cannot be fetched", "the exporter dies and comes back", "the poll loop hangs", "a wrong clock is repaired",
        "a workload that started in an outage with its sidecar, until the pod is replaced", "suspect processes until they are restarted",
        "a scale-out from three to ten nodes that answer after 110 s", "a group scales to zero", "AWS refuses for half an hour",
        "a quarter of a fleet fails, one zone of four", "a pod is replaced in an outage", "an unexpected role"]
THOROUGH = os.environ.get("THOROUGH") == "1"


RUNS = {("2.42", case.name): case for case in STORIES + (REPETITIONS if THOROUGH else [])} \
    | {("3", case.name): case for case in STORIES if THOROUGH or case.name in TYPICAL}


def prepare(folder, parameters):
    """By version and name of each selected case: the alerts that fire, evaluation by evaluation."""
    selected, found = [one["run"] for one in parameters if "run" in one], {}
    for version in PROMTOOLS:
        stories = {run: Story(RUNS[run].targets, RUNS[run].minutes, tuple(RUNS[run].unseen)) for run in selected if run[0] == version}
        found |= alerts_of(stories, folder, version)
    return found


def mistakes(case, evaluations, step=STEP, tolerance=0):
    """Where what fires is not what is expected: (minute, what is wrong, labels)."""
    bands, wrong, seen = {}, [], set()
    for alert in case.fires:
        bands.setdefault(tuple(sorted(alert.labelled().items())), []).append(alert)
    for index, alerts in enumerate(evaluations):
        firing = {tuple(sorted(labels.items())) for labels in alerts}
        seen |= firing
        for labels in firing | set(bands):
            expected = {alert.at(index * step, tolerance) for alert in bands.get(labels, [])}
            if None not in expected and (True in expected) != (labels in firing):
                wrong.append((index * step / MINUTE, "fires" if labels in firing else "does not fire", dict(labels)))
    return wrong + [("ever", "does not fire", dict(labels)) for labels in set(bands) - seen]


# Repetitions of a case with lost scrapes and the like need one version alone.
@pytest.mark.parametrize("run", RUNS, ids=" ".join)
def test_exactly_the_expected_alerts_fire(run, prepared):
    case, evaluated = RUNS[run], prepared()
    wrong = mistakes(case, evaluated[run])
    assert not wrong, f"{len(wrong)} mistakes:\n" + "\n".join(str(mistake) for mistake in wrong[:12])
    if case.pages is not None:
        told = [labels["alertname"] for _, labels in notifications(evaluated[run]) if labels["severity"] == "critical"]
        assert told == case.pages


SERIES = re.compile(r"(?<![:\w\"])((?:imds_|process_)\w+|up)\b(\{[^}]*\})?(?:\[(\d+)([mh])\])?( offset \w+)?(?![:\w(\"=!])")


def late(groups, seconds):
    """The rules for samples that arrive so late: windows end before the samples that are not there yet."""
    def without_the_newest(series):
        name, matchers, number, unit, offset = series.groups("")
        if offset or not seconds:
            return series[0]
        window = f"[{int(number) * {'m': 60, 'h': 3600}[unit] - seconds}s]" if number else ""
        return f"{name}{matchers}{window} offset {seconds}s"

    return {"groups": [{**group, "rules": [
        {**{key: value for key, value in rule.items() if key != "annotations"}, "expr": SERIES.sub(without_the_newest, rule["expr"])}
        for rule in group["rules"]]} for group in groups]}


@pytest.mark.parametrize("step, seconds", [(30, 30), (30, 60), (60, 0), (60, 60), (60, 90)])
def test_slow_scrapes_and_late_samples_change_nothing(step, seconds, tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(late(loaded_rules(tmp_path, RULES), seconds)))
    cases = {case.name: case for case in STORIES if case.name in TYPICAL}
    assert len(cases) == len(TYPICAL)
    stories = {name: Story(case.targets, case.minutes) for name, case in cases.items()}
    found = alerts_of(stories, tmp_path, files=[rules], step=step)
    wrong = {name: all_wrong[:5] for name, case in cases.items()
             if (all_wrong := mistakes(case, found[name], step, seconds + 2 * step + 60))}
    assert not wrong


@pytest.mark.parametrize("name, times", [
    ("the credentials expire while they cannot be fetched", ["01:20:00"]),
    ("the exporter dies in an outage that lasts, and its target is removed at last", ["01:20:00", "00:39:30"]),
])
def test_what_is_said_of_an_exporter_that_is_gone_says_when_it_was_seen(name, times, tmp_path):
    """Times in the description of failing clients: when the credentials expire, and when the exporter was last seen."""
    [case] = [case for case in CASES if case.name == name]
    file, minutes = tmp_path / "described.json", 100
    file.write_text(json.dumps({
        "rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s", "group_eval_order": GROUPS_IN_ORDER, "tests": [{
            "interval": f"{STEP}s", "input_series": input_series(case.targets, minutes),
            "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": "ImdsClientsFailing", "exp_alerts": []}]}]}))
    [description] = re.findall(r'description="(.*?)", runbook_url', promtool("test", "rules", file).stderr, re.DOTALL)
    assert re.findall(r"1970-01-01 (\S+)", description) == times


def test_every_alert_has_a_story_that_fires_it():
    fired = {(alert.alert, alert.severity) for case in STORIES for alert in case.fires}
    assert fired == {(rule["alert"], rule["labels"]["severity"]) for rule in EVERY_ALERT}


def test_every_alert_has_a_story_that_comes_close_and_does_not_fire_it():
    assert {name for case in STORIES for name in case.near} == {rule["alert"] for rule in EVERY_ALERT}
    assert not [case.name for case in STORIES for alert in case.fires if alert.alert in case.near]
