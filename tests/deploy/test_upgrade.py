"""From the last release to this one: what a user of it has is taken over, or refused by a name that the changelog has.

tests/deploy/previous holds what that release made, as users have it: the chart's values (without their comments), a state file that its program wrote
beside a stuck workload, and its package for amd64, with a program that only sleeps.
"""

import re

import pytest
import yaml

from cluster import find, render
from forms import generate
from host import booted_host

from helpers.exporters import exporter, simulator
from helpers.paths import DEPLOY, ROOT
from helpers.waiting import until

PREVIOUS = ROOT / "tests" / "deploy" / "previous"
SERVICE = "imds-exporter.service"
SETTINGS = "/etc/default/imds-exporter"


def removed():
    """What the newest section of the changelog names as removed."""
    newest = re.split(r"^## ", (DEPLOY / "CHANGELOG.md").read_text(), flags=re.M)[1]
    section = newest.split("### Removed\n", 1)[1].split("\n### ", 1)[0]
    return set(re.findall(r"`([^`]+)`", section))


def unknown(tree, schema, path=()):
    """The path of every value that the schema does not have."""
    for name, value in tree.items():
        known = schema["properties"].get(name)
        if known is None:
            yield ".".join((*path, name))
        elif generate.is_group(known):
            yield from unknown(value, known, (*path, name))


def without(tree, path):
    name, _, rest = path.partition(".")
    if rest and name in tree:
        return {**tree, name: without(tree[name], rest)}
    return {key: value for key, value in tree.items() if key != name}


def test_every_value_of_the_previous_chart_is_taken_or_refused_by_the_name_that_the_changelog_has():
    values = yaml.safe_load((PREVIOUS / "values.yaml").read_text())
    gone = list(unknown(values, generate.schema()))
    assert gone and set(gone) <= removed()
    kept = values
    for path in gone:
        (error,) = render([only(values, path)])
        assert isinstance(error, str) and path.rsplit(".", 1)[-1] in error, error
        kept = without(kept, path)
    enabled = {part: {**kept[part], "enabled": True} for part in ("prometheusRule", "dashboards", "podMonitor")}
    for objects in render([kept, {**kept, **enabled}]):
        assert isinstance(objects, list), objects
        assert find(objects, "DaemonSet")


def only(tree, path):
    name, _, rest = path.partition(".")
    return {name: only(tree[name], rest) if rest else tree[name]}


def test_a_state_file_of_the_previous_release_claims_nothing_that_is_not_known(tmp_path):
    state = tmp_path / "state"
    state.write_bytes((PREVIOUS / "state").read_bytes())
    with simulator() as imds, exporter(
            imds.endpoint, IMDS_EXPORTER_STATE_FILE=str(state), IMDS_EXPORTER_WORKLOAD="starts-with-exporter") as new:
        until(lambda: "\nimds_up 1\n" in new.get("/metrics"), lambda: new.get("/metrics"))
        metrics = new.get("/metrics")
        assert 'created="now"' in metrics and 'created="at_start"' not in metrics
        # The new file is one that this release reads.
        until(lambda: state.read_bytes() != (PREVIOUS / "state").read_bytes(), "a state file")


@pytest.fixture
def host(tmp_path):
    with booted_host(tmp_path) as host:
        yield host


def test_the_package_of_the_previous_release_is_upgraded(host, packages):
    host.copy(PREVIOUS / "imds-exporter.deb", "/root/previous.deb")
    install = ("dpkg", "--force-unsafe-io", "--no-triggers", "--force-confold", "--install")
    host.must(*install, "/root/previous.deb")
    assert host.states(SERVICE) == ("active", "running")
    # An administrator's settings outlive it.
    settings = "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1338\nIMDS_EXPORTER_POLL_INTERVAL=1s\n"
    host.write(SETTINGS, settings)
    before = host.property(SERVICE, "MainPID")
    host.copy(packages[0], "/root/new.deb")
    host.must(*install, "/root/new.deb")
    assert host.states(SERVICE) == ("active", "running")
    assert host.property(SERVICE, "MainPID") != before
    assert host.must("cat", SETTINGS) == settings
    until(lambda: "\nimds_up 1\n" in host.get("http://127.0.0.1:10169/metrics"), lambda: host.journal(SERVICE))
    # What the release removed ends the service with its name.
    host.write(SETTINGS, f"{settings}IMDS_EXPORTER_SDKS=boto3\n")
    assert host.run("systemctl", "restart", SERVICE).returncode != 0
    assert "IMDS_EXPORTER_SDKS" in removed() and "IMDS_EXPORTER_SDKS" in host.journal(SERVICE)
