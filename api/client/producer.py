"""A producer for threads: events go into a bounded queue, and in batches to the API."""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Literal, Self

from api.client.areas import Blocking
from api.client.backlog import Backlog, Batching, Outcome, Settled
from api.client.client import Client
from api.client.core import Core
from api.client.errors import ClarionError, ClosedError, FullError, NotDeliveredError
from api.client.events import AnyEvent, Events, Result, line_of
from api.client.retrying import Retry

OnOutcome = Callable[[AnyEvent, Outcome], None]
log = logging.getLogger("clarion.client")


class Producer:
    """Sends events in the background, many a request, in order; threads may share it.

    Every event ends: its future gives a Result (taken, or the problem it has), or raises
    NotDeliveredError or ApiError. on_outcome gets the same, in the producer's thread.
    when_full: "block" waits for room, "raise" raises FullError. retry: its waits are used between
    attempts; how long is batching.within_s.

    `with Producer(client) as producer: producer.send({...})` closes it at the end, and so does the
    interpreter's exit.
    """

    def __init__(
        self,
        client: Client,
        *,
        batching: Batching | None = None,
        when_full: Literal["block", "raise"] = "block",
        on_outcome: OnOutcome | None = None,
        retry: Retry | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        # One attempt a request: the waits between them are the producer's, so that close ends them.
        self._events: Events[Blocking] = Events(Core(Retry(attempts=1)), client)
        self._backlog = Backlog(batching or Batching(), retry or Retry())
        self._when_full = when_full
        self._on_outcome = on_outcome
        self._now_s = now_s
        self._changed = threading.Condition()
        self._hurry = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="clarion-producer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def send(self, event: AnyEvent, *, timeout_s: float | None = None) -> "Future[Result]":
        """Queue an event. timeout_s: how long to wait for room, for ever when None.

        Raises FullError, ClosedError, TypeError for what is no JSON; then it is not queued.
        """
        line = line_of(event)
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        with self._changed:
            if not self._closed and not self._backlog.has_room(len(line)):
                self._make_room(len(line), timeout_s)
            if self._closed:
                raise ClosedError("the producer is closed")
            self._backlog.add(event, line, future, self._now_s())
            self._changed.notify_all()
        return future

    def _make_room(self, size: int, timeout_s: float | None) -> None:
        if self._when_full == "raise" or not self._changed.wait_for(
            lambda: self._closed or self._backlog.has_room(size), timeout_s
        ):
            raise FullError("the queue is full: wait, or make batching.queue_items larger")

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every event queued so far has its outcome; False when it takes longer."""
        with self._changed:
            last = self._backlog.last_number
            self._hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._backlog.is_settled(last), timeout_s)
            finally:
                self._hurry -= 1

    def close(self, timeout_s: float = 30.0) -> None:
        """Take nothing more and send what is queued; what then is left is given up, and told so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.flush(timeout_s)
        with self._changed:
            settled = self._backlog.abandon(
                NotDeliveredError("the producer was closed before it was taken; it may have been")
            )
            self._changed.notify_all()
        self._tell(settled)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while True:
            with self._changed:
                lines = self._next()
            if lines is None:
                return
            results: list[Result] | ClarionError
            try:
                results = self._client.drive(self._events.post_lines(lines))
            except ClarionError as error:
                results = error
            except Exception as error:  # noqa: BLE001 - its end would let events wait for ever
                results = NotDeliveredError(f"given up: {type(error).__name__}: {error}")
                results.__cause__ = error
            with self._changed:
                settled = self._settle(results)
            self._tell(settled)
            with self._changed:
                self._backlog.told()
                self._changed.notify_all()

    def _next(self) -> list[bytes] | None:
        """Wait for the next request's lines, None at the end. Holds the lock."""
        while True:
            hurry = self._hurry > 0 or self._closed
            wait_s = self._backlog.wait_s(self._now_s(), hurry=hurry)
            if wait_s == 0:
                return self._backlog.take()
            if wait_s is None and self._closed:
                return None
            self._changed.wait(wait_s)

    def _settle(self, results: list[Result] | ClarionError) -> Settled:
        if not self._backlog.is_under_way:
            return []  # close has given them up meanwhile
        if isinstance(results, ClarionError):
            return self._backlog.failed(results, self._now_s())
        return self._backlog.answered(results, self._now_s())

    def _tell(self, settled: Settled) -> None:
        for item, outcome in settled:
            if isinstance(outcome, ClarionError):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(outcome)
            if self._on_outcome is not None:
                try:
                    self._on_outcome(item.event, outcome)
                except Exception:
                    log.exception("on_outcome failed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
