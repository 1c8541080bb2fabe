"""Histories that are played through the exporter's own code, by the example `replay`: what scrapes would return.

A history is a dict: the settings of an exporter, `events` and `scrapes`, as tests/tools/replay.rs declares them. Times are in
seconds since the epoch, which may be near zero.
"""

import json
import os
import subprocess

from helpers.paths import ROOT


def _program():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    program = ROOT / target / "debug" / "examples" / "replay"
    assert program.exists(), f"{program} is missing: run cargo build --example replay"
    return program


def replay(histories):
    """For each history the scrapes while its exporter runs: [(time, {series: value})]. A series is as in the exposition."""
    text = "".join(json.dumps(history) + "\n" for history in histories)
    done = subprocess.run([_program()], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [list(_whole(json.loads(line))) for line in done.stdout.splitlines()]


def _whole(changes):
    """Each scrape with all its series, from what differs from the scrape before."""
    series = {}
    for scrape in changes:
        gone = set(scrape["gone"])
        series = {name: value for name, value in series.items() if name not in gone}
        series.update((name, float(value)) for name, value in scrape["set"].items())
        yield scrape["at"], series
