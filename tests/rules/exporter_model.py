"""Exporters and workloads that something happens to, as the series that scrapes of them would have, for `promtool test rules`.

What an exporter says comes from its own code (helpers/replay.py). Time starts at 0; a scrape comes every `step` seconds. This
module takes what happens (in minutes), knows when a scrape fails and when a target is gone, and must not know the alerts.
"""

import json
import re
from dataclasses import dataclass, field
from itertools import groupby

from helpers.alert_rules import TEXT
from helpers.replay import replay

STEP = 30
MINUTE = 60
LIFETIME = 390 * MINUTE
# A restart takes less than a scrape interval: exactly one scrape fails.
RESTART = 25
# The year 1, as programs in Go have it.
ZERO_TIME = -62_135_596_800
# What the rules read; the rest would only take time.
METRICS = sorted({"imds_exporter_build_info", "process_start_time_seconds", *re.findall(r"\bimds_\w+", TEXT)})


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
    replaced: list = field(default_factory=list)  # minutes at which its pod is replaced, whose exporter knows nothing of before
    dead: list = field(default_factory=list)  # (from, to): it crashed, and does not run
    keeps_state: bool = True  # has a state file
    workload: str = "independent"  # IMDS_EXPORTER_WORKLOAD
    shadowed: str | None = None  # what shadows IMDS in its environment
    fallback: list = field(default_factory=list)  # (from, to, kind): IMDSv1 only
    rotates: object = None  # minutes at which IMDS renews the document; hourly if None
    lifetime: float = LIFETIME
    updated: str | None = None  # LastUpdated: as it is, "missing", or "0001" for the zero time of some programs
    role: list = field(default_factory=lambda: [(0, "app")])  # (from, name)
    expects: str | None = None
    skew: list = field(default_factory=list)  # (from, to, seconds)
    slow: list = field(default_factory=list)  # (from, to, seconds)
    watches: bool = False
    processes: list = field(default_factory=list)  # (from, to): watched processes
    signed_calls: float | None = None  # minutes between them; none are made if None
    rejected: list = field(default_factory=list)  # (from, to, reason): signed calls that fail
    lose_every: int = 0  # one scrape in so many is lost too
    up_without: tuple | None = ()  # labels that `up` lacks; no `up` at all if None
    metrics: list = field(default_factory=lambda: METRICS)

    def history(self, minutes, step):
        """What happens, for `replay`."""
        happens = []
        rotations = sorted(self.rotates if self.rotates is not None else range(-30, int(minutes) + 1, 60))
        for minute in sorted({0, *rotations, *(start for start, _ in self.role)}):
            updated = max((r for r in rotations if r <= minute), default=0) * MINUTE
            role = [name for start, name in self.role if start <= max(minute, 0)][-1]
            last_updated = {None: updated, "missing": None, "0001": ZERO_TIME}[self.updated]
            happens.append((minute, {"document": {
                "role": role, "last_updated": last_updated, "expiration": updated + self.lifetime}}))
        for start, end, kind, request in self.fails:
            happens += [(end, {"fault": None}), (start, {"fault": {"kind": kind, "step": request}})]
        for start, end, kind in self.fallback:
            happens += [(end, {"v1_fallback": None}), (start, {"v1_fallback": kind})]
        for start, end, seconds in self.skew:
            happens += [(end, {"clock_skew_seconds": 0}), (start, {"clock_skew_seconds": seconds})]
        for start, end, seconds in self.slow:
            happens += [(end, {"duration_seconds": 0.002}), (start, {"duration_seconds": seconds})]
        for start, end, reason in self.rejected:
            happens += [(end, {"signed_call_failure": None}), (start, {"signed_call_failure": reason})]
        for start, end in self.stalls:
            happens += [(end, {"exporter": "go_on"}), (start, {"exporter": "hang"})]
        for pid, (start, end) in enumerate(self.processes, 100):
            happens += [(end, {"process_ends": pid}), (start, {"process": {"pid": pid, "command": "python3"}})]
        happens.append((self.starts, {"exporter": "start"}))
        # A pod that is replaced is to its exporter what a reboot is.
        for how, at in [*(("crash", at) for at in self.restarts), *(("stop", at) for at in self.stops),
                        *(("reboot", at) for at in self.replaced)]:
            happens += [(at, {"exporter": how}), (at + RESTART / MINUTE, {"exporter": "start"})]
        for start, end in self.dead:
            happens += [(start, {"exporter": "crash"}), (end, {"exporter": "start"})]
        # At one moment, what ends comes before what starts, IMDS before the exporter, and its start before it hangs.
        happens.sort(key=lambda event: (
            event[0], "exporter" in event[1], event[1].get("exporter") == "hang", None not in event[1].values()))
        return {
            "poll_interval_seconds": self.interval, "workload": self.workload, "shadowed": self.shadowed,
            "signed_call_interval_seconds": self.signed_calls and self.signed_calls * MINUTE,
            "expected_role": self.expects, "state_file": self.keeps_state, "watch": self.watches,
            "metrics": self.metrics, "events": [{"at": minute * MINUTE, **what} for minute, what in happens],
            "scrapes": times(minutes, step),
        }

    def series(self, minutes, step, scrapes):
        """Series to its values, one a scrape; None where there is no sample. `scrapes` is what `replay` returned."""
        table, names, answers = {}, {}, dict(scrapes)

        def put(index, series, value):
            row = table.setdefault(series, [])
            row.extend([None] * (index - len(row)))
            row.append(value)

        for index, now in enumerate(times(minutes, step)):
            if within(self.absent, now) is not None or now < self.starts * MINUTE:
                continue
            lost = within(self.lost, now) is not None or (self.lose_every and index % self.lose_every == 7)
            answer = None if lost else answers.get(now)
            if self.up_without is not None:
                put(index, selector("up", {key: value for key, value in self.labels.items() if key not in self.up_without}),
                    int(answer is not None))
            if answer is None:
                continue
            for series, value in answer.items():
                if series not in names:
                    names[series] = self.scraped(series)
                put(index, names[series], value)
        return table

    def scraped(self, series):
        """With the labels of the target, as Prometheus does it, unless `honor_labels` is set."""
        target = ",".join(f'{key}="{value}"' for key, value in sorted(self.labels.items()))
        name, _, own = series.partition("{")
        own = re.sub(r'(\w+)="', lambda label: ("exported_" if label[1] in self.labels else "") + label[0], own)
        return f"{name}{{{own.removesuffix('}') + ',' if own else ''}{target}}}"


