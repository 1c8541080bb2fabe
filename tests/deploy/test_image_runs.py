"""The image's content run for real: the static binary alone on an empty, read-only root, as an unprivileged user, in
process and mount namespaces of its own."""

import contextlib
import os
import re
import shlex
import signal
import struct
import subprocess

import pytest

from conftest import DEPLOY, production
from machinery import free_port, get, process, samples, simulator, until

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
USER = int(re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)[1])
STATE = "/var/lib/imds-exporter/state"

# Run by unshare in namespaces of its own: the root becomes read-only, the state directory a volume, then the user of
# the image is put in place of the one that prepared all this. /proc is there in a container too.
PREPARE = """
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
if [ -d "$root/proc" ]; then mount -t proc proc "$root/proc"; fi
if [ -n "$volume" ]; then mount -t tmpfs -o "mode=0700,uid=$owner,gid=$owner,size=1m" tmpfs "$root/var/lib/imds-exporter"; fi
"""


class Container:
    """Runs programs of the image."""

    def __init__(self, directory, with_proc=True, with_volume=True):
        self.root = directory / "root"
        (self.root / "var/lib/imds-exporter").mkdir(parents=True)
        if with_proc:
            (self.root / "proc").mkdir()
        binary = self.root / "imds-exporter"
        binary.write_bytes(production().read_bytes())
        binary.chmod(0o755)
        # Nothing of the file system is the image's user's.
        for path in [self.root, *self.root.rglob("*")]:
            path.chmod(0o555)
        for path in [directory, *list(directory.parents)[:-2]]:
            path.chmod(path.stat().st_mode | 0o111)
        self.with_volume = with_volume

    def command(self, *arguments):
        settings = {
            "root": str(self.root),
            "volume": "yes" if self.with_volume else "",
            "owner": str(USER if os.geteuid() == 0 else 0),
        }
        if os.geteuid() == 0:
            # As a container engine does it.
            unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
            enter = f'exec setpriv --no-new-privs chroot --userspec={USER}:{USER} "$root" "$@"'
        else:
            # As a rootless engine does it: root of a user namespace prepares, and another user namespace runs.
            unshare = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
            enter = f'exec unshare --user --map-user={USER} --map-group={USER} --root="$root" --wd=/ "$@"'
        assignments = "\n".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        script = f"set -e\n{assignments}\n{PREPARE}\n{enter}"
        return [*unshare, "sh", "-c", script, "sh", "/imds-exporter", *arguments]

    @contextlib.contextmanager
    def serving(self, imds, **more):
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "IMDS_EXPORTER_LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "IMDS_EXPORTER_POLL_INTERVAL": "1s",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
            **more,
        }
        with process(self.command(), environment) as child:
            until(lambda: get(port, "/-/ready")[0] == 200 or child.poll() is not None, "it serves")
            assert child.poll() is None, "".join(child.lines)
            yield Serving(self, child, port, environment)


class Serving:
    def __init__(self, container, child, port, environment):
        self.container, self.child, self.port, self.environment = container, child, port, environment
        children = f"/proc/{child.pid}/task/{child.pid}/children"
        with open(children) as file:
            (self.pid,) = map(int, file.read().split())

    def status(self):
        with open(f"/proc/{self.pid}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def healthcheck(self):
        command = re.search(r'^HEALTHCHECK .*CMD \["/imds-exporter", "(\w+)"\]$', DOCKERFILE, re.M)[1]
        done = subprocess.run(
            self.container.command(command), env=self.environment, stdout=subprocess.DEVNULL, timeout=30, check=False
        )
        return done.returncode


@pytest.fixture
def imds():
    with simulator() as imds:
        yield imds


def test_the_binary_needs_no_other_file():
    program = production().read_bytes()
    assert program[:6] == b"\x7fELF\x02\x01"
    offset, size, count = (struct.unpack_from(form, program, at)[0] for form, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
    kinds = {struct.unpack_from("<I", program, offset + index * size)[0] for index in range(count)}
    interpreter = 3
    assert interpreter not in kinds


def test_there_is_no_simulator_in_it():
    for command in ("simulate", "demo"):
        done = subprocess.run([production(), command], env={}, capture_output=True, check=False)
        assert done.returncode == 64
    assert b"made-up credentials" not in production().read_bytes()


@pytest.mark.parametrize("with_proc", [True, False], ids=["with /proc", "alone"])
def test_it_serves_is_healthy_and_stops_on_sigterm(tmp_path, imds, with_proc):
    with Container(tmp_path, with_proc=with_proc).serving(imds) as running:
        assert samples(running.port)["imds_up"] == 1
        assert running.healthcheck() == 0
        os.kill(running.pid, signal.SIGTERM)
        until(lambda: running.child.poll() is not None, "it stops on SIGTERM")
        assert running.child.returncode == 0, "".join(running.child.lines)
        assert running.healthcheck() == 1


def test_it_runs_as_the_unprivileged_user_and_first_in_its_namespace(tmp_path, imds):
    with Container(tmp_path).serving(imds) as running:
        status = running.status()
        assert status["NSpid"].split()[-1] == "1"
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1" or os.geteuid() != 0
        own = USER if os.geteuid() == 0 else os.geteuid()
        assert status["Uid"].split() == [str(own)] * 4


def test_an_outage_leaves_it_healthy(tmp_path, imds):
    imds.tell('fault = "server_error"')
    with Container(tmp_path).serving(imds) as running:
        assert samples(running.port)["imds_up"] == 0
        assert get(running.port, "/-/startup")[0] == 503
        assert running.healthcheck() == 0


def test_its_state_goes_to_the_volume(tmp_path, imds):
    with Container(tmp_path).serving(imds, IMDS_EXPORTER_STATE_FILE=STATE) as running:
        until(lambda: os.path.exists(f"/proc/{running.pid}/root{STATE}"), "the state is written")


def test_a_read_only_root_without_a_volume_does_not_stop_it(tmp_path, imds):
    with Container(tmp_path, with_volume=False).serving(imds, IMDS_EXPORTER_STATE_FILE=STATE) as running:
        until(lambda: samples(running.port)["imds_fetches_total"] >= 3, "it polls on")
        assert not os.path.exists(f"/proc/{running.pid}/root{STATE}")
        assert running.healthcheck() == 0
