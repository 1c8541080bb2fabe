"""What the benchmark and the test of the cost both count."""

import re
from pathlib import Path

from helpers.http_client import lines


# What the documentation promises, whatever is measured.
CEILINGS = {"series": 160, "binary_bytes": 6_000_000, "compressed_share": 0.25, "system_calls_per_scrape": 4,
            "resident_kib": 2_800}


def series(exposition):
    return len(lines(exposition))


def resident_kib(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def callgrind(directory):
    """A wrapper for a command, and a function that returns how many instructions it executed, once it has exited."""
    file = directory / "callgrind.out"
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}"], lambda: int(
        re.search(r"^summary: (\d+)", file.read_text(), re.MULTILINE)[1])


def strace(directory):
    """A wrapper for a command, and a function that returns how many system calls it made, once it has exited."""
    file = directory / "strace.out"
    return ["strace", "-f", "-c", "-U", "calls,name", "-o", str(file)], lambda: int(
        re.search(r"(\d+) total", file.read_text())[1])
