"""Programs that run beside a test and never outlive it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading

from helpers.waiting import PATIENCE_SECONDS, until


def free_port():
    """A loopback port that nothing listens on; another program may still take it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process(subprocess.Popen):
    """A program in a process group of its own, as a context: leaving it kills the group. `lines` holds the output."""

    def __init__(self, command, environment=None, **options):
        super().__init__([str(part) for part in command], env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                         start_new_session=True, **options)
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.stdout:
            self.lines.append(line)

    @property
    def output(self):
        return "".join(self.lines)

    def printed(self, pattern):
        """The first match of the regular expression in the output; the program must not end before it."""
        def match():
            ended = self.poll() is not None
            found = re.search(pattern, self.output)
            assert found or not ended, self.output
            return found
        return until(match, lambda: f"{pattern} in: {self.output}")

    def signal_group(self, number):
        """Signals the whole group: wrappers such as strace or unshare do not pass a signal on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, seconds=PATIENCE_SECONDS):
        """Asks the group to stop, and returns the exit code."""
        self.signal_group(signal.SIGTERM)
        return self.wait(seconds)

    def __exit__(self, *_):
        self.signal_group(signal.SIGKILL)
        self.wait()
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), f"a child of {self.args[0]} is still running"
        self.stdout.close()
