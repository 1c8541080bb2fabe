"""What the benchmark and the gate count alike."""

import re
import socket
from pathlib import Path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def series(exposition):
    return sum(1 for line in exposition.splitlines() if line and not line.startswith("#"))


def resident_kib(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def callgrind(directory):
    """What to put before a command, and how many instructions it has executed once it has ended."""
    file = directory / "callgrind.out"
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}"], lambda: int(
        re.search(r"^summary: (\d+)", file.read_text(), re.MULTILINE)[1])


def strace(directory):
    """What to put before a command, and how many system calls it has made once it has ended."""
    file = directory / "strace.out"
    return ["strace", "-f", "-c", "-U", "calls,name", "-o", str(file)], lambda: int(
        re.search(r"(\d+) total", file.read_text())[1])
