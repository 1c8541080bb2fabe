#!/usr/bin/env python3
"""Measures what the alert rules cost a Prometheus that watches a whole fleet.

    tests/tools/setup && target/tools/python/bin/python tests/rules/fleet_cost.py [--exporters 1000] [--failing 0]
        [--beside OTHER-RULES.yaml]

Backfills a Prometheus with the series of that many exporters, lets it evaluate the shipped rules, and prints what an evaluation of
all rules takes of the CPU, and how long each group takes. The series are those of the golden scrape that a rule reads; the values
are made up. With --beside, another Prometheus evaluates another version of the rules on the same data at the same time, so that both
can be compared on any machine, busy or not:

    git show REVISION:deploy/prometheus/imds-alerts.yaml > /tmp/other.yaml
"""

import argparse
import contextlib
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
from helpers.http_client import body  # noqa: E402
from helpers.paths import ROOT, RULES  # noqa: E402
from helpers.prometheus import backfill, prometheus  # noqa: E402

SCRAPE = 30
CYCLES = 8
# What rules read over an hour; the rest is needed for the longest of the other windows.
LONG, SHORT = 65 * 60, 16 * 60
LONG_METRICS = re.compile(r"imds_(outage_last|outages_total|credentials_expiration|fetch_duration)|process_start_time")
# What the recording rules of the last hour have left, with the labels that these rules give: with others, each exporter counted twice.
RECORDED = {"imds:exporter:up": ("1", "1"), "imds:exporter:failing": ("0", "1")}


def families():
    """What an exporter exposes, from the golden scrape: family to (type, [(series, value)])."""
    found, kind = {}, None
    for line in (ROOT / "tests/integration/golden/scrape.txt").read_text().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found[name] = (kind, [])
        elif line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            found[name][1].append((series, value))
    return found


def value_at(series, value, now, failing):
    """A made-up value: timestamps near now, polls that go on, the state as wanted, everything else as in the golden scrape."""
    name = series.split("{")[0]
    if name == "imds_up":
        return "0" if failing else "1"
    if name == "imds_fetches_total":
        return str(now)
    if name in {"imds_client_usable", "imds_role_expected"}:
        return "1"
    if name in {"imds_suspect_processes", "imds_clock_skew_seconds"}:
        return "0"
    if name.endswith("expiration_timestamp_seconds"):
        return str(now + 20000)
    if name.endswith("_timestamp_seconds") or name == "process_start_time_seconds":
        return str(now - 5)
    return value


