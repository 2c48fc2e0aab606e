"""The body of a request as a file for another thread: as large as may be, a part in memory."""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from time import monotonic
from typing import Any, BinaryIO, TypeVar, cast

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.web.problems import ProblemError
from api.web.routing import PART_TIMEOUT_S

MAX_UPLOADS = 8
"""Uploads at once in a process: each holds a thread, and has a producer of its own."""
MAX_UPLOAD_S = 3_600.0
BUFFER_BYTES = 262_144
T = TypeVar("T")

_threads = ThreadPoolExecutor(MAX_UPLOADS, thread_name_prefix="upload")
_free = BoundedSemaphore(MAX_UPLOADS)


class _Parts(io.RawIOBase):
    """Asks the event loop for a part whenever the reader wants one: no part waits in memory.

    Raises ProblemError: 408 for a slow client, 400 for one that left.
    """

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = request.stream().__aiter__()
        self._loop = loop
        self._left = memoryview(b"")
        self._until_s = monotonic() + MAX_UPLOAD_S

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._left:
            part = self._next()
            if part is None:
                return 0
            self._left = memoryview(part)
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _next(self) -> bytes | None:
        if monotonic() > self._until_s:
            raise ProblemError(408, f"an upload takes at most {MAX_UPLOAD_S:g} s: send it in parts")
        asked = asyncio.run_coroutine_threadsafe(self._part(), self._loop)
        try:
            # The loop has its own limit; this one is for a loop that is gone.
            return asked.result(PART_TIMEOUT_S * 2)
        except TimeoutError:
            asked.cancel()
            raise ProblemError(408, f"no more came within {PART_TIMEOUT_S:g} s") from None
        except ClientDisconnect:
            raise ProblemError(400, "the body broke off") from None

    async def _part(self) -> bytes | None:
        async with asyncio.timeout(PART_TIMEOUT_S):
            return await anext(self._stream, None)


async def with_body_file(request: Request, work: Callable[[BinaryIO], T]) -> T:
    """Run what reads the body as a file, in a thread of its own; give what it gives.

    Raises ProblemError, also 503 when too many uploads are under way.
    """
    if not _free.acquire(blocking=False):
        raise ProblemError(
            503,
            f"{MAX_UPLOADS} uploads are under way: try again",
            code="busy",
            headers={"Retry-After": "5"},
        )
    loop = asyncio.get_running_loop()

    def run() -> T:
        try:
            with io.BufferedReader(_Parts(request, loop), BUFFER_BYTES) as file:
                return work(cast("BinaryIO", file))
        finally:
            _free.release()

    return await loop.run_in_executor(_threads, run)
