"""A model of the exporter, which gives the series that scrapes of it would have, for `promtool test rules`.

It polls, remembers and forgets as the exporter does. Time starts at 0; a scrape comes every STEP seconds. The model
takes what happens to an exporter (in minutes), and must not know the alerts.
"""

from dataclasses import dataclass, field
from itertools import groupby

STEP = 30
MINUTE = 60
LIFETIME = 390 * MINUTE
SDK_MARGIN = 15 * MINUTE
BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0)


def within(spans, now):
    """The rest of the first span (from, to, *rest; in minutes) that contains `now` (in seconds), else None."""
    for start, end, *rest in spans:
        if start * MINUTE <= now < end * MINUTE:
            return tuple(rest)
    return None


@dataclass
class Exporter:
    """An exporter with its target labels, and what happens to it. Spans are in minutes."""

    labels: dict
    starts: float = 0
    interval: int = 15
    fails: list = field(default_factory=list)  # (from, to, kind, step)
    lost: list = field(default_factory=list)  # (from, to): scrapes that fail
    absent: list = field(default_factory=list)  # (from, to): not a target
    stalls: list = field(default_factory=list)  # (from, to): the poll loop hangs
    restarts: list = field(default_factory=list)  # minutes at which it crashes and starts again
    stops: list = field(default_factory=list)  # minutes at which it stops in an orderly way and starts again
    keeps_state: bool = True  # has a state file
    workload: str = "independent"  # IMDS_EXPORTER_WORKLOAD
    shadowed: str | None = None  # what shadows IMDS in its environment
    fallback: list = field(default_factory=list)  # (from, to, kind): IMDSv1 only
    rotates: object = None  # minutes at which IMDS renews the document; hourly if None
    lifetime: float = LIFETIME
    role: list = field(default_factory=lambda: [(0, "app")])  # (from, name)
    expects: str | None = None
    skew: list = field(default_factory=list)  # (from, to, seconds)
    slow: list = field(default_factory=list)  # (from, to, seconds)
    suspects: list = field(default_factory=list)  # (from, to, number)
    lose_every: int = 0  # one scrape in so many is lost too

    def series(self, minutes):
        """Series name to its values, one a scrape; None where there is no sample."""
        table = {}
        memory, bound, window, last_success, document = None, None, None, None, None
        rotations = sorted(self.rotates if self.rotates is not None else range(-30, int(minutes) + 1, 60))
        restarts = sorted([self.starts, *self.restarts, *self.stops])
        next_poll = 0.0
        for index in range(int(minutes * MINUTE / STEP) + 1):
            now = index * STEP
            while restarts and restarts[0] * MINUTE <= now:
                restart = restarts.pop(0)
                started = restart * MINUTE
                memory = {"started": started, "fetches": 0, "outages": 0, "role_changes": 0, "streak": 0,
                          "buckets": [0] * (len(BUCKETS) + 1)}
                if restart in self.stops:
                    bound = None
                if not self.keeps_state:
                    bound, window, document, last_success = None, None, None, None
                if last_success is None:
                    last_success = started
                next_poll = started
            while memory and next_poll <= now:
                at = next_poll
                if within(self.stalls, at) is not None:
                    next_poll += self.interval
                    continue
                failure = within(self.fails, at)
                memory["fetches"] += 1
                memory["attempt"] = at
                if failure:
                    memory["streak"] += 1
                    if memory["streak"] == 1:
                        memory["outages"] += 1
                    memory["failure"] = failure
                    if self.workload == "starts-with-exporter":
                        bound = bound or "nothing"
                    next_poll += min(5, self.interval)
                else:
                    if memory["streak"]:
                        window = (last_success, at)
                    memory["streak"] = 0
                    last_success = at
                    updated = max((r for r in rotations if r * MINUTE <= at), default=0) * MINUTE
                    role = [name for start, name in self.role if start * MINUTE <= at][-1]
                    memory["role_changes"] += document is not None and document[2] != role
                    document = (updated, updated + self.lifetime, role)
                    if self.workload != "independent":
                        bound = bound or "credentials"
                    memory["fallback"] = within(self.fallback, at)
                    seconds = (within(self.slow, at) or (0.002,))[0]
                    memory["buckets"][sum(limit < seconds for limit in BUCKETS)] += 1
                    next_poll += self.interval
            self._scrape(table, index, now, memory, bound, window, document)
        return table

    def _scrape(self, table, index, now, memory, bound, window, document):
        def put(name, value, **labels):
            row = table.setdefault(selector(name, {**self.labels, **labels}), [])
            row.extend([None] * (index - len(row)))
            row.append(value)

        if within(self.absent, now) is not None or memory is None:
            return
        restarting = any(0 <= now - restart * MINUTE < 30 for restart in [*self.restarts, *self.stops])
        lost = within(self.lost, now) is not None or (self.lose_every and index % self.lose_every == 7)
        put("up", int(not (lost or restarting)))
        if lost or restarting:
            return
        put("process_start_time_seconds", memory["started"])
        put("imds_poll_interval_seconds", self.interval)
        put("imds_fetches_total", memory["fetches"])
        put("imds_outages_total", memory["outages"])
        put("imds_role_changes_total", memory["role_changes"])
        count = 0
        for limit, more in zip((*BUCKETS, "+Inf"), memory["buckets"]):
            count += more
            put("imds_fetch_duration_seconds_bucket", count, outcome="success", le=str(limit))
        number = within(self.suspects, now)
        if self.suspects:
            put("imds_suspect_processes", number[0] if number else 0)
        if self.shadowed:
            put("imds_chain_shadowed", 1, by=self.shadowed)
        if "attempt" not in memory:
            return
        failing = memory["streak"] > 0
        skew = (within(self.skew, now) or (0,))[0]
        put("imds_up", int(not failing))
        put("imds_fetch_last_attempt_timestamp_seconds", memory["attempt"] - skew)
        put("imds_clock_skew_seconds", skew)
        if failing:
            kind, step = memory["failure"]
            put("imds_failure_active", 1, kind=kind, step=step)
        elif memory["fallback"]:
            put("imds_v1_fallback_active", 1, kind=memory["fallback"][0])
        if document:
            updated, expiration, role = document
            put("imds_credentials_last_updated_timestamp_seconds", updated)
            put("imds_credentials_expiration_timestamp_seconds", expiration)
            put("imds_role_info", 1, role=role)
        usable = {"now": not failing}
        if document:
            usable["before_outage"] = not failing or document[1] - now > SDK_MARGIN
        if bound:
            # What clients hold of an older document is not modelled.
            usable["at_start"] = bound == "credentials" and usable["before_outage"]
        for created, value in usable.items():
            if not self.shadowed:
                put("imds_client_usable", int(value), sdk="boto3", created=created)
        if self.expects:
            put("imds_role_expected", int(bool(document) and document[2] == self.expects))
        if window:
            put("imds_outage_last_start_timestamp_seconds", window[0])
            put("imds_outage_last_end_timestamp_seconds", window[1])


