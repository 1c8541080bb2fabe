"""Programs that run to their end."""

import subprocess

# Before a program in Go that ends soon: it collects no garbage below 1 GiB, which takes a quarter of its time.
GO = ("env", "GOGC=off", "GOMEMLIMIT=1GiB")


def complete(*command, **options):
    """The completed process, whatever its exit code, with its output as text."""
    options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False,
                          **{"timeout": 300, **options})


def run(*command, **options):
    """What a command prints on standard output; it must exit with 0."""
    done = complete(*command, **options)
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
