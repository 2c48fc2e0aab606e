"""The two clocks: wall time for latencies and tokens, business time for policy."""

import time
from collections.abc import Callable

from schemas.settings import ClockSettings

Clock = Callable[[], int]
"""Gives epoch milliseconds."""


def wall_ms() -> int:
    """Give the machine's time."""
    return time.time_ns() // 1_000_000


def business_time(warp: ClockSettings | None) -> Callable[[int], int]:
    """Give what turns a wall-clock time into business time."""
    return (lambda at_ms: at_ms) if warp is None else warp.at


def business_clock(warp: ClockSettings | None) -> Clock:
    """Give the clock that policy goes by: the machine's, or a warped one in the sandbox."""
    if warp is None:
        return wall_ms
    return lambda: warp.at(wall_ms())


def wall_time(warp: ClockSettings | None) -> Callable[[int], int]:
    """Give what turns a business time into the wall-clock time at which it is shown first."""
    if warp is None:
        return lambda at_ms: at_ms
    return lambda at_ms: warp.wall_origin_ms + int(max(0, at_ms - warp.origin_ms) / warp.speed)
