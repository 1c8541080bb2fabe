"""The systemd unit and its drop-ins: systemd accepts them without a warning. That the unit is hardened, test_packages.py shows."""

import os
import re

from forms import unit_environment_files, unit_values

from helpers.commands import complete
from helpers.paths import DEPLOY, exporter

UNITS = DEPLOY / "systemd"
SERVICE = UNITS / "imds-exporter.service"
HOLD_BACK = UNITS / "examples" / "hold-back.conf"


def test_systemd_accepts_the_units(tmp_path):
    """In a folder with the unit, a service that is held back, and the drop-ins, as on a machine."""
    for source, name in (
            (SERVICE, SERVICE.name), (UNITS / "examples" / "watch-processes.conf", "imds-exporter.service.d/50-watch.conf"),
            (UNITS / "examples" / "signed-call.conf", "imds-exporter.service.d/50-signed-call.conf"),
            (HOLD_BACK, "workload.service.d/50-imds.conf")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source.read_text().replace("/usr/local/bin/imds-exporter", "/bin/true"))
    (tmp_path / "workload.service").write_text("[Unit]\nDescription=A workload\n[Service]\nExecStart=/bin/true\n")
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = complete("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.glob("*.service")), env=environment)
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
