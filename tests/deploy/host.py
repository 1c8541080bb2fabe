"""A host that boots: systemd itself, in namespaces of its own, on a copy of this machine's root that is thrown away. Its
network is a loopback interface alone, with a simulated IMDS."""

import contextlib
import os
import sys

from helpers.commands import complete
from helpers.paths import ROOT, exporter
from helpers.processes import Process
from helpers.waiting import until

IMDS = "127.0.0.1:1338"
CONTROL = "127.0.0.1:1339"
# A public address, as STS has one: of documentation, on the host's own loopback interface.
STS = "203.0.113.7:8443"
TESTS = ROOT / "tests"

# The host's processes are in a control group of version 2 of their own, in which systemd filters addresses.
GROUP = """
set -e
mkdir "$scratch/groups"
mount -t cgroup2 cgroup2 "$scratch/groups"
mkdir "$scratch/groups/$group"
echo $$ > "$scratch/groups/$group/cgroup.procs"
exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup sh -c "$boot"
"""
UNGROUP = """
mount -t cgroup2 cgroup2 "$scratch/groups"
cd "$scratch/groups/$group"
while grep -q 1 cgroup.events; do sleep 0.1; done
find "$PWD" -depth -type d -exec rmdir {} +
"""
# None of this machine's own services is started. /run/changes is what was written.
BOOT = """
set -e
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
rm -rf usr/sbin/policy-rc.d etc/systemd/system etc/machine-id usr/lib/systemd/system/*.target.wants usr/lib/systemd/system-generators
mkdir -p etc/systemd/system/sysinit.target.wants
ln -s /lib/systemd/system/systemd-journald.service etc/systemd/system/sysinit.target.wants/
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\n' > etc/systemd/journald.conf
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --bind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs tmpfs tmp
mkdir run/changes run/old
mount --bind "$scratch/upper" run/changes
ip link set lo up
ip address add "$sts" dev lo
# Not chroot: in one, the kernel refuses PrivateUsers=.
pivot_root . run/old
cd /
umount -l /run/old
exec /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \\
  --unit=multi-user.target --log-target=journal --show-status=no
"""


class Host:
    """A booted host."""

    def __init__(self, process):
        self.process = process
        until(lambda: self._init() and self.run("systemctl", "is-active", "multi-user.target").stdout.strip() == "active",
              lambda: f"a booted system: {process.output}")
        # In the network of the host alone: the programs may be on a file system that the host does not have.
        self._simulator = self._start("--net", exporter(), "simulate", "--listen", IMDS, "--control", CONTROL)

    @contextlib.contextmanager
    def sts(self, certificate, key):
        """An STS at its public address, over TLS."""
        program = "import ssl, sys, http.server as h; sys.path.insert(0, sys.argv[1]); from helpers.sts import Sts\n" \
                  "address, port = sys.argv[2].split(':'); server = h.HTTPServer((address, int(port)), Sts); server.calls = []\n" \
                  "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(*sys.argv[3:])\n" \
                  "server.socket = context.wrap_socket(server.socket, server_side=True); print('ready', flush=True)\n" \
                  "server.serve_forever()"
        with self._start("--net", sys.executable, "-c", program, TESTS / "tools", STS, certificate, key) as process:
            process.printed("ready")
            yield

    def _init(self):
        """The process 1 of the host, on this machine."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return int((file.read().split() or [0])[0])

    def _enter(self, *options):
        return ["nsenter", f"--target={self._init()}", *options]

    def _start(self, *command):
        return Process(self._enter(*command), {"PATH": os.environ["PATH"]})

    def run(self, *command, **options):
        """The completed command on the host."""
        enter = self._enter("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        return complete(*enter, *command, env=environment, **options)

    def must(self, *command, **options):
        """What a command on the host prints; it must exit with 0."""
        done = self.run(*command, **options)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path, text):
        self.must("sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "sh", path, input=text)

    def copy(self, file, path):
        """Copies a file of this machine to the host."""
        with open(file, "rb") as stdin:
            self.must("sh", "-c", 'cat > "$1"', "sh", path, stdin=stdin)

    def property(self, unit, name):
        return self.must("systemctl", "show", "--value", "--property", name, unit).strip()

    def states(self, unit):
        return self.property(unit, "ActiveState"), self.property(unit, "SubState")

    def journal(self, unit):
        return self.must("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def get(self, url, data=None):
        """The body that the host gets from a URL."""
        program = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], sys.stdin.buffer.read() or None).read().decode())"
        done = complete(*self._enter("--net"), sys.executable, "-c", program, url, input=data or "")
        return done.stdout if done.returncode == 0 else done.stderr

    def change_imds(self, toml):
        self._simulator.printed("control")
        self.get(f"http://{CONTROL}/", toml)

    def changes(self):
        """Every file and link that was written or removed since the boot, but for logs and temporary files."""
        ignored = ("/var/log/", "/var/cache/", "/tmp/", "/root/", "/var/tmp/", "/etc/.pwd.lock")
        list_files = 'find /run/changes ! -type d -printf "/%P\\n" | while read -r path; do ' \
                     'if [ -e "$path" ] || [ -L "$path" ]; then echo "there $path"; else echo "gone $path"; fi; done'
        files = (line.split(" ", 1) for line in self.must("sh", "-c", list_files).splitlines())
        # What is gone and was not there before either left no trace.
        return {path for state, path in files
                if not path.startswith(ignored) and (state == "there" or os.path.lexists(path))}

    def close(self):
        self._simulator.__exit__()


@contextlib.contextmanager
def booted_host(folder):
    scratch = folder / "host"
    scratch.mkdir()
    environment = {"PATH": os.environ["PATH"], "scratch": str(scratch), "group": f"imds-exporter-host-{os.getpid()}",
                   "sts": STS.split(":")[0], "boot": BOOT}
    unshare = ["unshare", "--mount", "sh", "-c"]
    try:
        with Process([*unshare, GROUP], environment) as process, contextlib.closing(Host(process)) as host:
            yield host
    finally:
        complete(*unshare, UNGROUP, env=environment)