@dataclass
class Workload:
    """A scraped program that started at a minute, with the info metrics that it exposes."""

    labels: dict
    started: float
    until: float = float("inf")
    exposes: tuple = ()

    def series(self, minutes, step):
        first, steps = max(0, int(self.started * MINUTE / step)), len(times(minutes, step))
        last = min(steps, int(min(self.until, minutes + 1) * MINUTE / step))
        values = [None] * first + [self.started * MINUTE] * (last - first)
        return {selector(name, self.labels): values if name.startswith("process") else [None if v is None else 1 for v in values]
                for name in ("process_start_time_seconds", "up", *self.exposes)}


@dataclass
class Given:
    """A series of another program, from a minute to another: its value, or what it is at a minute."""

    name: str
    labels: dict
    value: object = 1
    start: float = 0
    until: float = float("inf")

    def series(self, minutes, step):
        def at(minute):
            if self.start <= minute < self.until:
                return self.value(minute) if callable(self.value) else self.value
            return None

        return {selector(self.name, self.labels): [at(now / MINUTE) for now in times(minutes, step)]}


def times(minutes, step):
    """The times of the scrapes, in seconds."""
    return [index * step for index in range(int(minutes * MINUTE / step) + 1)]


def selector(name, labels):
    return "%s{%s}" % (name, ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())))


def number(value):
    """As promtool reads it, without an exponent."""
    return str(int(value)) if value == int(value) else f"{value:.6f}"


def notation(values, scrapes, unseen=()):
    """Values in promtool's notation. A series that ends is marked as stale, as Prometheus does.

    `unseen` are the spans, in minutes, in which Prometheus does not run: there is neither a sample nor a mark.
    """
    values = [*values, *[None] * (len(scrapes) - len(values))]
    marked, before = [], None
    for now, value in zip(scrapes, values):
        if unseen and within(unseen, now) is not None:
            marked.append(None)
        else:
            marked.append("stale" if value is None and before is not None else value)
            before = value
    runs = []
    for value, group in groupby(marked):
        more = len(list(group)) - 1
        if value is None:
            runs.append(f"_x{more + 1}")
        elif value == "stale":
            runs.append("stale")
        else:
            runs.append(f"{number(value)}x{more}" if more else number(value))
    return " ".join(runs)


# What has been replayed, by its history: many exporters have the same.
_REPLAYED = {}


def input_series(targets, minutes, unseen=(), step=STEP):
    """The `input_series` of a promtool test; `unseen` as in `notation`."""
    histories = {id(target): json.dumps(target.history(minutes, step)) for target in targets if isinstance(target, Exporter)}
    new = sorted(set(histories.values()) - _REPLAYED.keys())
    _REPLAYED.update(zip(new, replay([json.loads(history) for history in new])))
    merged = {}
    for target in targets:
        known = histories.get(id(target))
        series = target.series(minutes, step, _REPLAYED[known]) if known else target.series(minutes, step)
        for name, values in series.items():
            if name in merged:
                raise ValueError(f"two targets have {name}")
            merged[name] = values
    return [{"series": name, "values": notation(values, times(minutes, step), unseen)} for name, values in merged.items()]
