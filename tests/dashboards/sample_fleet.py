"""The data that the dashboards are tested with: eight hours of three exporters, as Prometheus would have scraped them.

  HEALTHY   rotates every hour; occasionally a slow request; not scraped for a few minutes; its SDKs do not ask IMDS
  STUCK     an outage in which pod and exporter are replaced; IMDS recovers, by IMDSv1 at last; the pod's clients do not
  EXPIRED   an outage that does not end: first time-outs, then errors; the credentials expire; no workload is declared

STUCK has the labels `cluster` and `namespace`, the others have neither.
"""

import datetime
import functools

HOUR = 3600
SCRAPE = 60
END = int(datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.timezone.utc).timestamp())
START = END - 8 * HOUR
JOB = "imds-exporter"
HEALTHY, STUCK, EXPIRED = "10.0.0.1:10169", "10.0.0.2:10169", "10.0.0.3:10169"
TARGETS = {
    HEALTHY: {"job": JOB, "instance": HEALTHY},
    STUCK: {"job": JOB, "instance": STUCK, "cluster": "blue", "namespace": "shop"},
    EXPIRED: {"job": JOB, "instance": EXPIRED},
}
BUCKETS = ["0.001", "0.005", "0.025", "0.1", "0.5", "1", "2.5", "5", "+Inf"]
KINDS = ["connect_refused", "connect_timeout", "read_timeout", "server_error", "hop_limit", "no_role"]
LIFETIME = 6 * HOUR + 300


def clock(hours, minutes=0):
    """A time on the day of the data."""
    return END - 12 * HOUR + hours * HOUR + minutes * 60


UNSCRAPED = (clock(10, 30), clock(10, 35))
OUTAGE = (clock(9), clock(9, 12))
RESTART = clock(9, 5)
FIRST_FAILURE = clock(4, 30)
FIRST_KIND, SECOND_KIND = ("read_timeout", "credentials"), ("server_error", "role")
KIND_CHANGE = clock(7)
EXPIRY = clock(4) + LIFETIME
TOKENS_FAIL = clock(11)
CONTAINERS = {"7": "3f1c" * 16, "9": "5a0d" * 16}
POD_UID = "4c2d1e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f"
BEFORE_START = START - 2 * HOUR


class Exporter:
    """The counters of an exporter since its start."""

    def __init__(self, started_at):
        self.started_at = started_at
        self.counters = {}

    def count(self, name, labels, by):
        key = (name, tuple(sorted(labels.items())))
        self.counters[key] = self.counters.get(key, 0) + by

    def observe(self, name, labels, seconds, times):
        for bound in BUCKETS:
            self.count(name + "_bucket", labels | {"le": bound}, times if seconds <= float(bound) else 0)
        self.count(name + "_sum", labels, seconds * times)
        self.count(name + "_count", labels, times)


def failure(instance, at):
    """Kind and step of the failure at this time, or None."""
    if instance == STUCK and OUTAGE[0] <= at < OUTAGE[1]:
        return "connect_timeout", "token"
    if instance == EXPIRED and at >= FIRST_FAILURE:
        return FIRST_KIND if at < KIND_CHANGE else SECOND_KIND
    return None


def document(instance, at):
    """`LastUpdated` of the last document seen."""
    seen = min(at, FIRST_FAILURE) if instance == EXPIRED else at
    if instance == STUCK and OUTAGE[0] <= at < OUTAGE[1]:
        seen = OUTAGE[0] - 1
    return seen - seen % HOUR


def polls(exporter, instance, at):
    """Counts the polls since the last scrape."""
    failed = failure(instance, at)
    number = SCRAPE // (5 if failed else 15)
    exporter.count("imds_fetches_total", {}, number)
    for kind in KINDS:
        exporter.count("imds_fetch_failures_total", {"kind": kind}, number if failed and failed[0] == kind else 0)
    slow = failed == FIRST_KIND
    for outcome in ("success", "failure"):
        here = (outcome == "failure") == bool(failed)
        exporter.observe("imds_fetch_duration_seconds", {"outcome": outcome}, 1.001 if slow else 0.004,
                         number if here else 0)
    for step in ("token", "role", "credentials"):
        asked = not failed or ["token", "role", "credentials"].index(step) <= \
            ["token", "role", "credentials"].index(failed[1])
        seconds = 1.001 if failed and failed[1] == step and slow else 0.002
        exporter.observe("imds_request_duration_seconds", {"step": step}, seconds, number if asked else 0)
    if instance == HEALTHY and at % (10 * SCRAPE) == 0:
        exporter.observe("imds_request_duration_seconds", {"step": "role"}, 1.4, 1)
    if not failed and exporter.started_at < document(instance, at) and at - document(instance, at) < SCRAPE:
        exporter.count("imds_credentials_rotations_total", {}, 1)
    for name in ("imds_credentials_rotations_total", "imds_role_changes_total", "imds_outages_total"):
        exporter.count(name, {}, 0)
    if failed and not failure(instance, at - SCRAPE) or failed and at == exporter.started_at:
        exporter.count("imds_outages_total", {}, 1)
    exporter.count("process_cpu_seconds_total", {}, 0.02)


