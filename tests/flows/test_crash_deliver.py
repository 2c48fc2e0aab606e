"""deliver, crashed and replayed, with a provider that counts."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from flow_harness import Runner, Stores

from flows import compose_deliver
from flows.clock import wall_ms
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import (
    Answer,
    DeadLetter,
    Delivery,
    Outcome,
    Platform,
    Priority,
    Timer,
    TokenDeath,
)
from schemas.stream import Record
from schemas.topics import DEAD_DELIVERIES, DELIVERIES, OUTCOMES, TIMERS, TOKEN_DEATHS

SENT = Answer(Status.SENT, Reason.ACCEPTED, 200)
COUNT = 300


class CountingSink:
    """Answers by token, and counts every delivery that reached it."""

    platform = Platform.APNS

    def __init__(self, answers: dict[str, Answer] | None = None) -> None:
        self.sent: Counter[str] = Counter()
        self._answers = answers or {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, delivery: Delivery) -> Answer:
        self.sent[delivery.delivery_id] += 1
        await asyncio.sleep(0)
        return self._answers.get(delivery.token, SENT)


def _delivery(number: int, priority: Priority, **more: Any) -> Delivery:
    now = wall_ms()
    given = {
        "delivery_id": f"d{number}",
        "message_id": f"m{number}",
        "tenant": "acme",
        "app": "ios",
        "user_id": f"u{number}",
        "device_id": "d",
        "platform": Platform.APNS,
        "priority": priority,
        "category": "transactional",
        "type": "t",
        "token": "live",
        "content": b"",
        "accepted_at_ms": now,
        "created_at_ms": now,
        "registered_at_ms": 1,
    }
    return Delivery(**(given | more))


def _put(stores: Stores, deliveries: list[Delivery]) -> None:
    encode = msgspec.msgpack.Encoder().encode
    stores.put(
        [
            Record(DELIVERIES[d.platform, d.priority], d.user_id.encode(), encode(d))
            for d in deliveries
        ]
    )


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> CountingSink:
    """Give the sink that deliver will use."""
    made = CountingSink(
        {
            "dead": Answer(
                Status.FAILED,
                Reason.TOKEN_UNREGISTERED,
                410,
                token_action=TokenAction.DELETE,
                token_invalid_at_ms=77,
            ),
            "busy": Answer(Status.RETRY, Reason.THROTTLED, 429, retry_after_s=5),
            "odd": Answer(Status.REJECTED, Reason.UNLISTED, 418, "Teapot"),
        }
    )
    monkeypatch.setattr(compose_deliver, "make_sink", lambda *_given: made)
    return made


def test_bulk_is_never_sent_twice_and_what_was_in_flight_is_unknown(
    stores: Stores, sink: CountingSink
) -> None:
    """Crashes before and after commits: one send at most, one outcome each, doubts recorded."""
    _put(stores, [_delivery(n, Priority.LOW) for n in range(COUNT)])
    runner = Runner(stores.settings(), "deliver", Platform.APNS)
    runner.run(crash_at=2)
    runner.run(crash_at=2, after=True)
    runner.run()
    outcomes = stores.decoded(OUTCOMES, Outcome)
    assert Counter(o.delivery_id for o in outcomes) == Counter(f"d{n}" for n in range(COUNT))
    assert max(sink.sent.values()) == 1
    unknown = {o.delivery_id for o in outcomes if o.reason is Reason.IN_FLIGHT_AT_CRASH}
    sent = {o.delivery_id for o in outcomes if o.status is Status.SENT}
    assert unknown
    assert sent | unknown == {f"d{n}" for n in range(COUNT)}
    assert sent <= set(sink.sent)


def test_fast_is_sent_again_when_in_doubt_and_none_is_lost(
    stores: Stores, sink: CountingSink
) -> None:
    """Critical messages all end as sent, once in the outcomes, with the same delivery id."""
    _put(stores, [_delivery(n, Priority.CRITICAL) for n in range(COUNT)])
    runner = Runner(stores.settings(), "deliver", Platform.APNS)
    runner.run(crash_at=2)
    runner.run()
    outcomes = stores.decoded(OUTCOMES, Outcome)
    assert Counter(o.delivery_id for o in outcomes) == Counter(f"d{n}" for n in range(COUNT))
    assert {o.status for o in outcomes} == {Status.SENT}
    assert set(sink.sent) == {f"d{n}" for n in range(COUNT)}
    assert max(sink.sent.values()) == 2


def test_answers_lead_to_deaths_retries_and_dead_letters(
    stores: Stores, sink: CountingSink
) -> None:
    """A dead token is reported, a busy provider gets a timer, an unlisted answer a dead letter."""
    tokens = ["live", "dead", "busy", "odd"]
    _put(stores, [_delivery(n, Priority.HIGH, token=t) for n, t in enumerate(tokens)])
    _put(stores, [_delivery(9, Priority.HIGH, expires_at_ms=1)])
    stores.put([Record(DELIVERIES["apns", "high"], None, b"\xc1")])
    Runner(stores.settings(), "deliver", Platform.APNS).run()
    found = {o.delivery_id: (o.status, o.reason) for o in stores.decoded(OUTCOMES, Outcome)}
    assert found == {
        "d0": (Status.SENT, Reason.ACCEPTED),
        "d1": (Status.FAILED, Reason.TOKEN_UNREGISTERED),
        "d2": (Status.RETRY, Reason.THROTTLED),
        "d3": (Status.REJECTED, Reason.UNLISTED),
        "d9": (Status.EXPIRED, Reason.TTL_EXPIRED),
    }
    (death,) = stores.decoded(TOKEN_DEATHS, TokenDeath)
    assert (death.user_id, death.invalid_at_ms) == ("u1", 77)
    (timer,) = stores.decoded(TIMERS, Timer)
    again = msgspec.msgpack.decode(timer.value, type=Delivery)
    assert (again.attempt, again.delivery_id) == (2, "d2")
    assert timer.due_at_ms >= wall_ms() - 60_000 + 5_000
    letters = stores.decoded(DEAD_DELIVERIES[Platform.APNS], DeadLetter)
    assert sorted(letter.raw == b"\xc1" for letter in letters) == [False, True]
    assert "d9" not in sink.sent


@pytest.mark.usefixtures("sink")
def test_what_cannot_be_read_is_a_dead_letter_once_whenever_it_crashes(stores: Stores) -> None:
    """Its letter is committed with its position, however long the sends around it take."""
    for start in range(0, COUNT, 30):
        _put(stores, [_delivery(n, Priority.HIGH) for n in range(start, start + 30)])
        stores.put([Record(DELIVERIES["apns", "high"], None, b"\xc1%d" % start)])
    runner = Runner(stores.settings(), "deliver", Platform.APNS)
    for crash_at in (2, 3):
        runner.run(crash_at=crash_at)
        runner.run(crash_at=crash_at, after=True)
    runner.run()
    letters = stores.decoded(DEAD_DELIVERIES[Platform.APNS], DeadLetter)
    wanted = [b"\xc1%d" % start for start in range(0, COUNT, 30)]
    assert sorted(letter.raw for letter in letters) == sorted(wanted)
    outcomes = stores.decoded(OUTCOMES, Outcome)
    assert Counter(o.delivery_id for o in outcomes) == Counter(f"d{n}" for n in range(COUNT))
