"""Waiting for a condition."""

import time

# Longer than anything that succeeds takes on a loaded machine.
PATIENCE_SECONDS = 60


def until(condition, what, seconds=PATIENCE_SECONDS):
    """The first true value of the condition. `what` is waited for: a text, or a function that returns one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
