"""The dispatcher: who is sent when, who waits, and who is handed back."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flows import dispatch
from flows.dispatch import MARK_STEP, Dispatcher, Marks, Ticket
from operators.circuit import PROBES_TO_CLOSE
from operators.recall import RecallDeliveries, message_control
from schemas.campaigns import Control, ControlState
from schemas.outcomes import Reason, Status
from schemas.pipeline import FAST, Answer, Delivery, Platform, Priority
from schemas.stream import Source
from state.memory_limits import MemoryRates

SENT = Answer(Status.SENT, Reason.ACCEPTED, 200)
DOWN = Answer(Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 503)
TOO_FAST = Answer(Status.RETRY, Reason.THROTTLED, 429)
NOW_MS = 1_000_000


class Provider:
    """Answers by tenant; holds requests of tenants in `hanging` for ever."""

    platform = Platform.FCM

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.hanging: set[str] = set()
        self.requests: list[Delivery] = []
        self.under_way: Counter[str] = Counter()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, delivery: Delivery) -> Answer:
        self.requests.append(delivery)
        self.under_way[delivery.tenant] += 1
        if delivery.tenant in self.hanging:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        self.under_way[delivery.tenant] -= 1
        return self.answers.get(delivery.tenant, SENT)


class Bench:
    """A dispatcher with its provider; answers by delivery id."""

    def __init__(self, window: int, mark: Callable[[Marks], None]) -> None:
        self.provider = Provider()
        self.rates = MemoryRates()
        self.now_ms = NOW_MS
        self.controls: dict[str, dict[str, Control]] = {}
        self.failures: list[BaseException] = []
        self.tickets: list[Ticket] = []
        self.offset = 0
        self.dispatcher = Dispatcher(
            self.provider,
            window=window,
            mark=mark,
            rates=self.rates,
            rated={"a", "b"},
            recalled=RecallDeliveries(lambda tenant: self.controls.get(tenant, {}), lambda: None),
            now_ms=lambda: self.now_ms,
            wall_ms=lambda: NOW_MS,
            on_settled=self._settled,
            on_failure=self.failures.append,
        )

    def put(self, deliveries: Iterable[Delivery]) -> Ticket:
        items = []
        for delivery in deliveries:
            items.append((delivery, Source("deliveries.fcm.low", 0, self.offset)))
            self.offset += 1
        ticket = Ticket(items, {}, is_urgent=items[0][0].priority in FAST)
        self.tickets.append(ticket)
        self.dispatcher.put(ticket, range(len(items)))
        return ticket

    @staticmethod
    def _settled(ticket: Ticket) -> None:
        ticket.left -= 1

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until this holds."""
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - what is waited for raises no event
                await asyncio.sleep(0.001)

    async def done(self, *tickets: Ticket) -> None:
        await self.until(lambda: all(ticket.left == 0 for ticket in tickets))


def deliveries(count: int, tenant: str = "a", **more: Any) -> list[Delivery]:
    given: dict[str, Any] = {
        "message_id": "m",
        "tenant": tenant,
        "app": "app",
        "user_id": "u",
        "device_id": "d",
        "platform": Platform.FCM,
        "priority": Priority.LOW,
        "category": "c",
        "type": "t",
        "token": "t",
        "content": b"",
        "accepted_at_ms": 0,
        "created_at_ms": 0,
        "registered_at_ms": 0,
    }
    return [Delivery(delivery_id=f"{tenant}{n}", **(given | more)) for n in range(count)]


def reasons(ticket: Ticket) -> Counter[Reason]:
    return Counter(answer[0].reason for answer in ticket.answers if answer is not None)


@asynccontextmanager
async def bench(
    *, window: int = 200, mark: Callable[[Marks], None] = lambda _marks: None
) -> AsyncIterator[Bench]:
    made = Bench(window, mark)
    await made.dispatcher.open()
    yield made
    await made.dispatcher.close()
    assert not made.failures


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again sooner than in production, so that tests need not wait."""
    monkeypatch.setattr(dispatch, "TICK_S", 0.001)
    monkeypatch.setattr(dispatch, "FOLLOW_S", 0.005)


async def test_every_delivery_gets_its_answer() -> None:
    """Several batches, more than the window holds."""
    async with bench(window=10) as made:
        tickets = [made.put(deliveries(300)) for _ in range(3)]
        await made.done(*tickets)
        assert all(reasons(ticket) == {Reason.ACCEPTED: 300} for ticket in tickets)
        assert len(made.provider.requests) == 900


async def test_a_tenant_whose_provider_hangs_keeps_back_nobody_else() -> None:
    """The other's deliveries, behind it in the same batch, all go out."""
    async with bench(window=300) as made:
        made.provider.hanging = {"a"}
        ticket = made.put([*deliveries(250, "a"), *deliveries(250, "b")])
        await made.until(lambda: sum(a is not None for a in ticket.answers) == 250)
        assert all(ticket.answers[250:])
        assert not any(ticket.answers[:250])


