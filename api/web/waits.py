"""Waiting for the registry without holding a thread."""

import asyncio
from collections.abc import Callable
from time import monotonic

from starlette.concurrency import run_in_threadpool

POLL_S = 0.05
SLOW_POLL_S = 0.5


async def eventually(holds: Callable[[], bool], *, wait_s: float) -> bool:
    """Ask again and again; False when it did not come true in time. holds: may block."""
    deadline_s, pause_s = monotonic() + wait_s, POLL_S
    while not await run_in_threadpool(holds):
        left_s = deadline_s - monotonic()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, SLOW_POLL_S)
    return True
