"""Sending as a step: deliveries go to the platform's sink, settled ones come back in order.

The pipe never drains. A batch is handed over with the positions it was read from; its outcomes
and positions leave together once all its sends and those of every earlier batch have settled, so
one transaction commits both (docs/decisions/0004-sending.md).
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import uvloop
from confluent_kafka import TopicPartition

from flows.dispatch import Dispatcher, Item, Marks, Ticket
from flows.lanes import by_topic
from operators.recall import RecallDeliveries
from operators.settle import IN_DOUBT, Settled
from schemas import metrics
from schemas.outcomes import Status
from schemas.pipeline import FAST
from schemas.stream import Batch, Positions, Source
from sinks.port import Sink
from state.ledger import Ledger
from state.rates import Rates

OPEN_TIMEOUT_S = 30.0
WINDOW = 512
BUSY_S = 0.005
STOP_DEFER_S, STOP_GIVE_UP_S = 1.0, 6.0
"""When told to stop: what is not sent by then is handed back, what has no answer is given up."""
MOVE_DEFER_S, MOVE_GIVE_UP_S = 2.0, 15.0
"""Before partitions move: a request may take its whole timeout."""
FINISH_TIMEOUT_S = 30.0
PRODUCTION = "production"


class Sender:
    """Runs a sink in its own event loop and keeps at most ``window`` requests in flight.

    finish_batch: turns settled deliveries into records, the same steps as in the flow.
    rates, rated, recalled: see flows/dispatch. now_ms: business clock, for expiry. wall_ms: wall
    clock, for latencies. Not thread-safe: one caller, the dataflow's thread.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        ledger: Ledger,
        rates: Rates,
        rated: Container[str],
        recalled: RecallDeliveries,
        group_of: Callable[[str], str],
        finish_batch: Callable[[Batch], Batch],
        now_ms: Callable[[], int],
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        window: int = WINDOW,
    ) -> None:
        self._ledger = ledger
        self._owner = uuid4().hex
        self._group_of = group_of
        self._finish_batch = finish_batch
        self._wall_ms = wall_ms
        self._window = window
        self._dispatcher = Dispatcher(
            sink,
            window=window,
            mark=self._mark,
            rates=rates,
            rated=rated,
            recalled=recalled,
            now_ms=now_ms,
            wall_ms=wall_ms,
            on_settled=self._note_settled,
            on_failure=self._note_failure,
        )
        # Not yet passed on, and passed on but not yet committed; both in order.
        self._pending: deque[Ticket] = deque()
        self._emitted: deque[Ticket] = deque()
        self._in_doubt: dict[tuple[str, int], int] = {}
        # By bulk and urgent. Counters of two kinds, as each has one writer: the dataflow's
        # thread and the loop's.
        self._handed_over = [0, 0]
        self._settled = [0, 0]
        self._in_flight = metrics.REQUESTS_IN_FLIGHT.labels(sink.platform)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._stopping = False
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
        """Tell whether another batch may be handed over, of urgent priorities or of bulk.

        Raises what has stopped the sender.
        """
        self._check()
        return self._handed_over[urgent] - self._settled[urgent] < self._window

    def is_busy(self) -> bool:
        """Tell whether something is under way or waits to be passed on."""
        return bool(self._pending)

    def has_settled(self) -> bool:
        """Tell whether the oldest batch under way has all its answers."""
        return bool(self._pending) and not self._pending[0].left

    def drain(self) -> None:
        """Come to an end within STOP_GIVE_UP_S: the process was told to stop."""
        if not self._stopping:
            self._stopping = True
            self._drain(STOP_DEFER_S, STOP_GIVE_UP_S)

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Claim partitions: who had them sends no more bulk, and its marks tell how far it was."""
        for topic, numbers in by_topic(partitions).items():
            marks = self._ledger.claim(self._group_of(topic), topic, numbers, self._owner)
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
        beside: list[Any] = []
        positions: Positions = {}
        while self.has_settled():
            ticket = self._pending.popleft()
            self._emitted.append(ticket)
            settled += _settled(ticket)
            beside += ticket.beside
            _count_mixed(ticket)
            positions.update(ticket.positions)
        return [Batch(settled, batch.now_ms, batch.generation, positions, beside)]

    # -- Unfinished, for the checkpoint

    def finish(self) -> Sequence[Batch]:
        """Wait for what is in flight; give every batch that is not committed.

        What has not been sent soon is handed back to the timers. Raises TimeoutError, which stops
        the worker, when even giving up took too long.
        """
        if not self._stopping:
            self._drain(MOVE_DEFER_S, MOVE_GIVE_UP_S)
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        while any(ticket.left for ticket in self._pending) and time.monotonic() < deadline:
            self._check()
            time.sleep(BUSY_S)
        if not self._stopping:
            self._loop.call_soon_threadsafe(self._dispatcher.keep_on)
        while self.has_settled():
            self._emitted.append(self._pending.popleft())
        if self._pending:
            # Only the ledger can say what became of them, and it is asked at the start.
            raise TimeoutError(f"{len(self._pending)} batches did not settle")
        return [
            self._finish_batch(
                Batch(
                    _settled(ticket),
                    self.last_now_ms,
                    self.generation(),
                    ticket.positions,
                    list(ticket.beside),
                )
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
        items: Sequence[Item] = batch.items
        # A batch comes from one lane, so one priority.
        is_urgent = bool(items) and items[0][0].priority in FAST
        ticket = Ticket(items, batch.positions, is_urgent=is_urgent, beside=batch.beside)
        self._pending.append(ticket)
        places: Sequence[int] = range(len(items))
        if self._in_doubt and not is_urgent:
            wall_ms = self._wall_ms()
            doubtful = {place for place in places if self._was_sent(items[place][1])}
            for place in doubtful:
                ticket.answers[place] = (IN_DOUBT, wall_ms)
            places = [place for place in places if place not in doubtful]
            ticket.left = len(places)
        if places:
            self._handed_over[is_urgent] += len(places)
            self._loop.call_soon_threadsafe(self._dispatcher.put, ticket, places)

    def _was_sent(self, source: Source) -> bool:
        key = (source.topic, source.partition)
        mark = self._in_doubt.get(key)
        if mark is None:
            return False
        if source.offset >= mark:
            del self._in_doubt[key]
            return False
        return True

    def _drain(self, defer_after_s: float, give_up_after_s: float) -> None:
        drain = partial(
            self._dispatcher.drain, defer_after_s=defer_after_s, give_up_after_s=give_up_after_s
        )
        self._loop.call_soon_threadsafe(drain)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- called by the loop's threads

    def _mark(self, marks: Marks) -> None:
        """Record that bulk deliveries up to these offsets go out; urgent ones are sent again."""
        by_group: dict[str, dict[tuple[str, int], int]] = {}
        for (topic, partition), offset in marks.items():
            by_group.setdefault(self._group_of(topic), {})[topic, partition] = offset
        for group, of_group in by_group.items():
            self._ledger.mark(group, of_group, self._owner)

    def _note_settled(self, ticket: Ticket) -> None:
        ticket.left -= 1
        self._settled[ticket.is_urgent] += 1

    def _note_failure(self, error: BaseException) -> None:
        self._failure = error

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._dispatcher.open())
            self._opened.set()
            self._loop.run_forever()
            self._loop.run_until_complete(self._dispatcher.close())
        except BaseException as error:  # noqa: BLE001 - handed to the dataflow's thread, which stops
            self._failure = error
            self._opened.set()


def _count_mixed(ticket: Ticket) -> None:
    """Count what was sent although one half of it is a sandbox: the message, or the token."""
    for (delivery, _), answer in zip(ticket.items, ticket.answers, strict=True):
        is_real = delivery.environment == PRODUCTION
        if delivery.sandbox is is_real and answer is not None and answer[0].status is Status.SENT:
            what = "message" if is_real else "credential"
            metrics.SANDBOX_SENDS.labels(delivery.platform, delivery.tenant, what).inc()


def _settled(ticket: Ticket) -> list[Settled]:
    return [
        Settled(delivery, answer[0], source, answer[1])
        for (delivery, source), answer in zip(ticket.items, ticket.answers, strict=True)
        if answer is not None
    ]
