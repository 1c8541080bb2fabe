"""A host that boots: systemd itself, in namespaces of its own, on a copy of this machine's root that is thrown away. Its
network is a loopback interface alone, with a simulated IMDS."""

import contextlib
import os
import shlex
import sys

from helpers.commands import complete
from helpers.paths import exporter
from helpers.processes import Process
from helpers.waiting import until

IMDS = "127.0.0.1:1338"
CONTROL = "127.0.0.1:1339"

# None of this machine's own services is started. /run/changes is what was written. Control groups: of version 1, a hierarchy
# for systemd alone; of version 2, what is below the present group.
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
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
else
  mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
  mkdir sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
fi
mount --bind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs tmpfs tmp
mkdir run/changes run/old
mount --bind "$scratch/upper" run/changes
ip link set lo up
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
        # In the network of the host alone: the program may be on a file system that the host does not have.
        self._simulator = self._start("--net", exporter(), "simulate", "--listen", IMDS, "--control", CONTROL)

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
    script = f"scratch={shlex.quote(str(scratch))}\n{BOOT}"
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup"]
    with Process([*unshare, "sh", "-c", script], {"PATH": os.environ["PATH"]}) as process:
        with contextlib.closing(Host(process)) as host:
            yield host