def preparation_seconds(exporters):
    return max(60, exporters * 3 // 40)


def evaluation_seconds(exporters):
    """Long enough for an evaluation of all rules; CYCLES of it are over before a window of three minutes is empty."""
    return max(5, exporters // 500)


def host(exporter):
    return f"10.{exporter >> 8}.{exporter & 255}.1"


def target_labels(exporter):
    return f'instance="{host(exporter)}:10169",job="imds-exporter"'


def recorded_labels(exporter, rules):
    return target_labels(exporter) + (f',machine="{host(exporter)}"' if '"machine"' in rules else "")


def scraped(exporters, failing, end, read):
    """The samples of all scrapes; `read` is the text of all rules that are compared."""
    read = set(re.findall(r"\w+", read))
    for name, (kind, samples) in families().items():
        if not read & {name, *(f"{name}_{suffix}" for suffix in ("bucket", "count", "sum"))}:
            continue
        yield f"# TYPE {name.removesuffix('_total') if kind == 'counter' else name} {kind}\n"
        span = LONG if LONG_METRICS.match(name) else SHORT
        for exporter in range(exporters):
            fails = exporter < failing
            if name == "imds_failure_active":
                samples = [('imds_failure_active{kind="connect_refused",step="token"}', "1")] if fails else []
            if name in ("imds_signed_call_failure_active", "imds_v1_fallback_active"):
                samples = []
            for series, value in samples:
                metric, _, labels = series.partition("{")
                labels = f"{metric}{{{target_labels(exporter)}{',' + labels if labels else '}'}"
                for now in range(end - span, end + 1, SCRAPE):
                    yield f"{labels} {value_at(series, value, now, fails)} {now}\n"
    yield "# TYPE up gauge\n"
    for exporter in range(exporters):
        for now in range(end - SHORT, end + 1, SCRAPE):
            yield f"up{{{target_labels(exporter)}}} 1 {now}\n"
    yield "# EOF\n"


def recorded(exporters, failing, end, rules):
    """The samples that these rules have recorded."""
    for name, values in RECORDED.items():
        yield f"# TYPE {name} gauge\n"
        for exporter in range(exporters):
            for now in range(end - LONG, end + 1, SCRAPE):
                yield f"{name}{{{recorded_labels(exporter, rules)}}} {values[exporter < failing]} {now}\n"
    yield "# EOF\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exporters", type=int, default=1000)
    parser.add_argument("--failing", type=int, default=0, help="how many of them cannot fetch credentials")
    parser.add_argument("--beside", type=pathlib.Path, help="another rule file, to compare with")
    arguments = parser.parse_args()
    files = [RULES, *([arguments.beside.resolve()] if arguments.beside else [])]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        homes = [pathlib.Path(folder) / str(number) for number, _ in enumerate(files)]
        # Prometheus must write nothing before the last backfilled sample, which hence lies after the preparation.
        end = int(time.time()) + preparation_seconds(arguments.exporters)
        texts = [file.read_text() for file in files]
        for home in homes:
            home.mkdir()
        backfill(homes[0], scraped(arguments.exporters, arguments.failing, end, "".join(texts)))
        for home in homes[1:]:
            shutil.copytree(homes[0] / "data", home / "data")
        for home, rules in zip(homes, texts):
            backfill(home, recorded(arguments.exporters, arguments.failing, end, rules))
        late = time.time() - end
        if late > 120:
            sys.exit(f"preparing took {late:.0f} s too long: the windows would be empty")
        time.sleep(max(0, -late))
        interval = f"{evaluation_seconds(arguments.exporters)}s"
        servers = [stack.enter_context(prometheus(home, {"global": {"evaluation_interval": interval}, "rule_files": [str(file)]}))
                   for home, file in zip(homes, files)]
        with ThreadPoolExecutor() as pool:
            costs = list(pool.map(cost, servers))
        exporters, alerts = (sum(value for _, value in servers[0].query(f"count({what})")) for what in ("imds_up", "ALERTS"))
        if exporters != arguments.exporters:
            sys.exit("it took so long that the data became old: the machine is too busy")
        print(f"{exporters:.0f} exporters, {arguments.failing} failing, {alerts:.0f} alerts pending or firing")
        for file, (cpu, groups) in zip(files, costs):
            print(f"{file}: an evaluation of all rules takes {cpu * 1000:.0f} ms of the CPU")
            for group, seconds in groups.items():
                print(f"  {group:20} {seconds * 1000:7.1f} ms, the median of {CYCLES}")
        for file, (cpu, _) in zip(files[1:], costs[1:]):
            print(f"the shipped rules cost {costs[0][0] / cpu:.2f} times as much as {file}")


def cost(server):
    """What one evaluation of all rules takes of the CPU, and how long each group takes, in seconds."""
    seen, took, marks = {}, {}, {}
    deadline = time.monotonic() + 600
    while len(marks) < CYCLES and time.monotonic() < deadline:
        text = body(f"{server.url}/metrics")

        def of_groups(name, text=text):
            return {group: float(value) for group, value in re.findall(
                rf'^prometheus_rule_group_{name}\{{rule_group="[^;"]+;([^"]+)"\}} (\S+)$', text, re.MULTILINE)}

        durations = of_groups("last_duration_seconds")
        for group, instant in of_groups("last_evaluation_timestamp_seconds").items():
            if instant > 0 and seen.get(group) != instant:
                seen[group] = instant
                took.setdefault(group, []).append(durations[group])
        # From the second evaluation of the last group on, so that the start is not counted.
        evaluations = min(of_groups("iterations_total").values())
        if evaluations >= 2:
            marks.setdefault(evaluations, float(re.search(r"^process_cpu_seconds_total (\S+)", text, re.MULTILINE)[1]))
        time.sleep(0.25)
    failures = re.findall(r"^prometheus_rule_(?:evaluation_failures|group_iterations_missed)_total\S* ([^0]\S*)$",
                          body(f"{server.url}/metrics"), re.MULTILINE)
    if failures or len(marks) < CYCLES:
        sys.exit(f"rules failed or were left out {failures}, or were not evaluated often enough: {took}\n{server.process.output}")
    (first, before), (last, after) = min(marks.items()), max(marks.items())
    return (after - before) / (last - first), {group: statistics.median(seconds) for group, seconds in took.items()}


if __name__ == "__main__":
    main()
