"""The sender's loop side: which delivery goes next, and through which gate.

Each tenant (and push service) has a line of its own, so that one that is slow, throttled or down
keeps back nobody else. What waited too long in its line is handed back as DEFERRED, for the timers.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

import structlog

from operators.backoff import jitter
from operators.gate import Gate, gate_key
from operators.pace import platform_rate_key
from operators.recall import RecallDeliveries
from operators.settle import EXPIRED, RECALLED
from schemas import metrics
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Delivery
from schemas.stream import Positions, Source
from sinks.port import Sink
from state.definitions import REFRESH_S
from state.errors import StateUnavailableError
from state.rates import Rates

MARK_STEP = 128
"""Deliveries marked as handed over in one call: what a crash can put in doubt."""
TICK_S = 0.02
FOLLOW_S = 1.0
HOLD_BULK_S = 2.0
HOLD_URGENT_S = 0.5
ALONE = 10
"""How many times longer a line may wait when nobody stands behind it."""
ACTIVE_S = 60.0
MAX_LINES = 1_000
RESERVE = 8
"""One part in so many."""
CIRCUIT_WAIT_S = (1.0, 5.0)
PACE_WAIT_S = (1.0, 10.0)

GIVEN_UP = Answer(
    Status.UNKNOWN, Reason.CONNECTION_LOST, provider_reason="no answer before the process ended"
)

T = TypeVar("T")
Item = tuple[Delivery, Source]
Marks = Mapping[tuple[str, int], int]


class Ticket:
    """One batch under way. answers fill in as they come, by place.

    beside: what was decided about the batch before; it leaves with the answers.
    marked: places below it are marked in the ledger. handed_s: monotonic.
    """

    __slots__ = ("answers", "beside", "handed_s", "is_urgent", "items", "left", "marked",
                 "marking", "positions")  # fmt: skip

    def __init__(
        self,
        items: Sequence[Item],
        positions: Positions,
        *,
        is_urgent: bool,
        beside: Sequence[Any] = (),
    ) -> None:
        self.items = items
        self.positions = positions
        self.beside = beside
        self.is_urgent = is_urgent
        self.answers: list[tuple[Answer, int] | None] = [None] * len(items)
        self.left = len(items)
        self.handed_s = 0.0
        self.marked = 0
        self.marking: asyncio.Task[None] | None = None


class _Queue:
    """What waits to go through one gate, of urgent priorities or of bulk."""

    __slots__ = ("is_blocked", "is_ready", "is_urgent", "items", "line")

    def __init__(self, line: "_Line", *, is_urgent: bool) -> None:
        self.line = line
        self.is_urgent = is_urgent
        self.items: deque[tuple[Ticket, int]] = deque()
        self.is_ready = False
        self.is_blocked = False


class _Line:
    """One gate with its two queues."""

    __slots__ = ("active_s", "bulk", "gate", "key", "tenant", "urgent")

    def __init__(self, key: str, tenant: str, gate: Gate) -> None:
        self.key = key
        self.tenant = tenant
        self.gate = gate
        self.urgent = _Queue(self, is_urgent=True)
        self.bulk = _Queue(self, is_urgent=False)
        self.active_s = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.urgent.items and not self.bulk.items and not self.gate.in_flight


class Dispatcher:
    """Sends what it is given, at most ``window`` at once; all of it runs in one event loop.

    An eighth of it more is kept for urgent deliveries, and no line may hold all of the window: so
    a provider that hangs, or a ledger that does not answer, leaves somebody for the others.

    mark: records that deliveries up to these offsets go out; called in a thread, before bulk is
    sent. rates: the share of the rate that a tenant has left, shared with other processes; for the
    tenants in ``rated``. recalled: asked just before a delivery goes. now_ms: business clock, for
    expiry. wall_ms: for latencies.
    on_settled: told of every answer, once. on_failure: told of a defect, which ends the work.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        window: int,
        mark: Callable[[Marks], None],
        rates: Rates,
        rated: Container[str],
        recalled: RecallDeliveries,
        now_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        on_settled: Callable[[Ticket], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._sink = sink
        self._window = window
        self._mark = mark
        self._rates, self._rated = rates, rated
        self._recalled = recalled
        self._now_ms, self._wall_ms = now_ms, wall_ms
        self._on_settled, self._on_failure = on_settled, on_failure
        self._lines: dict[str, _Line] = {}
        # Queues that may have something to send, in turn.
        self._urgent: deque[_Queue] = deque()
        self._bulk: deque[_Queue] = deque()
        self._blocked: list[_Queue] = []
        # Taken from their queues: not yet marked in the ledger, and sent without an answer yet.
        self._marking: dict[tuple[int, int], Ticket] = {}
        self._sending: dict[tuple[int, int], Ticket] = {}
        # Workers without work: those for all deliveries, and those for urgent ones alone.
        self._idle: list[asyncio.Future[None]] = []
        self._idle_urgent: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._draining: list[asyncio.TimerHandle] = []
        self._marker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._teller = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rates")
        self._log = structlog.get_logger()

    async def open(self) -> None:
        """Open the sink and start the workers."""
        self._loop = asyncio.get_running_loop()
        await self._sink.open()
        work = [self._work() for _ in range(self._window)]
        urgent = [self._work_urgent() for _ in range(self._window // RESERVE)]
        beside = (self._tick(), self._follow(), self._watch())
        self._tasks = [
            self._loop.create_task(self._guarded(one)) for one in (*work, *urgent, *beside)
        ]

    async def close(self) -> None:
        """End the workers and close the sink; what is in flight is given up."""
        self.keep_on()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sink.close()
        self._marker.shutdown(wait=False, cancel_futures=True)
        self._teller.shutdown(wait=False, cancel_futures=True)

    def put(self, ticket: Ticket, places: Sequence[int]) -> None:
        """Queue deliveries of a batch."""
        now_s = ticket.handed_s = monotonic()
        for place in places:
            line = self._line(ticket.items[place][0])
            line.active_s = now_s
            queue = line.urgent if ticket.is_urgent else line.bulk
            queue.items.append((ticket, place))
            if not queue.is_ready and not queue.is_blocked:
                self._ready(queue)
        self._wake(len(places), urgent=ticket.is_urgent)

    def drain(self, *, defer_after_s: float, give_up_after_s: float) -> None:
        """Come to an end: hand back what is not sent by then, and give up what has no answer."""
        self.keep_on()
        self._draining = [
            self._loop.call_later(defer_after_s, self._defer_all),
            self._loop.call_later(give_up_after_s, self._give_up),
        ]

    def keep_on(self) -> None:
        """Take drain() back: all has settled, and more may come."""
        for handle in self._draining:
            handle.cancel()
        self._draining = []

    # -- choosing

    def _line(self, delivery: Delivery) -> _Line:
        key = gate_key(delivery)
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= MAX_LINES:
                self._forget_idle()
            most = max(1, self._window - self._window // RESERVE)
            gate = Gate(most=most, jitter=random.random)
            line = self._lines[key] = _Line(key, delivery.tenant, gate)
        return line

    def _forget_idle(self) -> None:
        for key in [key for key, line in self._lines.items() if line.is_idle]:
            del self._lines[key]
            for gauge in (metrics.CIRCUIT_OPEN, metrics.CONCURRENCY_LIMIT, metrics.RATE_SHARE):
                gauge.remove(self._sink.platform, key)

    def _next(self, kinds: Sequence[deque[_Queue]]) -> tuple[_Line, Ticket, int] | None:
        """Take the next delivery of these kinds that may go, lines in turn."""
        now_s = monotonic()
        for queues in kinds:
            while queues:
                queue = queues.popleft()
                queue.is_ready = False
                self._skip_over(queue)
                if not queue.items:
                    continue
                gate = queue.line.gate
                if not gate.admits(now_s, urgent=queue.is_urgent):
                    self._block(queue)
                    continue
                ticket, place = queue.items.popleft()
                gate.started(now_s)
                if queue.items:
                    if gate.has_room:
                        self._ready(queue)
                    else:  # spares another worker the look
                        self._block(queue)
                return queue.line, ticket, place
        return None

    def _skip_over(self, queue: _Queue) -> None:
        """Leave out what has expired in the line, or was recalled meanwhile."""
        items = queue.items
        while items:
            ticket, place = items[0]
            delivery = ticket.items[place][0]
            if delivery.expires_at_ms and delivery.expires_at_ms <= self._now_ms():
                answer = EXPIRED
            elif (reason := self._recalled(delivery)) is not None:
                answer = RECALLED[reason]
            else:
                return
            items.popleft()
            self._settle(ticket, place, answer)

    def _block(self, queue: _Queue) -> None:
        queue.is_blocked = True
        self._blocked.append(queue)

    def _ready(self, queue: _Queue) -> None:
        queue.is_ready = True
        (self._urgent if queue.is_urgent else self._bulk).append(queue)

    def _unblock(self, line: _Line) -> None:
        """Look again at what was blocked: one of its requests was answered."""
        for queue in (line.urgent, line.bulk):
            if queue.is_blocked:
                self._blocked.remove(queue)
                queue.is_blocked = False
                self._ready(queue)

    def _wake(self, count: int, *, urgent: bool) -> None:
        for idle in (self._idle, self._idle_urgent) if urgent else (self._idle,):
            while count and idle:
                count -= 1
                waiter = idle.pop()
                if not waiter.done():
                    waiter.set_result(None)

    # -- sending

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a defect must stop the process, not one worker
            self._on_failure(error)

    async def _work(self) -> None:
        """Send one after the other, urgent ones first; ``window`` of these run side by side."""
        while True:
            found = self._next((self._urgent, self._bulk))
            if found is None:
                await self._rest(self._idle)
                continue
            if self._idle and (self._urgent or self._bulk):
                self._wake(1, urgent=False)  # there may be room for one more
            await self._send(*found)

    async def _work_urgent(self) -> None:
        """Send urgent ones that found no other worker."""
        while True:
            found = self._next((self._urgent,))
            if found is None:
                if self._bulk:  # what it has just sent may have made room for it
                    self._wake(1, urgent=False)
                await self._rest(self._idle_urgent)
                continue
            await self._send(*found)

    async def _rest(self, idle: list[asyncio.Future[None]]) -> None:
        waiter = self._loop.create_future()
        idle.append(waiter)
        await waiter

    async def _send(self, line: _Line, ticket: Ticket, place: int) -> None:
        gate = line.gate
        key = (id(ticket), place)
        if not ticket.is_urgent and place + MARK_STEP >= ticket.marked:
            self._marking[key] = ticket
            await self._marked(ticket, place)
            del self._marking[key]
            if ticket.answers[place] is not None:  # handed back meanwhile
                gate.in_flight -= 1
                return
        self._sending[key] = ticket
        started_s = monotonic()
        answer = await self._sink.send(ticket.items[place][0])
        del self._sending[key]
        if gate.answered(answer, started_s=started_s, now_s=monotonic()):
            self._tell(line)
        self._settle(ticket, place, answer)
        self._unblock(line)

    def _settle(self, ticket: Ticket, place: int, answer: Answer) -> None:
        if ticket.answers[place] is None:
            ticket.answers[place] = (answer, self._wall_ms())
            self._on_settled(ticket)

    async def _marked(self, ticket: Ticket, place: int) -> None:
        """Wait until the ledger knows that this place goes out; have the next ones marked, too."""
        while place >= ticket.marked:
            await self._mark_next(ticket, place)
        if place + MARK_STEP >= ticket.marked < len(ticket.items):
            self._mark_next(ticket, place + MARK_STEP)

    def _mark_next(self, ticket: Ticket, place: int) -> "asyncio.Task[None]":
        """Mark up to the end of this place's step, unless some marking is under way."""
        if ticket.marking is None:
            upto = min(len(ticket.items), (place // MARK_STEP + 1) * MARK_STEP)
            ticket.marking = self._loop.create_task(self._mark_to(ticket, upto))
        return ticket.marking

    async def _mark_to(self, ticket: Ticket, upto: int) -> None:
        marks = {
            (source.topic, source.partition): source.offset + 1
            for _, source in ticket.items[ticket.marked : upto]
        }
        await self._loop.run_in_executor(self._marker, self._mark, marks)
        ticket.marked, ticket.marking = upto, None

    # -- holding back

    async def _tick(self) -> None:
        """Look again at what was blocked, and at how long it has been."""
        while True:
            await asyncio.sleep(TICK_S)
            if not self._blocked:
                continue
            now_s = monotonic()
            active = sum(now_s - line.active_s < ACTIVE_S for line in self._lines.values())
            patience = ALONE if active <= 1 else 1
            blocked, self._blocked = self._blocked, []
            for queue in blocked:
                self._hand_back(queue, now_s, patience)
                queue.is_blocked = False
                self._ready(queue)
            self._wake(len(blocked), urgent=any(queue.is_urgent for queue in blocked))

    def _hand_back(self, queue: _Queue, now_s: float, patience: int) -> None:
        """Defer what has waited too long."""
        hold_s = (HOLD_URGENT_S if queue.is_urgent else HOLD_BULK_S) * patience
        while queue.items and now_s - queue.items[0][0].handed_s > hold_s:
            ticket, place = queue.items.popleft()
            self._defer(ticket, place, queue.line.gate.reason)

    def _defer(self, ticket: Ticket, place: int, reason: Reason) -> None:
        delivery = ticket.items[place][0]
        wait_s = 0.0
        if reason is not Reason.STOPPING:
            least, most = CIRCUIT_WAIT_S if reason is Reason.CIRCUIT_OPEN else PACE_WAIT_S
            spread = jitter(delivery.delivery_id, delivery.attempt + 1_000 * delivery.holds)
            wait_s = least + spread * (most - least)
        self._settle(ticket, place, Answer(Status.DEFERRED, reason, retry_after_s=wait_s))

    def _defer_all(self) -> None:
        """Hand back all that has not been sent."""
        for line in self._lines.values():
            for queue in (line.urgent, line.bulk):
                while queue.items:
                    self._defer(*queue.items.popleft(), Reason.STOPPING)
        for (_, place), ticket in self._marking.items():
            self._defer(ticket, place, Reason.STOPPING)

    def _give_up(self) -> None:
        """Wait no longer for answers."""
        self._defer_all()
        for (_, place), ticket in self._sending.items():
            self._settle(ticket, place, GIVEN_UP)

    # -- rates shared with other processes

    def _tell(self, line: _Line) -> None:
        """Tell the other processes that the provider wants it slower."""
        if line.tenant in self._rated:
            key = self._rate_key(line)
            self._loop.run_in_executor(self._teller, self._advisory, self._slow_down, key)

    def _slow_down(self, key: str) -> None:
        self._rates.slow_down(key, 0, self._now_ms())

    def _shares(self, keys: Sequence[str]) -> list[float]:
        return self._rates.shares(keys, self._now_ms())

    def _advisory(self, call: Callable[..., T], *args: object) -> T | None:
        """Rates are advice: without Redis each process goes by its own refusals."""
        try:
            return call(*args)
        except StateUnavailableError as error:
            self._log.warning("shared rates are not at hand", error=str(error))
            return None

    def _rate_key(self, line: _Line) -> str:
        return platform_rate_key(line.tenant, self._sink.platform)

    async def _follow(self) -> None:
        """Take on the shares that all processes have, and show the gates in the metrics."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            now_s = monotonic()
            lines = [one for one in self._lines.values() if now_s - one.active_s < ACTIVE_S]
            rated = [one for one in lines if one.tenant in self._rated]
            if rated:
                keys = [self._rate_key(one) for one in rated]
                shares = await self._loop.run_in_executor(
                    self._teller, self._advisory, self._shares, keys
                )
                for line, share in zip(rated, shares or (), strict=False):
                    line.gate.pace.follow(share, now_s)
            for line in lines:
                self._show(line)

    async def _watch(self) -> None:
        """Read again and again what was cancelled."""
        while True:
            await self._loop.run_in_executor(self._teller, self._advisory, self._recalled.refresh)
            await asyncio.sleep(REFRESH_S)

    def _show(self, line: _Line) -> None:
        labels = (self._sink.platform, line.key)
        metrics.CIRCUIT_OPEN.labels(*labels).set(line.gate.breaker.is_open)
        metrics.CONCURRENCY_LIMIT.labels(*labels).set(line.gate.concurrency.limit)
        metrics.RATE_SHARE.labels(*labels).set(line.gate.pace.share)
