"""Waiting for what other processes do."""

from collections.abc import Callable
from threading import Event
from time import monotonic

POLL_S = 0.02


def wait_until(holds: Callable[[], bool], *, timeout_s: float) -> bool:
    """Ask again and again; False when it did not come true in time."""
    poll, deadline_s = Event(), monotonic() + timeout_s
    while not holds():
        if monotonic() >= deadline_s:
            return False
        poll.wait(POLL_S)
    return True
