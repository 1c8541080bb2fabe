#!/usr/bin/env python3
"""What the alert rules cost a Prometheus that watches a whole fleet.

    tests/setup && target/tools/python/bin/python tests/alerts/fleet_cost.py [--exporters 1000] [--failing 0]

Fills a Prometheus by backfill with the series of that many exporters, lets it evaluate the shipped rules, and prints
how long an evaluation cycle takes, by group. The series are those of the golden scrape; the values are made up.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tools import DEBIAN, ROOT, RULES  # noqa: E402

SCRAPE = 30
EVALUATION = 5
CYCLES = 12
# What rules read over an hour; the rest is needed for the longest of the other windows.
LONG, SHORT = 65 * 60, 16 * 60
LONG_METRICS = re.compile(r"imds_(outage_last|outages_total|credentials_expiration)")
PREPARATION = 60


def series():
    """Names and labels of everything that an exporter shows, from the golden scrape, by metric family."""
    families, kind = {}, None
    for line in (ROOT / "tests/golden/scrape.txt").read_text().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            families[name] = (kind, [])
        elif line and not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            families[name][1].append((key, value))
    return families


def value_at(key, value, now, failing):
    """A made-up value: instants near now, the state as told, all else as the golden scrape has it."""
    name = key.split("{")[0]
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


def openmetrics(exporters, failing, end):
    for name, (kind, samples) in series().items():
        yield f"# TYPE {name.removesuffix('_total') if kind == 'counter' else name} {kind}\n"
        span = LONG if LONG_METRICS.match(name) else SHORT
        for exporter in range(exporters):
            fails = exporter < failing
            if name == "imds_failure_active":
                samples = [('imds_failure_active{kind="connect_refused",step="token"}', "1")] if fails else []
            target = f'instance="10.{exporter >> 8}.{exporter & 255}.1:10169",job="imds-exporter"'
            for key, value in samples:
                metric, _, labels = key.partition("{")
                labels = f"{metric}{{{target}{',' + labels if labels else '}'}"
                for now in range(end - span, end + 1, SCRAPE):
                    yield f"{labels} {value_at(key, value, now, fails)} {now}\n"
    yield "# TYPE up gauge\n"
    for exporter in range(exporters):
        for now in range(end - SHORT, end + 1, SCRAPE):
            yield (f'up{{instance="10.{exporter >> 8}.{exporter & 255}.1:10169",job="imds-exporter"}} 1 {now}\n')
    yield "# EOF\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--exporters", type=int, default=1000)
    arguments.add_argument("--failing", type=int, default=0, help="how many of them cannot fetch credentials")
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        # Nothing may be written before the last backfilled sample, so the history ends when all is prepared.
        end = int(time.time()) + PREPARATION
        with (home / "fleet.om").open("w") as text:
            text.writelines(openmetrics(wanted.exporters, wanted.failing, end))
        subprocess.run([DEBIAN / "promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet",
                        home / "fleet.om", home / "data"], check=True, stdout=subprocess.DEVNULL)
        (home / "prometheus.yml").write_text(json.dumps({
            "global": {"evaluation_interval": f"{EVALUATION}s"}, "rule_files": [str(RULES)],
        }))
        late = time.time() - end
        if late > 120:
            sys.exit(f"preparing took {late:.0f} s too long: the windows would be empty")
        time.sleep(max(0, -late))
        log = (home / "log").open("w+")
        server = subprocess.Popen([DEBIAN / "prometheus", f"--config.file={home / 'prometheus.yml'}",
                                   f"--storage.tsdb.path={home / 'data'}", "--web.listen-address=127.0.0.1:0"],
                                  stderr=log, stdout=log)
        try:
            report(server, log, wanted)
        finally:
            server.terminate()
            server.wait()


def report(server, log, wanted):
    def read():
        log.seek(0)
        return log.read()

    deadline = time.monotonic() + 150
    address = None
    while not address:
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(read())
        address = re.search(r"Listening on.* address=(\S+)", read())
        time.sleep(0.1)

    def get(path):
        with urllib.request.urlopen(f"http://{address[1]}{path}", timeout=30) as answer:
            return answer.read().decode()

    def query(expression):
        asked = urllib.parse.urlencode({"query": expression})
        found = json.loads(get(f"/api/v1/query?{asked}"))["data"]["result"]
        return int(found[0]["value"][1]) if found else 0

    def cpu():
        return float(re.search(r"^process_cpu_seconds_total (\S+)", get("/metrics"), re.M)[1])

    cycles, seen, cpu_before = {}, {}, None
    while len(cycles.get("imds-conditions", [])) < CYCLES and time.monotonic() < deadline:
        exposition = get("/metrics") if "Server is ready" in read() else ""
        took = dict(re.findall(r'^prometheus_rule_group_last_duration_seconds\{rule_group="[^"]*;([^"]+)"\} (\S+)$',
                               exposition, re.M))
        when = dict(re.findall(r'^prometheus_rule_group_last_evaluation_timestamp_seconds\{rule_group="[^"]*;([^"]+)"\}'
                               r" (\S+)$", exposition, re.M))
        for group, instant in when.items():
            if float(instant) > 0 and seen.get(group) != instant:
                seen[group] = instant
                cycles.setdefault(group, []).append(float(took[group]))
        # From the first whole cycle on, so that the start is not counted.
        if cpu_before is None and len(cycles.get("imds-conditions", [])) == 2:
            cpu_before = cpu()
        time.sleep(0.5)
    cpu_a_cycle = (cpu() - (cpu_before or 0)) / (CYCLES - 2)
    failures = re.findall(r"^prometheus_rule_evaluation_failures_total\S* ([^0]\S*)$", get("/metrics"), re.M)
    if failures or len(cycles.get("imds-conditions", [])) < CYCLES:
        sys.exit(f"rules failed {failures}, or were not evaluated often enough: {cycles}\n{read()}")
    exporters, held, alerts = (query(f"count({what})") for what in ("imds_up", '{job=~".+"}', "ALERTS"))
    print(f"{exporters} exporters, {held} series, {wanted.failing} failing, {alerts} alerts pending or firing")
    print(f"median and longest of {CYCLES} evaluations:")
    for group, seconds in cycles.items():
        print(f"  {group:20} {statistics.median(seconds) * 1000:7.1f} ms {max(seconds) * 1000:7.1f} ms")
    total = sum(statistics.median(seconds) for seconds in cycles.values())
    print(f"  {'one cycle':20} {total * 1000:7.1f} ms, of which on the CPU {cpu_a_cycle * 1000:.0f} ms")


if __name__ == "__main__":
    main()