def gauges(exporter, instance, at):
    """The gauges at a scrape: (name, labels, value)."""
    failed = failure(instance, at)
    updated = document(instance, at)
    # An exporter does not know documents from before its start.
    seen = not failed or not failure(instance, exporter.started_at)
    yield "imds_up", {}, 0 if failed else 1
    yield "imds_poll_interval_seconds", {}, 15
    yield "imds_fetch_last_attempt_timestamp_seconds", {}, at - 4
    yield "imds_exporter_build_info", {"version": "0.1.0", "revision": "abc1234", "rustversion": "1.95.0"}, 1
    yield "process_start_time_seconds", {}, exporter.started_at
    yield "process_resident_memory_bytes", {}, 5e6
    yield "process_open_fds", {}, 12
    yield "process_max_fds", {}, 1024
    yield "imds_clock_skew_seconds", {}, 90 if instance == EXPIRED else 0.4
    if seen:
        yield "imds_credentials_expiration_timestamp_seconds", {}, updated + LIFETIME
        yield "imds_credentials_remaining_seconds", {}, updated + LIFETIME - at
        yield "imds_credentials_last_updated_timestamp_seconds", {}, updated
        yield "imds_role_info", {"role": "orders" if instance == STUCK else "web"}, 1
        began = {STUCK: OUTAGE[0], EXPIRED: FIRST_FAILURE}.get(instance)
        yield "imds_fetch_last_success_timestamp_seconds", {}, began - SCRAPE if failed else at - 4
    yield "imds_fetch_consecutive_failures", {}, (at - FIRST_FAILURE) // 5 + 1 if failed else 0
    if failed:
        yield "imds_failure_active", {"kind": failed[0], "step": failed[1]}, 1
    if instance == HEALTHY:
        yield "imds_chain_shadowed", {"by": "web_identity"}, 1
    else:
        usable = {"now": not failed}
        if seen:
            usable["before_outage"] = not failed or updated + LIFETIME - at > 900
        if instance == STUCK:
            usable["at_start"] = not failed and exporter.started_at != RESTART
        for created, value in usable.items():
            yield "imds_client_usable", {"sdk": "boto3", "created": created}, int(value)
    if instance == STUCK and at >= TOKENS_FAIL:
        yield "imds_v1_fallback_active", {"kind": "hop_limit"}, 1
    if instance == STUCK:
        over = at >= OUTAGE[1]
        yield "imds_watched_processes", {}, 3
        yield "imds_suspect_processes", {}, 2 if over else 0
        if over:
            yield "imds_outage_last_start_timestamp_seconds", {}, RESTART
            yield "imds_outage_last_end_timestamp_seconds", {}, OUTAGE[1]
            for pid, command, started in (("7", "gunicorn", RESTART + 10), ("9", "celery", RESTART + 20)):
                # Processes of a pod have no unit.
                owner = {"unit": "", "container_id": CONTAINERS[pid], "pod_uid": POD_UID}
                yield "imds_suspect_process_start_time_seconds", {"pid": pid, "command": command, **owner}, started
    if instance != HEALTHY and seen:
        yield "imds_role_expected", {}, 1 if instance == STUCK else 0


def alerts(at):
    """The alerts that fire."""
    if at >= FIRST_FAILURE + 600:
        labels = {"alertname": "ImdsCredentialsFetchFailing", "alertstate": "firing", "severity": "critical"}
        yield labels | TARGETS[EXPIRED] | {"kind": failure(EXPIRED, at)[0]}
    if OUTAGE[0] + 120 <= at < OUTAGE[1]:
        yield {"alertname": "ImdsFleetOutage", "alertstate": "firing", "severity": "critical"}


def samples():
    """Every sample: (name, labels, value, time)."""
    for instance, target in TARGETS.items():
        exporter = Exporter(BEFORE_START)
        for at in range(START, END + 1, SCRAPE):
            if instance == STUCK and at == RESTART:
                exporter = Exporter(RESTART)
            polls(exporter, instance, at)
            up = not (instance == HEALTHY and UNSCRAPED[0] <= at < UNSCRAPED[1])
            yield "up", target, int(up), at
            yield "scrape_duration_seconds", target, 0.003, at
            if up:
                for (name, labels), value in exporter.counters.items():
                    yield name, dict(labels) | target, value, at
                for name, labels, value in gauges(exporter, instance, at):
                    yield name, labels | target, value, at
    for at in range(START, END + 1, SCRAPE):
        for labels in alerts(at):
            yield "ALERTS", labels, 1, at


@functools.cache
def series():
    """The series that the exporters expose: {name: {sets of label names}}."""
    found = {}
    targets = {"job", "instance", "cluster", "namespace"}
    for name, labels, _, _ in samples():
        found.setdefault(name, set()).add(frozenset(labels.keys() - targets))
    return found


def openmetrics():
    """The data as `promtool tsdb create-blocks-from openmetrics` reads it."""
    for name, labels, value, at in samples():
        inner = ",".join(f'{key}="{text}"' for key, text in labels.items())
        yield f"{name}{{{inner}}} {value} {at}\n"
    yield "# EOF\n"
