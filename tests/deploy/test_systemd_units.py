"""The systemd unit and its drop-ins: taken by systemd without a word, and hardened."""

import os
import shutil
import subprocess

import pytest

from conftest import DEPLOY

UNITS = DEPLOY / "systemd"
PROGRAM = "/usr/local/bin/imds-exporter"


def systemd_analyze(*arguments, **options):
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: run tests/setup"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


@pytest.fixture
def installed(tmp_path):
    """The unit with both drop-ins, and a service that is held back, as a machine would have them."""
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


def test_systemd_takes_the_units(installed):
    done = verify(installed)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["imds-exporter.service.d/50-watch.conf", "workload.service.d/50-imds.conf"])
def test_a_mistake_in_a_drop_in_is_found(installed, name):
    path = installed / name
    path.write_text(path.read_text() + "ProtectKernel=yes\n")
    assert "ProtectKernel" in verify(installed).stderr


def test_the_exposure_is_at_most_1_5():
    done = systemd_analyze("security", "--offline=true", "--threshold=15", UNITS / "imds-exporter.service")
    assert done.returncode == 0, done.stdout[-200:]
    softer = systemd_analyze("security", "--offline=true", "--threshold=5", UNITS / "imds-exporter.service")
    assert softer.returncode != 0


def test_a_service_that_is_held_back_outlives_the_wait():
    text = (UNITS / "examples" / "hold-back.conf").read_text()
    assert "wait --timeout 10m\n" in text
    assert "TimeoutStartSec=11min\n" in text
    assert "After=imds-exporter.service\n" in text
