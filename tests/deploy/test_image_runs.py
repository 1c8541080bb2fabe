"""The content of the image, run as in a container: the static binary on an empty read-only root, as an unprivileged
user, in process and mount namespaces of its own."""

import contextlib
import os
import re
import shlex
import signal
import struct

import pytest

from forms import DOCKERFILE

from helpers import exporters
from helpers.commands import complete
from helpers.exporters import Exporter, simulator
from helpers.http_client import get, samples
from helpers.paths import DEPLOY
from helpers.processes import Process
from helpers.waiting import until

RUNBOOK = DEPLOY / "prometheus" / "RUNBOOK.md"
USER = int(re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)[1])
PATH = re.search(r"^ENV PATH=(.*)$", DOCKERFILE, re.M)[1]
(PROGRAM,) = re.search(r'^ENTRYPOINT \["(.*)"\]$', DOCKERFILE, re.M).groups()
STATE = "/var/lib/imds-exporter/state"

# Runs in new namespaces and makes what a container engine does: a read-only root, /proc, a volume for the state.
PREPARE = """
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
if [ -d "$root/proc" ]; then mount -t proc proc "$root/proc"; fi
if [ -n "$volume" ]; then mount -t tmpfs -o "mode=0700,uid=$owner,gid=$owner,size=1m" tmpfs "$root/var/lib/imds-exporter"; fi
"""


class Container:
    """A root file system with the binary, and how to run it there."""

    def __init__(self, directory, program, with_proc=True, with_volume=True):
        self.root = directory / "root"
        (self.root / "var/lib/imds-exporter").mkdir(parents=True)
        if with_proc:
            (self.root / "proc").mkdir()
        binary = self.root / PROGRAM.lstrip("/")
        binary.parent.mkdir(parents=True)
        binary.write_bytes(program.read_bytes())
        binary.chmod(0o755)
        # The user of the image owns no file.
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
            # As a container engine does.
            unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
            enter = f'exec setpriv --no-new-privs env PATH={PATH} "$(command -v chroot)" --userspec={USER}:{USER} "$root" "$@"'
        else:
            # As a rootless engine does: root of a user namespace prepares, the program runs in another one.
            unshare = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
            enter = f'exec env PATH={PATH} "$(command -v unshare)" --user --map-user={USER} --map-group={USER} ' \
                    '--root="$root" --wd=/ "$@"'
        assignments = "\n".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        script = f"set -e\n{assignments}\n{PREPARE}\n{enter}"
        # By its name, as an operator runs it in a container.
        return [*unshare, "sh", "-c", script, "sh", "imds-exporter", *arguments]

    @contextlib.contextmanager
    def serving(self, imds, **more):
        environment = exporters.environment(imds.endpoint, **more)
        with Process(self.command(), environment) as process:
            running = Running(self, process, environment)
            until(lambda: get(f"{running.url}/-/ready")[0] == 200, lambda: f"readiness: {process.output}")
            yield running


