"""The alert on the counters of never_stuck."""

import pathlib
import subprocess

from helpers import paths


def test_the_alert_fires_for_calls_that_go_on_failing():
    story = pathlib.Path(__file__).with_name("rules.yaml")
    subprocess.run([paths.tool("promtool"), "test", "rules", story], check=True)


def test_promtool_finds_nothing_to_say():
    rules = paths.DEPLOY / "prometheus" / "imds-boto3.yaml"
    subprocess.run([paths.tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", rules], check=True)
