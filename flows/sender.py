"""Sending as a step: deliveries go to the platform's sink, settled ones come back in order.

The pipe never drains. A batch is handed over with the positions it was read from; its outcomes
and positions leave together once all its sends and those of every earlier batch have settled, so
one transaction commits both (docs/decisions/0004-sending.md).
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import uvloop
from confluent_kafka import TopicPartition

from flows.lanes import by_topic
from operators.settle import EXPIRED, IN_DOUBT, Settled
from schemas import metrics
from schemas.pipeline import FAST, Answer, Delivery
from schemas.stream import Batch, Positions, Source
from sinks.port import Sink
from state.ledger import Ledger

OPEN_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 60.0
WINDOW = 512
BUSY_S = 0.005

Item = tuple[Delivery, Source]


class _Ticket:
    """One batch under way. answers fill in as they come, by place."""

    __slots__ = ("answers", "is_urgent", "items", "left", "positions")

    def __init__(self, items: Sequence[Item], positions: Positions) -> None:
        self.items = items
        self.positions = positions
        self.answers: list[tuple[Answer, int] | None] = [None] * len(items)
        self.left = len(items)
        # A batch comes from one lane, so one priority.
        self.is_urgent = bool(items) and items[0][0].priority in FAST

    def settled(self) -> list[Settled]:
        return [
            Settled(delivery, answer[0], source, answer[1])
            for (delivery, source), answer in zip(self.items, self.answers, strict=True)
            if answer is not None
        ]


class Sender:
    """Runs a sink in its own event loop and keeps at most ``window`` requests in flight.

    finish_batch: turns settled deliveries into records, the same steps as in the flow.
    wall_ms: wall clock for latencies. Not thread-safe: one caller, the dataflow's thread.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        ledger: Ledger,
        group_of: Callable[[str], str],
        finish_batch: Callable[[Batch], Batch],
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        window: int = WINDOW,
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._group_of = group_of
        self._finish_batch = finish_batch
        self._wall_ms = wall_ms
        self._window = window
        # Bulk waits while anything urgent does, whatever came first.
        self._urgent: deque[tuple[_Ticket, int]] = deque()
        self._bulk: deque[tuple[_Ticket, int]] = deque()
        # Not yet passed on, and passed on but not yet committed; both in order.
        self._pending: deque[_Ticket] = deque()
        self._emitted: deque[_Ticket] = deque()
        self._in_doubt: dict[tuple[str, int], int] = {}
        # By bulk and urgent. Counters of two kinds, as each has one writer: the dataflow's
        # thread and the loop's.
        self._handed_over = [0, 0]
        self._settled = [0, 0]
        self._in_flight = metrics.REQUESTS_IN_FLIGHT.labels(sink.platform)
        self._idle: list[asyncio.Future[None]] = []
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self.last_now_ms = 0
        self.generation: Callable[[], int] = lambda: 0

    # -- called by the dataflow's thread

    def start(self) -> None:
        """Start the loop and open the sink. Raises TimeoutError, or what open raised."""
        self._thread.start()
        if not self._opened.wait(OPEN_TIMEOUT_S):
            raise TimeoutError("the sink did not open")
        self._check()

    def stop(self) -> None:
        """Close the sink and end the loop; what is in flight is given up."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(OPEN_TIMEOUT_S)

    def has_room(self, *, urgent: bool) -> bool:
        """Tell whether another batch may be handed over, of urgent priorities or of bulk."""
        return self._handed_over[urgent] - self._settled[urgent] < self._window

    def is_busy(self) -> bool:
        """Tell whether something is under way or waits to be passed on."""
        return bool(self._pending)

    def has_settled(self) -> bool:
        """Tell whether the oldest batch under way has all its answers."""
        return bool(self._pending) and not self._pending[0].left

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Look up how far an earlier process had handed these partitions to the provider."""
        for topic, numbers in by_topic(partitions).items():
            marks = self._ledger.marks(self._group_of(topic), topic, numbers)
            for partition, mark in marks.items():
                self._in_doubt[topic, partition] = mark

    def exchange(self, batch: Batch) -> list[Batch]:
        """Hand a batch over; give what has settled meanwhile, in order.

        Always gives one batch, as the sink commits only in epochs in which something reached it.
        """
        self._check()
        if batch.generation != self.generation():
            return []
        self.last_now_ms = batch.now_ms
        self._in_flight.set(sum(self._handed_over) - sum(self._settled))
        if batch.positions:
            self._hand_over(batch)
        settled: list[Settled] = []
        positions: Positions = {}
        while self.has_settled():
            ticket = self._pending.popleft()
            self._emitted.append(ticket)
            settled += ticket.settled()
            positions.update(ticket.positions)
        return [Batch(settled, batch.now_ms, batch.generation, positions)]

    # -- Unfinished, for the checkpoint

    def finish(self) -> Sequence[Batch]:
        """Wait for what is in flight; give every batch that is not committed.

        Raises TimeoutError, which stops the worker, when sends outlive their own timeouts.
        """
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        while any(ticket.left for ticket in self._pending) and time.monotonic() < deadline:
            self._check()
            time.sleep(BUSY_S)
        while self.has_settled():
            self._emitted.append(self._pending.popleft())
        if self._pending:
            # Only the ledger can say what became of them, and it is asked at the start.
            raise TimeoutError(f"{len(self._pending)} batches did not settle")
        return [
            self._finish_batch(
                Batch(ticket.settled(), self.last_now_ms, self.generation(), ticket.positions)
            )
            for ticket in self._emitted
        ]

    def committed(self, positions: Positions) -> None:
        """Forget the batches that these positions cover."""
        while self._emitted:
            own = self._emitted[0].positions
            if not all(
                key in positions and positions[key].offset >= position.offset
                for key, position in own.items()
            ):
                break
            self._emitted.popleft()

    def _hand_over(self, batch: Batch) -> None:
        ticket = _Ticket(batch.items, batch.positions)
        self._pending.append(ticket)
        now_ms, wall_ms = batch.now_ms, self._wall_ms()
        to_send = []
        for place, (delivery, source) in enumerate(ticket.items):
            if delivery.expires_at_ms and delivery.expires_at_ms <= now_ms:
                ticket.answers[place] = (EXPIRED, wall_ms)
            elif self._in_doubt and self._was_sent(source) and delivery.priority not in FAST:
                ticket.answers[place] = (IN_DOUBT, wall_ms)
            else:
                to_send.append((ticket, place))
        ticket.left = len(to_send)
        if to_send:
            self._mark(batch.positions)
            is_urgent = ticket.is_urgent
            self._handed_over[is_urgent] += len(to_send)
            (self._urgent if is_urgent else self._bulk).extend(to_send)
            self._loop.call_soon_threadsafe(self._wake)

    def _was_sent(self, source: Source) -> bool:
        key = (source.topic, source.partition)
        mark = self._in_doubt.get(key)
        if mark is None:
            return False
        if source.offset >= mark:
            del self._in_doubt[key]
            return False
        return True

    def _mark(self, positions: Positions) -> None:
        by_group: dict[str, dict[tuple[str, int], int]] = {}
        for (_, topic, partition), position in positions.items():
            marks = by_group.setdefault(self._group_of(topic), {})
            marks[topic, partition] = position.offset
        for group, marks in by_group.items():
            self._ledger.mark_many(group, marks)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- inside the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._open())
            self._opened.set()
            workers = [self._loop.create_task(self._work()) for _ in range(self._window)]
            self._loop.run_forever()
            for worker in workers:
                worker.cancel()
            self._loop.run_until_complete(self._close(workers))
        except BaseException as error:  # noqa: BLE001 - handed to the dataflow's thread, which stops
            self._failure = error
            self._opened.set()

    async def _open(self) -> None:
        await self._sink.open()

    async def _close(self, workers: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.gather(*workers, return_exceptions=True)
        await self._sink.close()

    def _wake(self) -> None:
        for _ in range(min(len(self._urgent) + len(self._bulk), len(self._idle))):
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)

    async def _work(self) -> None:
        """Send one after the other; ``window`` of these run side by side."""
        urgent, bulk, send, wall_ms = self._urgent, self._bulk, self._sink.send, self._wall_ms
        while True:
            if not urgent and not bulk:
                waiter = self._loop.create_future()
                self._idle.append(waiter)
                await waiter
                continue
            ticket, place = (urgent or bulk).popleft()
            try:
                answer = await send(ticket.items[place][0])
            except Exception as error:  # noqa: BLE001 - a defect in a sink must stop the worker
                self._failure = error
                return
            ticket.answers[place] = (answer, wall_ms())
            ticket.left -= 1
            self._settled[ticket.is_urgent] += 1