@dataclass
class Workload:
    """A scraped program that started at a minute, with the info metrics that it exposes."""

    labels: dict
    started: float
    until: float = float("inf")
    exposes: tuple = ()

    def series(self, minutes):
        first, steps = max(0, int(self.started * MINUTE / STEP)), int(minutes * MINUTE / STEP) + 1
        last = min(steps, int(min(self.until, minutes + 1) * MINUTE / STEP))
        values = [None] * first + [self.started * MINUTE] * (last - first)
        return {selector(name, self.labels): values if name.startswith("process") else [v and 1 for v in values]
                for name in ("process_start_time_seconds", "up", *self.exposes)}


def selector(name, labels):
    return "%s{%s}" % (name, ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())))


def notation(values, length):
    """Values in promtool's notation. A series that ends is marked as stale, as Prometheus does."""
    values = [*values, *[None] * (length - len(values))]
    marked = ["stale" if value is None and index and values[index - 1] is not None else value
              for index, value in enumerate(values)]
    runs = []
    for value, group in groupby(marked):
        more = len(list(group)) - 1
        if value is None:
            runs.append(f"_x{more + 1}")
        elif value == "stale":
            runs.append("stale")
        else:
            runs.append(f"{value}x{more}" if more else str(value))
    return " ".join(runs)


def input_series(targets, minutes):
    """The `input_series` of a promtool test."""
    length = int(minutes * MINUTE / STEP) + 1
    merged = {}
    for target in targets:
        for name, values in target.series(minutes).items():
            if name in merged:
                raise ValueError(f"two targets have {name}")
            merged[name] = values
    return [{"series": name, "values": notation(values, length)} for name, values in merged.items()]