async def test_one_line_does_not_take_all_workers() -> None:
    """However much of one tenant's hangs, another's bulk finds a worker, one after the other."""
    async with bench(window=16) as made:
        made.provider.hanging = {"a"}
        made.put(deliveries(50, "a"))
        await made.until(lambda: made.provider.under_way["a"] == 14)
        await made.done(made.put(deliveries(50, "b")))


async def test_urgent_finds_a_worker_though_all_of_the_window_hangs() -> None:
    """Of another tenant, in front of providers that do not answer."""
    async with bench(window=16) as made:
        made.provider.hanging = {"a", "c"}
        made.put([*deliveries(50, "a"), *deliveries(50, "c")])
        await made.until(lambda: made.provider.under_way.total() == 16)
        await made.done(made.put(deliveries(50, "b", priority=Priority.CRITICAL)))


async def test_urgent_goes_out_while_the_ledger_does_not_answer() -> None:
    """Bulk waits for its mark with all workers there are; urgent ones need none."""
    answers = threading.Event()
    async with bench(window=16, mark=lambda _marks: answers.wait(20)) as made:
        bulk = made.put([*deliveries(50, "a"), *deliveries(50, "c")])
        await made.until(lambda: len(made.dispatcher._marking) == 16)
        await made.done(made.put(deliveries(50, "b", priority=Priority.HIGH)))
        assert bulk.left == 100
        answers.set()
        await made.done(bulk)


async def test_urgent_goes_before_bulk_that_came_first() -> None:
    """Whatever waits in bulk, the next to go is the urgent one."""
    async with bench(window=1) as made:
        bulk = made.put(deliveries(50))
        urgent = made.put(deliveries(1, priority=Priority.CRITICAL))
        await made.done(bulk, urgent)
        places = [n for n, d in enumerate(made.provider.requests) if d.priority in FAST]
        assert places[0] <= 1


async def test_urgent_finds_a_place_while_bulk_has_taken_all_of_the_limit() -> None:
    """A tenant's bulk that hangs does not keep its one-time passwords back."""
    async with bench(window=300) as made:
        made.provider.hanging = {"a"}
        made.put(deliveries(250))
        await made.until(lambda: made.provider.under_way["a"] >= 100)
        made.provider.hanging = set()
        urgent = made.put(deliveries(3, priority=Priority.CRITICAL))
        await made.done(urgent)
        assert reasons(urgent) == {Reason.ACCEPTED: 3}


async def test_a_storm_opens_the_circuit_and_hardly_anything_is_asked() -> None:
    """Of 2,000 deliveries only the first ones and a few probes reach the provider."""
    async with bench(window=1_000) as made:
        made.provider.answers["a"] = DOWN
        ticket = made.put(deliveries(2_000))
        await made.until(lambda: made.dispatcher._lines["a"].gate.breaker.is_open)
        await made.until(lambda: made.provider.under_way["a"] == 0)
        asked = len(made.provider.requests)
        assert asked <= 140  # one limit's worth of requests
        assert ticket.left == 2_000 - asked


async def test_recovery_sends_what_has_waited() -> None:
    """Good probes close the circuit; all the rest goes out."""
    async with bench(window=1_000) as made:
        made.provider.answers["a"] = DOWN
        ticket = made.put(deliveries(2_000))
        gate = made.dispatcher._lines["a"].gate
        await made.until(lambda: gate.breaker.is_open)
        made.provider.answers.clear()
        asked_while_down = len(made.provider.requests)
        await made.done(ticket)
        found = reasons(ticket)
        assert found[Reason.ACCEPTED] + found[Reason.PROVIDER_UNAVAILABLE] == 2_000
        assert found[Reason.PROVIDER_UNAVAILABLE] <= asked_while_down < 1_000
        assert found[Reason.ACCEPTED] >= PROBES_TO_CLOSE


