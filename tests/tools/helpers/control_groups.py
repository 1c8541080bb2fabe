"""Control groups, as container runtimes make them: root can, where /sys/fs/cgroup is writable."""

import contextlib
import os
import pathlib

from helpers.waiting import until

# Hierarchies of version 2 and 1; which of them a machine has differs.
HIERARCHIES = [pathlib.Path("/sys/fs/cgroup", name) for name in ("", "unified", "systemd", "pids")]


def _remove(folder, hierarchy):
    """Removes a folder and its parents below the hierarchy's root, as far as they are empty."""
    while folder != hierarchy:
        with contextlib.suppress(OSError):
            folder.rmdir()
        folder = folder.parent


def _make(path):
    for hierarchy in HIERARCHIES:
        group = hierarchy / path
        with contextlib.suppress(OSError):
            group.mkdir(parents=True, exist_ok=True)
            # Where no hierarchy is mounted, this is a mere folder.
            if (group / "cgroup.procs").exists():
                return hierarchy, group
            _remove(group, hierarchy)
    raise AssertionError("no control group can be made: run this as root")


class Group:
    """A control group."""

    def __init__(self, folder):
        self.processes = folder / "cgroup.procs"

    def add(self, pid):
        self.processes.write_text(str(pid))

    def add_self(self):
        """For `preexec_fn` of a process."""
        self.add(os.getpid())


@contextlib.contextmanager
def control_group(path):
    """A group at this path below the root of a hierarchy. Its processes must end within the context."""
    hierarchy, folder = _make(path)
    group = Group(folder)
    try:
        yield group
    finally:
        until(lambda: not group.processes.read_text(), "the end of its processes")
        _remove(folder, hierarchy)
