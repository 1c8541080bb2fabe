#!/usr/bin/env python3
"""Measures what the alert rules cost a Prometheus that watches a whole fleet.

    tests/tools/setup && target/tools/python/bin/python tests/rules/fleet_cost.py [--exporters 1000] [--failing 0]
        [--beside OTHER-RULES.yaml]

Backfills a Prometheus with the series of that many exporters, lets it evaluate the shipped rules, and prints how long
an evaluation takes, by group. The series are those of the golden scrape that a rule reads; the values are made up. With --beside, the same
Prometheus evaluates another version of the rules too, so that both can be compared on any machine:

    git show REVISION:deploy/prometheus/imds-alerts.yaml > /tmp/other.yaml
"""

import argparse
import json
import pathlib
import re
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
from helpers.http_client import body  # noqa: E402
from helpers.paths import ROOT, RULES  # noqa: E402
from helpers.prometheus import backfill, prometheus  # noqa: E402

SCRAPE = 30
CYCLES = 8
# What rules read over an hour; the rest is needed for the longest of the other windows.
LONG, SHORT = 65 * 60, 16 * 60
LONG_METRICS = re.compile(r"imds_(outage_last|outages_total|credentials_expiration|fetch_duration)|process_start_time")
# What the recording rules of the last hour have left.
RECORDED = {"imds:exporter:up": ("1", "1"), "imds:exporter:failing": ("0", "1")}
# The group whose evaluations are counted.
GROUP = "imds-conditions"


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
    """A made-up value: timestamps near now, the state as wanted, everything else as in the golden scrape."""
    name = series.split("{")[0]
    if name == "imds_up":
        return "0" if failing else "1"
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


def target_labels(exporter):
    return f'instance="10.{exporter >> 8}.{exporter & 255}.1:10169",job="imds-exporter"'


def openmetrics(exporters, failing, end, rules):
    read = set(re.findall(r"\w+", rules))
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
    for name, values in RECORDED.items():
        yield f"# TYPE {name} gauge\n"
        for exporter in range(exporters):
            for now in range(end - LONG, end + 1, SCRAPE):
                yield f"{name}{{{target_labels(exporter)}}} {values[exporter < failing]} {now}\n"
    yield "# EOF\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exporters", type=int, default=1000)
    parser.add_argument("--failing", type=int, default=0, help="how many of them cannot fetch credentials")
    parser.add_argument("--beside", type=pathlib.Path, help="another rule file, to compare with")
    arguments = parser.parse_args()
    files = [str(RULES), *([str(arguments.beside.resolve())] if arguments.beside else [])]
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        # Prometheus must write nothing before the last backfilled sample, which hence lies after the preparation.
        end = int(time.time()) + preparation_seconds(arguments.exporters)
        rules = "".join(pathlib.Path(file).read_text() for file in files)
        backfill(home, openmetrics(arguments.exporters, arguments.failing, end, rules))
        late = time.time() - end
        if late > 120:
            sys.exit(f"preparing took {late:.0f} s too long: the windows would be empty")
        time.sleep(max(0, -late))
        configuration = {"global": {"evaluation_interval": f"{evaluation_seconds(arguments.exporters)}s"}, "rule_files": files}
        with prometheus(home, configuration) as server:
            report(server, arguments.failing, files)


def report(server, failing, files):
    def group_metric(name, exposition):
        return re.findall(rf'^prometheus_rule_group_{name}\{{rule_group="([^"]+)"\}} (\S+)$', exposition, re.M)

    def exposition():
        return body(f"{server.url}/metrics")

    def cpu():
        return float(re.search(r"^process_cpu_seconds_total (\S+)", exposition(), re.M)[1])

    def count(what):
        return int(sum(value for _, value in server.query(f"count({what})")))

    cycles, seen, cpu_before = {}, {}, None
    deadline = time.monotonic() + 240
    counted = [f"{file};{GROUP}" for file in files]
    while min(len(cycles.get(group, [])) for group in counted) < CYCLES and time.monotonic() < deadline:
        text = exposition()
        took = dict(group_metric("last_duration_seconds", text))
        for group, instant in group_metric("last_evaluation_timestamp_seconds", text):
            if float(instant) > 0 and seen.get(group) != instant:
                seen[group] = instant
                cycles.setdefault(group, []).append(float(took[group]))
        # From the first whole cycle on, so that the start is not counted.
        if cpu_before is None and len(cycles.get(counted[0], [])) == 2:
            cpu_before = cpu()
        time.sleep(0.5)
    cpu_a_cycle = (cpu() - (cpu_before or 0)) / (CYCLES - 2)
    failures = re.findall(r"^prometheus_rule_evaluation_failures_total\S* ([^0]\S*)$", exposition(), re.M)
    if failures or min(len(cycles.get(group, [])) for group in counted) < CYCLES:
        sys.exit(f"rules failed {failures}, or were not evaluated often enough: {cycles}\n{server.process.output}")
    exporters, alerts = (count(what) for what in ("imds_up", "ALERTS"))
    print(f"{exporters} exporters, {failing} failing, {alerts} alerts pending or firing")
    totals = []
    for file in files:
        print(f"{file}, median and longest of {CYCLES} evaluations:")
        of_file = {group.rpartition(";")[2]: seconds for group, seconds in cycles.items() if group.startswith(file + ";")}
        for group, seconds in of_file.items():
            print(f"  {group:20} {statistics.median(seconds) * 1000:7.1f} ms {max(seconds) * 1000:7.1f} ms")
        totals.append(sum(statistics.median(seconds) for seconds in of_file.values()))
        print(f"  {'one cycle':20} {totals[-1] * 1000:7.1f} ms")
    groups = json.loads(body(f"{server.url}/api/v1/rules"))["data"]["groups"]
    rules = [(rule["evaluationTime"], rule["name"]) for group in groups if group["file"] == files[0] for rule in group["rules"]]
    print("the costliest of the shipped rules, at the last evaluation:")
    for seconds, name in sorted(rules, reverse=True)[:12]:
        print(f"  {name:40} {seconds * 1000:7.1f} ms")
    print(f"on the CPU {cpu_a_cycle * 1000:.0f} ms a cycle")
    for file, total in zip(files[1:], totals[1:]):
        print(f"the shipped rules take {totals[0] / total:.2f} times as long as {file}")


if __name__ == "__main__":
    main()
