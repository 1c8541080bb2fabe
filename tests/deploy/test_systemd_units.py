"""The systemd unit and its drop-ins: systemd accepts them without a warning, and they are hardened."""

import os
import shutil

import pytest

from helpers.commands import complete
from helpers.paths import DEPLOY

UNITS = DEPLOY / "systemd"
PROGRAM = "/usr/local/bin/imds-exporter"


def systemd_analyze(*arguments, **options):
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: run tests/tools/setup"
    return complete(program, *arguments, **options)


@pytest.fixture
def installed(tmp_path):
    """A folder with the unit, a service that is held back, and both drop-ins, as on a machine."""
    directory = tmp_path / "units"
    directory.mkdir()

    def install(source, name):
        target = directory / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(source.read_text().replace(PROGRAM, "/bin/true"))

    install(UNITS / "imds-exporter.service", "imds-exporter.service")
    install(UNITS / "examples" / "watch-processes.conf", "imds-exporter.service.d/50-watch.conf")
    install(UNITS / "examples" / "hold-back.conf", "workload.service.d/50-imds.conf")
    (directory / "workload.service").write_text("[Unit]\nDescription=A workload\n[Service]\nExecStart=/bin/true\n")
    return directory


def verify(directory):
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"}
    units = sorted(directory.glob("*.service"))
    return systemd_analyze("verify", "--man=no", *units, env=environment)


def test_systemd_accepts_the_units(installed):
    done = verify(installed)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["imds-exporter.service.d/50-watch.conf", "workload.service.d/50-imds.conf"])
def test_systemd_finds_a_mistake_in_a_drop_in(installed, name):
    path = installed / name
    path.write_text(path.read_text() + "ProtectKernel=yes\n")
    assert "ProtectKernel" in verify(installed).stderr


def test_the_exposure_level_is_at_most_1_5():
    done = systemd_analyze("security", "--offline=true", "--threshold=15", UNITS / "imds-exporter.service")
    assert done.returncode == 0, done.stdout[-200:]
    softer = systemd_analyze("security", "--offline=true", "--threshold=5", UNITS / "imds-exporter.service")
    assert softer.returncode != 0


def test_the_start_of_a_held_service_may_take_longer_than_the_wait():
    text = (UNITS / "examples" / "hold-back.conf").read_text()
    assert "wait --timeout 10m\n" in text
    assert "TimeoutStartSec=11min\n" in text
    assert "After=imds-exporter.service\n" in text
