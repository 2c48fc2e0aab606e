"""Pools that take no new requests and are closed once those under way have had their time."""

import asyncio

from sinks.http import HttpPool


class RetiredPools:
    """Closes pools later, in the running event loop.

    longest_s: that a request may take, with its wait for a place on a connection.
    """

    def __init__(self, *, longest_s: float) -> None:
        self._longest_s = longest_s
        self._closing: dict[asyncio.Task[None], HttpPool] = {}

    def retire(self, pool: HttpPool) -> None:
        """Close a pool after the longest time."""
        task = asyncio.create_task(self._close_later(pool))
        self._closing[task] = pool
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def close(self) -> None:
        """Close all of them now."""
        closing, self._closing = self._closing, {}
        for task, pool in closing.items():
            task.cancel()
            await pool.close()

    async def _close_later(self, pool: HttpPool) -> None:
        await asyncio.sleep(self._longest_s)
        await pool.close()
