"""The data that the dashboards are tested with: eight hours of five exporters, as Prometheus would have scraped them.

  HEALTHY   rotates every hour; now and then a slow poll; not scraped for a few minutes; AWS accepts its credentials
  STUCK     an outage in which pod and exporter are replaced; IMDS recovers, by IMDSv1 at last; the pod's clients do not
  EXPIRED   an outage that does not end: first time-outs, then errors; the credentials expire; no workload is declared
  SHADOWED  on the machine of STUCK; its SDKs do not ask IMDS, which refuses connections
  REFUSED   IMDS is fine, but AWS refuses what it returns

What the exporters say is played through their own code. What Prometheus and the process collector say is made up here.
"""

import datetime
import functools
import re

from helpers.replay import replay

HOUR = 3600
SCRAPE = 60
END = int(datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.timezone.utc).timestamp())
START = END - 8 * HOUR
JOB = "imds-exporter"
HEALTHY, STUCK, EXPIRED, SHADOWED = (f"10.0.0.{n}:10169" for n in range(1, 5))
REFUSED = "[fd00::5]:10169"
IN_POD = {"cluster": "blue", "namespace": "shop", "node": "node-b"}
TARGETS = {
    HEALTHY: {"job": JOB, "instance": HEALTHY},
    STUCK: {"job": JOB, "instance": STUCK, **IN_POD},
    EXPIRED: {"job": JOB, "instance": EXPIRED},
    SHADOWED: {"job": JOB, "instance": SHADOWED, **IN_POD},
    REFUSED: {"job": JOB, "instance": REFUSED, "node": "node-c"},
}
LIFETIME = 6 * HOUR + 300
BUCKETS = ["0.001", "0.005", "0.025", "0.1", "0.5", "1", "2.5", "5", "+Inf"]


def clock(hours, minutes=0):
    """A time on the day of the data."""
    return END - 12 * HOUR + hours * HOUR + minutes * 60


# Longer than the five minutes for which Prometheus takes backfilled samples as current.
UNSCRAPED = (clock(10, 30), clock(10, 40))
OUTAGE = (clock(9), clock(9, 12))
RESTART = clock(9, 5)
FIRST_FAILURE = clock(4, 30)
FIRST_KIND, SECOND_KIND = {"kind": "read_timeout", "step": "credentials"}, {"kind": "server_error", "step": "role"}
KIND_CHANGE = clock(7)
EXPIRY = clock(4) + LIFETIME
TOKENS_FAIL = clock(11)
REFUSED_SINCE = clock(10)
SKEW = 90
# A program in the pod of STUCK whose client heals, and when its counters rise, from the end of the outage on.
PROGRAM = {"job": "orders", "instance": "10.0.0.2:8000", **IN_POD}
HEALS = {"boto3_stuck_clients_total": -120, "boto3_calls_without_credentials_total": -120, "boto3_healed_clients_total": 60}
CONTAINERS = {7: "3f1c" * 16, 9: "5a0d" * 16}
POD_UID = "4c2d1e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f"
BEFORE_START = START - 2 * HOUR
SIGNED_CALL_EVERY = 300


def _rotations(role, since=BEFORE_START, until=END):
    """A new document at each full hour."""
    for updated in range(since, until + 1, HOUR):
        yield {"at": updated, "document": {"role": role, "last_updated": updated, "expiration": updated + LIFETIME}}


def _history(instance):
    history = {
        HEALTHY: {"signed_call_interval_seconds": SIGNED_CALL_EVERY, "events": [
            {"at": BEFORE_START, "exporter": "start"}, *_rotations("web"),
            *({"at": at + shift, "duration_seconds": seconds} for at in range(START, END, 600)
              for shift, seconds in ((0, 4.2), (20, 0.002))),
        ]},
        STUCK: {"workload": "starts-with-exporter", "watch": True, "expected_role": "orders", "events": [
            {"at": BEFORE_START, "exporter": "start"}, *_rotations("orders"),
            {"at": OUTAGE[0], "fault": {"kind": "connect_timeout", "step": "token"}, "duration_seconds": 1},
            {"at": RESTART, "exporter": "crash"}, {"at": RESTART, "exporter": "start"},
            *({"at": RESTART + after, "process": {
                "pid": pid, "command": command, "container_id": CONTAINERS[pid], "pod_uid": POD_UID}}
              for pid, command, after in ((7, "gunicorn", 10), (9, "celery", 20))),
            {"at": OUTAGE[1], "fault": None, "duration_seconds": 0.002},
            {"at": OUTAGE[1] + HOUR, "process": {
                "pid": 11, "command": "flower", "container_id": CONTAINERS[9], "pod_uid": POD_UID}},
            {"at": TOKENS_FAIL, "v1_fallback": "hop_limit"},
        ]},
        EXPIRED: {"expected_role": "shop", "events": [
            {"at": BEFORE_START, "exporter": "start", "clock_skew_seconds": SKEW}, *_rotations("web", until=FIRST_FAILURE),
            {"at": FIRST_FAILURE, "fault": FIRST_KIND, "duration_seconds": 1.2},
            {"at": KIND_CHANGE, "fault": SECOND_KIND, "duration_seconds": 0.002},
        ]},
        SHADOWED: {"shadowed": "web_identity", "events": [
            {"at": BEFORE_START, "exporter": "start", "fault": {"kind": "connect_refused", "step": "token"}}]},
        REFUSED: {"signed_call_interval_seconds": SIGNED_CALL_EVERY, "events": [
            {"at": BEFORE_START, "exporter": "start"}, *_rotations("web"),
            {"at": REFUSED_SINCE, "signed_call_failure": "expired_token"}]},
    }[instance]
    history["events"].sort(key=lambda event: event["at"])
    return history | {"scrapes": list(range(START, END + 1, SCRAPE))}


