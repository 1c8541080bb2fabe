"""The systemd unit and its drop-ins: systemd accepts them without a warning, and they are hardened."""

import os
import re

import pytest
from forms import unit_environment_files, unit_values

from helpers.commands import complete
from helpers.paths import DEPLOY, exporter

UNITS = DEPLOY / "systemd"
SERVICE = UNITS / "imds-exporter.service"
HOLD_BACK = UNITS / "examples" / "hold-back.conf"
PROGRAM = "/usr/local/bin/imds-exporter"


@pytest.fixture
def installed(tmp_path):
    """A folder with the unit, a service that is held back, and both drop-ins, as on a machine."""
    directory = tmp_path / "units"
    directory.mkdir()

    def install(source, name):
        target = directory / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(source.read_text().replace(PROGRAM, "/bin/true"))

    install(SERVICE, SERVICE.name)
    install(UNITS / "examples" / "watch-processes.conf", "imds-exporter.service.d/50-watch.conf")
    install(UNITS / "examples" / "signed-call.conf", "imds-exporter.service.d/50-signed-call.conf")
    install(HOLD_BACK, "workload.service.d/50-imds.conf")
    (directory / "workload.service").write_text("[Unit]\nDescription=A workload\n[Service]\nExecStart=/bin/true\n")
    return directory


def test_systemd_accepts_the_units(installed):
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:"}
    done = complete("systemd-analyze", "verify", "--man=no", *sorted(installed.glob("*.service")), env=environment)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_start_of_a_held_service_may_take_longer_than_the_wait():
    text = HOLD_BACK.read_text()
    assert "wait --timeout 10m\n" in text
    assert "TimeoutStartSec=11min\n" in text


def test_a_held_service_starts_after_the_exporter_and_finds_it_on_whatever_port():
    assert unit_values(HOLD_BACK, "After") == ["imds-exporter.service network-online.target"]
    assert unit_values(HOLD_BACK, "Wants") == unit_values(HOLD_BACK, "After")
    assert unit_environment_files(HOLD_BACK) == unit_environment_files(SERVICE) == ["/etc/default/imds-exporter"]


def test_a_held_service_is_restarted_as_its_owner_decided():
    keys = set(re.findall(r"^(\w+)=", HOLD_BACK.read_text(), re.M))
    assert keys == {"Wants", "After", "EnvironmentFile", "ExecStartPre", "TimeoutStartSec"}


def test_a_wrong_setting_does_not_restart_the_exporter_in_a_loop():
    wrong = complete(exporter(), env={"IMDS_EXPORTER_POLL_INTERVAL": "often"}, timeout=30)
    assert unit_values(SERVICE, "RestartPreventExitStatus") == [str(wrong.returncode)] == ["64"]
    assert unit_values(SERVICE, "Restart") == ["on-failure"]


def test_the_exporter_starts_once_the_network_is_up():
    assert unit_values(SERVICE, "After") == unit_values(SERVICE, "Wants") == ["network-online.target"]