class Running(Exporter):
    """An exporter that runs in a container. `pid` is its process, a child of the one that prepares the container."""

    def __init__(self, container, process, environment):
        super().__init__(process)
        self.container = container
        self.environment = {**environment, "IMDS_EXPORTER_LISTEN_ADDRESS": self.address}
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            (self.pid,) = map(int, file.read().split())

    def process_status(self):
        with open(f"/proc/{self.pid}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def healthcheck(self):
        command = re.search(rf'^HEALTHCHECK .*CMD \["{PROGRAM}", "(\w+)"\]$', DOCKERFILE, re.M)[1]
        return complete(*self.container.command(command), env=self.environment, timeout=30).returncode


@pytest.fixture
def imds():
    with simulator() as imds:
        yield imds


def test_the_binary_needs_no_other_file(program):
    program = program.read_bytes()
    assert program[:6] == b"\x7fELF\x02\x01"
    offset, size, count = (struct.unpack_from(form, program, at)[0] for form, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
    kinds = {struct.unpack_from("<I", program, offset + index * size)[0] for index in range(count)}
    interpreter = 3
    assert interpreter not in kinds


def runbook_commands():
    """Every command line of the exporter in the runbook, up to what a shell would do next."""
    lines = re.findall(r"(?<![\w/.-])imds-exporter ((?:check|wait|healthcheck)\b[^`'\n;|&]*)", RUNBOOK.read_text())
    return sorted({line.strip() for line in lines})


def test_the_runbook_names_commands():
    assert "check" in runbook_commands()
    # Where the program is, depends on the form.
    assert not re.search(r"/imds-exporter (check|wait|healthcheck)", RUNBOOK.read_text())


@pytest.mark.parametrize("line", runbook_commands())
def test_the_runbooks_commands_run_in_the_image(tmp_path, program, imds, line):
    environment = exporters.environment(imds.endpoint, AWS_ENDPOINT_URL_STS="http://127.0.0.1:9")
    done = complete(*Container(tmp_path, program).command(*line.split()), env=environment, timeout=60)
    # The simulated IMDS is fine; no exporter listens, and there is no STS: whether AWS accepts is a warning.
    assert done.returncode == (1 if line.startswith("healthcheck") else 2 if "--signed" in line else 0), done.stderr
    if line == "check":
        assert "simulated-role" in done.stdout


def test_the_binary_contains_no_simulator(program):
    for command in ("simulate", "demo"):
        assert complete(program, command, env={}).returncode == 64
    assert b"made-up credentials" not in program.read_bytes()


@pytest.mark.parametrize("with_proc", [True, False], ids=["with /proc", "without /proc"])
def test_it_serves_passes_its_health_check_and_stops_on_sigterm(tmp_path, program, imds, with_proc):
    with Container(tmp_path, program, with_proc=with_proc).serving(imds) as running:
        assert samples(running.url)["imds_up"] == 1
        assert running.healthcheck() == 0
        os.kill(running.pid, signal.SIGTERM)
        until(lambda: running.process.poll() is not None, "the exit after SIGTERM")
        assert running.process.returncode == 0, running.process.output
        assert running.healthcheck() == 1


def test_it_runs_unprivileged_and_as_process_1_of_its_namespace(tmp_path, program, imds):
    with Container(tmp_path, program).serving(imds) as running:
        status = running.process_status()
        assert status["NSpid"].split()[-1] == "1"
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1" or os.geteuid() != 0
        own = USER if os.geteuid() == 0 else os.geteuid()
        assert status["Uid"].split() == [str(own)] * 4


def test_it_stays_healthy_in_an_outage(tmp_path, program, imds):
    imds.change('fault = "server_error"')
    with Container(tmp_path, program).serving(imds) as running:
        assert samples(running.url)["imds_up"] == 0
        assert get(f"{running.url}/-/startup")[0] == 503
        assert running.healthcheck() == 0


DECLARED = {"IMDS_EXPORTER_WORKLOAD": "starts-when-ready", "IMDS_EXPORTER_STATE_FILE": STATE}
AT_START = 'imds_client_usable{sdk="boto3",created="at_start"}'


def test_it_writes_its_state_to_the_volume(tmp_path, program, imds):
    with Container(tmp_path, program).serving(imds, **DECLARED) as running:
        until(lambda: os.path.exists(f"/proc/{running.pid}/root{STATE}"), "a state file")
        assert samples(running.url)[AT_START] == 1


def test_it_runs_on_a_read_only_root_without_a_volume(tmp_path, program, imds):
    """It then claims nothing about the clients of the declared workload."""
    with Container(tmp_path, program, with_volume=False).serving(imds, **DECLARED) as running:
        until(lambda: samples(running.url)["imds_fetches_total"] >= 3, "further polls")
        assert not os.path.exists(f"/proc/{running.pid}/root{STATE}")
        assert running.healthcheck() == 0
        assert AT_START not in samples(running.url)