def _process(at):
    """The series of the process collector, but for the start: (series, value)."""
    yield "process_resident_memory_bytes", 5e6
    yield "process_cpu_seconds_total", 0.02 * (at - BEFORE_START) / SCRAPE
    yield "process_open_fds", 12
    yield "process_max_fds", 1024


def _machine(instance):
    """The labels of an alert about the machine of a target."""
    target = TARGETS[instance]
    return {key: target[key] for key in ("cluster",) if key in target} | {"machine": target.get("node") or instance.rpartition(":")[0]}


def alerts(at):
    """The alerts that fire, with the time since which they have been active."""
    if at >= FIRST_FAILURE + 600:
        yield {"alertname": "ImdsCredentialsFetchFailing", "severity": "critical"} | _machine(EXPIRED), FIRST_FAILURE
    if at >= OUTAGE[1] + 300:
        yield {"alertname": "ImdsClientsStuck", "severity": "critical"} | TARGETS[STUCK] | _machine(STUCK), OUTAGE[1]
    if OUTAGE[0] + 120 <= at < OUTAGE[1]:
        yield {"alertname": "ImdsFleetOutage", "severity": "critical"}, OUTAGE[0] + 60


def _labels(labels):
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def samples():
    """Every sample: (series, value, time)."""
    for (instance, target), scrapes in zip(TARGETS.items(), replay(_history(instance) for instance in TARGETS)):
        for at, series in scrapes:
            up = not (instance == HEALTHY and UNSCRAPED[0] <= at < UNSCRAPED[1])
            exposed = [("up", int(up)), ("scrape_duration_seconds", 0.003)]
            yield f"imds:exporter:up{{{_labels(target | _machine(instance))}}}", int(up), at
            if up:
                exposed += [*series.items(), *_process(at)]
            for name, value in exposed:
                name, _, own = name.removesuffix("}").partition("{")
                yield f"{name}{{{own + ',' if own else ''}{_labels(target)}}}", value, at
    for at in range(START, END + 1, SCRAPE):
        for name, after in HEALS.items():
            yield f"{name}{{{_labels(PROGRAM)}}}", int(at >= OUTAGE[1] + after), at
        for labels, since in alerts(at):
            yield f"ALERTS{{{_labels(labels | {'alertstate': 'firing'})}}}", 1, at
            yield f"ALERTS_FOR_STATE{{{_labels(labels)}}}", since, at


@functools.cache
def series():
    """The series that the exporters expose: {name: {sets of label names}}."""
    found = {}
    targets = {name for target in TARGETS.values() for name in target}
    for one, _, _ in samples():
        name, _, labels = one.partition("{")
        found.setdefault(name, set()).add(frozenset(re.findall(r'(\w+)="', labels)) - targets)
    return found


@functools.cache
def revision():
    """The revision of the exporter that was played."""
    return next(re.search(r'revision="(\w+)"', one)[1] for one, _, _ in samples() if "build_info" in one)


# Two more, in another setup: boto3 would ask a proxy, or AWS_EC2_METADATA_DISABLED is true.
PROXIED, DISABLED = "10.0.1.1:10169", "10.0.1.2:10169"
PREFIXED = {"ImdsRequestsProxied": {"severity": "warning", "machine": "10.0.1.1"}, "ImdsFleetOutage": {"severity": "critical"}}


def _proxied(series):
    """What an exporter that is fine exposes, with proxy variables in its environment: a history cannot have them."""
    kept = {name: value for name, value in series.items() if not name.startswith("imds_client_usable")}
    return kept | {'imds_state{state="fine"}': 0, 'imds_state{state="proxied"}': 1, "imds_requests_proxied": 1}


def samples_elsewhere():
    """The samples of these two, whose targets have a label `role`, and their alerts, whose names have a prefix."""
    fault = {"kind": "disabled_by_environment", "step": "token"}
    histories = [
        {"workload": "starts-with-exporter", "events": [{"at": BEFORE_START, "exporter": "start"}, *_rotations("web")]},
        {"events": [{"at": BEFORE_START, "exporter": "start", "fault": fault}]},
    ]
    played = replay(history | {"scrapes": list(range(START, END + 1, SCRAPE))} for history in histories)
    for instance, scrapes in zip((PROXIED, DISABLED), played):
        target = _labels({"job": JOB, "instance": instance, "role": "frontend"})
        for at, series in scrapes:
            for name, value in {"up": 1, **(_proxied(series) if instance == PROXIED else series)}.items():
                name, _, own = name.removesuffix("}").partition("{")
                # As Prometheus does with a label that the target has too.
                own = own.replace("role=", "exported_role=")
                yield f"{name}{{{own + ',' if own else ''}{target}}}", value, at
            if instance == PROXIED:
                yield f'imds:exporter:up{{{target},machine="10.0.1.1"}}', 1, at
    for at in range(START, END + 1, SCRAPE):
        for name, labels in PREFIXED.items():
            yield f"ALERTS{{{_labels({'alertname': f'Platform{name}', 'alertstate': 'firing', **labels})}}}", 1, at
            yield f"ALERTS_FOR_STATE{{{_labels({'alertname': f'Platform{name}', **labels})}}}", START, at


def openmetrics(of=samples):
    """The data as `promtool tsdb create-blocks-from openmetrics` reads it."""
    for name, value, at in of():
        yield f"{name} {value} {at}\n"
    yield "# EOF\n"
