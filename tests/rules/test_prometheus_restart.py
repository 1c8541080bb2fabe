"""A Prometheus that did not run for a while, and what it takes for present of what it recorded before."""

import shutil
import signal
import time

from helpers import exporters
from helpers.paths import RULES
from helpers.prometheus import backfill, prometheus
from helpers.waiting import until

JOB = "kubernetes-pods"
# How long ago the last sample is: longer than the windows in which gauges are read (3 minutes), shorter than the time for
# which Prometheus takes the last sample of a series for present (5 minutes).
AWAY_SECONDS = 200


def test_an_outage_that_ended_meanwhile_has_ended(tmp_path):
    with exporters.simulator() as imds, exporters.exporter(imds.endpoint) as exporter:
        exporter.reach(up=True)
        last = int(time.time()) - AWAY_SECONDS
        machine = f'machine="{exporter.address.partition(":")[0]}"'
        target = f'job="{JOB}",instance="{exporter.address}"'
        outage = {f"imds_up{{{target}}}": 0, f"imds:exporter:failing{{{target},{machine}}}": 1,
                  f"imds:exporter:in_outage{{{target},{machine}}}": 1, f"imds:exporter:valid_until{{{target},{machine}}}": last + 60,
                  f"imds:machine:failing{{{machine}}}": 1, f"imds:machine:failing_since{{{machine}}}": last - 360,
                  f"imds:machine:outage_seconds{{{machine}}}": 360}
        backfill(tmp_path, [
            *(line for series, value in outage.items() for line in (f"# TYPE {series.partition('{')[0]} gauge\n", *(
                f"{series} {value} {at}\n" for at in range(last - 360, last + 1, 30)))),
            "# EOF\n"])
        with prometheus(tmp_path, {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["*.yaml"],
            "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [exporter.address]}]}],
        }) as server:
            assert server.query(f"imds:machine:failing offset {AWAY_SECONDS}s == 1")
            # The first scrape comes before the first evaluation, which finds the end of the outage.
            until(lambda: server.query("imds_up == 1"), "a scrape")
            shutil.copy(RULES, tmp_path)
            server.process.signal_group(signal.SIGHUP)
            until(lambda: server.query("count_over_time(imds:exporter:failing[1m]) >= 2"), "two evaluations")
            assert not server.query("imds:machine:failing == 1")
            assert not server.get("alerts")["alerts"]


def test_a_machine_is_not_unreliable_because_prometheus_was_away(tmp_path):
    """For 17 minutes until a minute ago: one outage of six minutes was over before, another goes on."""
    now, step = int(time.time()), 30
    before, after = range(now - 2400, now - 1079, step), range(now - 150, now + 1, step)
    over, lasts = (f'{{machine="{name}"}}' for name in ("over", "lasts"))
    recorded = {
        'imds:runbook:url{url=""}': [(at, 1) for at in (*before, *after)],
        f"imds:machine:outage_seconds{over}": [(at, at - before[-13]) for at in before[-13:]],
        f"imds:machine:outage_seconds{lasts}": [(at, at - run[0]) for run in (before, after) for at in run],
        f"imds:machine:failing{over}": [*((at, 1) for at in before[-13:]), (after[0], 0)],
        f"imds:machine:failing{lasts}": [(at, 1) for at in (*before, *after)],
        f"imds:exporter:up{over}": [(at, 1) for at in (*before, *after)],
        f"imds:exporter:up{lasts}": [(at, 1) for at in (*before, *after)],
    }
    lines, named = [], set()
    for series, samples in recorded.items():
        name = series.partition("{")[0]
        lines += [] if name in named else [f"# TYPE {name} gauge\n"]
        named.add(name)
        lines += [f"{series} {value} {at}\n" for at, value in samples]
    backfill(tmp_path, [*lines, "# EOF\n"])
    with prometheus(tmp_path, {"global": {"evaluation_interval": "1h"}, "rule_files": [str(RULES)]}) as server:
        [rule] = [rule for group in server.get("rules")["groups"] for rule in group["rules"]
                  if rule["name"] == "imds:machine:unreliable"]
        assert len(server.query("max_over_time(imds:machine:outage_seconds[1h])", time=now)) == 2
        assert not server.query(rule["query"], time=now)
