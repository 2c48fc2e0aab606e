"""A producer for asyncio: events go into a bounded queue, and in batches to the API."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from api.client.areas import Awaited
from api.client.backlog import Backlog, Batching, Settled
from api.client.client import AsyncClient
from api.client.core import Core
from api.client.errors import ClarionError, ClosedError, FullError, NotDeliveredError
from api.client.events import AnyEvent, Events, Result, line_of
from api.client.producer import OnOutcome
from api.client.retrying import Retry

log = logging.getLogger("clarion.client")


class AsyncProducer:
    """Sends events in the background, many a request, in order; see Producer.

    `async with AsyncProducer(client) as producer: future = await producer.send({...})`
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        batching: Batching | None = None,
        when_full: Literal["block", "raise"] = "block",
        on_outcome: OnOutcome | None = None,
        retry: Retry | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._events: Events[Awaited] = Events(Core(Retry(attempts=1)), client)
        self._backlog = Backlog(batching or Batching(), retry or Retry())
        self._when_full = when_full
        self._on_outcome = on_outcome
        self._now_s = now_s
        self._changed = asyncio.Condition()
        self._hurry = 0
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def send(
        self, event: AnyEvent, *, timeout_s: float | None = None
    ) -> "asyncio.Future[Result]":
        """Queue an event; give the future of its outcome. timeout_s: see Producer.send.

        Raises FullError, ClosedError, TypeError for what is no JSON; then it is not queued.
        """
        line = line_of(event)
        async with self._changed:
            if not self._closed and not self._backlog.has_room(len(line)):
                await self._make_room(len(line), timeout_s)
            if self._closed:
                raise ClosedError("the producer is closed")
            future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self._backlog.add(event, line, future, self._now_s())
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="clarion-producer")
                self._task.add_done_callback(self._ended)
            self._changed.notify_all()
        return future

    async def _make_room(self, size: int, timeout_s: float | None) -> None:
        if self._when_full == "raise" or not await self._wait_for(
            lambda: self._closed or self._backlog.has_room(size), timeout_s
        ):
            raise FullError("the queue is full: wait, or make batching.queue_items larger")

    async def _wait_for(self, what: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait, holding the lock; False when it takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait_for(what)
        except TimeoutError:
            return False
        return True

    async def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every event queued so far has its outcome; False when it takes longer."""
        async with self._changed:
            last = self._backlog.last_number
            self._hurry += 1
            self._changed.notify_all()
            try:
                return await self._wait_for(lambda: self._backlog.is_settled(last), timeout_s)
            finally:
                self._hurry -= 1

    async def close(self, timeout_s: float = 30.0) -> None:
        """Take nothing more and send what is queued; what then is left is given up, and told so."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        await self.flush(timeout_s)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            async with self._changed:
                lines = await self._next()
            await self._post(lines)

    def _ended(self, _task: "asyncio.Task[None]") -> None:
        """Leave nobody waiting when it is closed or the loop ends, even before the task began."""
        self._closed = True
        why = "the producer was closed before it was taken; it may have been"
        self._tell(self._backlog.abandon(NotDeliveredError(why)))

    async def _post(self, lines: list[bytes]) -> None:
        results: list[Result] | ClarionError
        try:
            results = await self._client.drive(self._events.post_lines(lines))
        except ClarionError as error:
            results = error
        except Exception as error:  # noqa: BLE001 - its end would let events wait for ever
            results = NotDeliveredError(f"given up: {type(error).__name__}: {error}")
            results.__cause__ = error
        async with self._changed:
            if isinstance(results, ClarionError):
                settled = self._backlog.failed(results, self._now_s())
            else:
                settled = self._backlog.answered(results, self._now_s())
            self._tell(settled)
            self._backlog.told()
            self._changed.notify_all()

    async def _next(self) -> list[bytes]:
        """Wait for the next request's lines. Holds the lock."""
        while True:
            hurry = self._hurry > 0 or self._closed
            wait_s = self._backlog.wait_s(self._now_s(), hurry=hurry)
            if wait_s == 0:
                return self._backlog.take()
            await self._wait_once(wait_s)

    async def _wait_once(self, wait_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._changed.wait()

    def _tell(self, settled: Settled) -> None:
        for item, outcome in settled:
            if not item.future.done():  # whoever waited for it may have cancelled it
                if isinstance(outcome, ClarionError):
                    item.future.set_exception(outcome)
                else:
                    item.future.set_result(outcome)
            if self._on_outcome is not None:
                try:
                    self._on_outcome(item.event, outcome)
                except Exception:
                    log.exception("on_outcome failed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
