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
    calls that cannot be cut short, such as an insert into a ClickHouse that took it and hangs.
    """

    def __init__(self, seconds: float = STOP_S, end: Callable[[int], object] = os._exit) -> None:
        self._end = end
        self._timer = threading.Timer(seconds, self._give_up)
        self._timer.daemon = True

    def begin(self) -> None:
        """Start the clock; being told to stop again changes nothing."""
        if self._timer.ident is None:
            self._timer.start()

    def cancel(self) -> None:
        """Note that the process ends by itself."""
        self._timer.cancel()

    def _give_up(self) -> None:
        structlog.get_logger().error("not stopped in time: ends as in a crash")
        self._end(1)
