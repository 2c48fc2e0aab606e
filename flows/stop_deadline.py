"""A process that was told to stop ends in time, whatever it waits for."""

import os
import threading
from collections.abc import Callable

import structlog

STOP_S = 9.0
"""Supervisors and operators may count on 10 s."""


class StopDeadline:
    """Ends the process some time after it was told to stop, unless it has ended by itself.

    Such an end is that of a crash: what was under way is read again by the next process. It is for
    calls that cannot be cut short, such as an insert into a ClickHouse that took it and hangs. The
    clock also runs while the interpreter ends: that waits for threads, and one of these may wait
    for somebody who does not answer.
    """

    def __init__(self, seconds: float = STOP_S, end: Callable[[int], object] = os._exit) -> None:
        self._end = end
        self._timer = threading.Timer(seconds, self._give_up)
        self._timer.daemon = True
        self._is_done = False

    def begin(self) -> None:
        """Start the clock; being told to stop again changes nothing."""
        if self._timer.ident is None:
            self._timer.start()

    def done(self) -> None:
        """Note that all is done and committed: if it must be ended after all, then with success."""
        self._is_done = True

    def _give_up(self) -> None:
        if not self._is_done:
            structlog.get_logger().error("not stopped in time: ends as in a crash")
        self._end(0 if self._is_done else 1)