async def test_what_waits_too_long_is_handed_back_for_the_timers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DEFERRED with the circuit as its reason, and a wait of some seconds, spread out."""
    async with bench(window=1_000) as made:
        made.provider.answers["a"] = DOWN
        ticket = made.put(deliveries(500))
        gate = made.dispatcher._lines["a"].gate
        await made.until(lambda: gate.breaker.is_open)
        monkeypatch.setattr(dispatch, "HOLD_BULK_S", 0.0)
        await made.done(ticket)
        deferred = [a[0] for a in ticket.answers if a and a[0].status is Status.DEFERRED]
        assert {answer.reason for answer in deferred} == {Reason.CIRCUIT_OPEN}
        assert len(deferred) > 300
        waits = {answer.retry_after_s or 0 for answer in deferred}
        assert len(waits) > 100
        least, most = dispatch.CIRCUIT_WAIT_S
        assert all(least <= wait <= most for wait in waits)


async def test_too_fast_slows_down_and_tells_the_others() -> None:
    """A 429 halves the share in the shared rates, and what they say is followed."""
    async with bench() as made:
        made.provider.answers["a"] = TOO_FAST
        ticket = made.put(deliveries(1))
        await made.done(ticket)
        await made.until(lambda: made.rates.shares(["a/fcm"], NOW_MS) == [0.5])
        await made.until(lambda: made.dispatcher._lines["a"].gate.pace.share == 0.5)
        assert made.rates.shares(["b/fcm"], NOW_MS) == [1.0]
        made.rates.slow_down("a/fcm", 0, NOW_MS + 2_000)
        await made.until(lambda: made.dispatcher._lines["a"].gate.pace.share < 0.5)


async def test_what_is_cancelled_in_its_line_is_not_sent() -> None:
    """A message that people took back ends just before it would go, others go."""
    async with bench(window=1) as made:
        made.controls["a"] = {message_control("m-1"): Control(state=ControlState.CANCELLED)}
        ticket = made.put([*deliveries(3, message_id="m-1"), *deliveries(2, message_id="m-2")])
        await made.done(ticket)
        assert reasons(ticket) == {Reason.CANCELLED: 3, Reason.ACCEPTED: 2}
        assert {request.message_id for request in made.provider.requests} == {"m-2"}


async def test_a_delivery_that_expires_in_its_line_is_not_sent() -> None:
    """The time to live is looked at just before sending."""
    async with bench(window=1) as made:
        made.now_ms = NOW_MS + 1
        ticket = made.put(
            [*deliveries(3, expires_at_ms=NOW_MS), *deliveries(2, expires_at_ms=NOW_MS + 2)]
        )
        await made.done(ticket)
        assert reasons(ticket) == {Reason.TTL_EXPIRED: 3, Reason.ACCEPTED: 2}


async def test_draining_hands_back_what_was_not_sent_and_gives_up_what_hangs() -> None:
    """Told to stop: nothing is lost, and nothing is waited for beyond the time allowed."""
    async with bench(window=20) as made:
        made.provider.hanging = {"a"}
        ticket = made.put(deliveries(200))
        await made.until(lambda: made.provider.under_way["a"] == 18)
        made.dispatcher.drain(defer_after_s=0.0, give_up_after_s=0.01)
        await made.done(ticket)
        assert reasons(ticket) == {Reason.STOPPING: 182, Reason.CONNECTION_LOST: 18}
        given_up = [a[0] for a in ticket.answers if a and a[0].reason is Reason.CONNECTION_LOST]
        assert {answer.status for answer in given_up} == {Status.UNKNOWN}


async def test_after_a_drain_taken_back_all_goes_on() -> None:
    """A rebalance drains; what comes afterwards is sent."""
    async with bench() as made:
        made.dispatcher.drain(defer_after_s=0.0, give_up_after_s=0.001)
        made.dispatcher.keep_on()
        ticket = made.put(deliveries(100))
        await made.done(ticket)
        assert reasons(ticket) == {Reason.ACCEPTED: 100}


async def test_bulk_is_marked_in_the_ledger_before_it_is_sent() -> None:
    """A crash finds every bulk delivery that was sent below its partition's mark."""
    marked = 0
    made: Bench
    late: list[int] = []

    def mark(marks: Marks) -> None:
        nonlocal marked
        # Nothing beyond the marks so far has been sent while this call is under way.
        late.extend(n for n in range(len(made.provider.requests)) if n >= marked)
        marked = max(marked, *marks.values())

    async with bench(mark=mark) as made:
        ticket = made.put(deliveries(5 * MARK_STEP))
        await made.done(ticket)
        assert marked == 5 * MARK_STEP
        assert not late


async def test_little_is_marked_while_little_is_sent() -> None:
    """A provider that hangs leaves most of a batch out of doubt."""
    marks: list[int] = []
    async with bench(window=10, mark=lambda m: marks.extend(m.values())) as made:
        made.provider.hanging = {"a"}
        made.put(deliveries(10 * MARK_STEP))
        await made.until(lambda: made.provider.under_way["a"] == 9)
        assert max(marks) <= 2 * MARK_STEP


async def test_urgent_is_not_marked() -> None:
    """It is sent again after a crash, so nothing needs to be known, and no call costs time."""
    calls: list[Marks] = []
    async with bench(mark=calls.append) as made:
        await made.done(made.put(deliveries(10, priority=Priority.CRITICAL)))
        assert not calls


async def test_a_ledger_that_fails_stops_the_work() -> None:
    """Without marks nothing may be sent: the failure is told, and nothing went out."""
    release = threading.Event()

    def mark(_marks: Marks) -> None:
        release.wait(10)
        raise ConnectionError("no ledger")

    made = Bench(50, mark)
    await made.dispatcher.open()
    made.put(deliveries(10))
    release.set()
    await made.until(lambda: bool(made.failures))
    assert isinstance(made.failures[0], ConnectionError)
    assert not made.provider.requests
    await made.dispatcher.close()
