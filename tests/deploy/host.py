"""A host that boots: systemd itself, in namespaces of its own, on a copy of this machine's root that is thrown away. Its
network is a loopback interface alone."""

import contextlib
import os
import shlex

from helpers.commands import complete
from helpers.processes import Process
from helpers.waiting import until

# What the host may do at boot is what `units` holds; nothing of this machine's own services is started. Version 1 of the
# control groups: a hierarchy for systemd alone. Version 2: one below the present group.
BOOT = """
set -e
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
rm -rf etc/systemd/system etc/machine-id lib/systemd/system/*.target.wants lib/systemd/system-generators
mkdir -p etc/systemd/system/sysinit.target.wants
ln -s /lib/systemd/system/systemd-journald.service etc/systemd/system/sysinit.target.wants/
printf '[Journal]\\nStorage=volatile\\n' > etc/systemd/journald.conf
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
else
  mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
  mkdir sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
fi
mount --bind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
ip link set lo up
exec chroot . /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
  --unit=multi-user.target --log-target=null --show-status=no
"""


class Host:
    """A booted host."""

    def __init__(self, process):
        self.process = process
        until(lambda: self._init() and self.run("systemctl", "is-system-running", "--wait").stdout.strip() in
              ("running", "degraded"), lambda: f"a booted system: {process.output}")

    def _init(self):
        """The process 1 of the host, on this machine."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return int((file.read().split() or [0])[0])

    def command(self, *command):
        return ["nsenter", "--target", self._init(), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root",
                "--wd", *command]

    def run(self, *command, **options):
        """The completed command on the host."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        return complete(*self.command(*command), env=environment, **options)

    def must(self, *command):
        """What a command on the host prints; it must exit with 0."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command):
        """A program on the host, as a context."""
        return Process(self.command(*command), {"PATH": "/usr/bin:/bin"})

    def write(self, path, text):
        done = self.run("sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "sh", path, input=text)
        assert done.returncode == 0, done.stderr

    def property(self, unit, name):
        return self.must("systemctl", "show", "--value", "--property", name, unit).strip()

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit).stdout


@contextlib.contextmanager
def booted_host(folder):
    scratch = folder / "host"
    scratch.mkdir()
    script = f"scratch={shlex.quote(str(scratch))}\n{BOOT}"
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup"]
    with Process([*unshare, "sh", "-c", script], {"PATH": os.environ["PATH"]}) as process:
        yield Host(process)
