"""encode and deliveries: everything that is decided has a topic and a key, and is read back."""

from typing import Any

import msgspec
import pytest

from operators.deliveries import decode_deliveries
from operators.encode import Encode
from operators.ids import attempt_id, decision_id, trace_id_of
from operators.work import Outbound
from schemas.outcomes import Reason, Status
from schemas.pipeline import (
    Chunk,
    DeadLetter,
    Delivery,
    Outcome,
    Platform,
    Priority,
    Timer,
    TokenDeath,
)
from schemas.stream import Record, Source
from tests.unit.operators.builders import NOW_MS, delivery, keyed, messages

OUTCOME = Outcome("id", NOW_MS, "acme", "m-1", Status.SENT, Reason.ACCEPTED)
LETTER = DeadLetter("events.low", 1, 2, "bad", b"raw", NOW_MS)
TIMER = Timer("t", NOW_MS, "chunks.low", b"k", b"v")
DEATH = TokenDeath("acme", "u1", "d1", Platform.APNS, "t", 5, Reason.TOKEN_UNREGISTERED)
CHUNK = Outbound("chunks.low", b"m-1:0", Chunk(b"n", ("u1",)))
AS_IS = Record("any", b"k", b"v", 3)


def encoder(watched: list[Any] | None = None) -> Encode:
    seen = watched if watched is not None else []
    return Encode(
        dead_letters="dead.route",
        timer=lambda timer: Record("timers", timer.key, timer.value, 7),
        watch=seen.extend,
    )


@pytest.mark.parametrize(
    ("item", "topic", "key"),
    [
        (delivery(), "deliveries.fcm.normal", b"acme/u1"),
        (OUTCOME, "outcomes", None),
        (LETTER, "dead.route", None),
        (DEATH, "tokens.dead", b"acme/u1/d1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_struct_goes_to_its_topic_and_can_be_read_back(
    item: Any, topic: str, key: bytes | None
) -> None:
    """Msgpack of the struct; the broker chooses the partition."""
    (record,) = encoder()([item])
    assert (record.topic, record.key, record.partition) == (topic, key, -1)
    assert msgspec.msgpack.decode(record.value or b"", type=type(item)) == item


def test_a_chunk_goes_to_the_topic_it_names() -> None:
    """Under its own key."""
    (record,) = encoder()([CHUNK])
    assert (record.topic, record.key) == ("chunks.low", b"m-1:0")
    assert msgspec.msgpack.decode(record.value or b"", type=Chunk) == CHUNK.value


def test_a_timer_goes_where_the_wheel_says() -> None:
    """On the partition of its slot."""
    assert encoder()([TIMER]) == [Record("timers", b"k", b"v", 7)]


def test_a_record_stays_as_it_is() -> None:
    """What a timer held."""
    assert encoder()([AS_IS]) == [AS_IS]


def test_everything_is_watched_and_keeps_its_order() -> None:
    """One record for each."""
    seen: list[Any] = []
    batch = [OUTCOME, delivery(), LETTER, TIMER, DEATH, CHUNK, AS_IS]
    topics = [record.topic for record in encoder(seen)(batch)]
    assert seen == batch
    assert topics == [
        "outcomes",
        "deliveries.fcm.normal",
        "dead.route",
        "timers",
        "tokens.dead",
        "chunks.low",
        "any",
    ]


@pytest.mark.parametrize("platform", list(Platform))
@pytest.mark.parametrize("priority", list(Priority))
def test_every_platform_and_priority_has_its_topic(platform: Platform, priority: Priority) -> None:
    """So that an outage or a backlog of one touches no other."""
    (record,) = encoder()([delivery(platform=platform, priority=priority)])
    assert record.topic == f"deliveries.{platform}.{priority}"


def test_deliveries_are_read_with_their_coordinates() -> None:
    """As route wrote them."""
    raw = encoder()([delivery()])[0].value
    pairs, letters = decode_deliveries(messages("deliveries.fcm.low", raw), NOW_MS)
    assert pairs == [(delivery(), Source("deliveries.fcm.low", 0, 0))]
    assert letters == []


def test_a_delivery_of_a_release_without_the_newest_fields_is_read() -> None:
    """Fields are only appended, with defaults."""
    old = msgspec.structs.astuple(delivery())[:15]
    pairs, _ = decode_deliveries(messages("x", msgspec.msgpack.encode(old)), NOW_MS)
    assert pairs[0][0] == delivery()


@pytest.mark.parametrize("raw", [None, b"", b"\xc1", msgspec.msgpack.encode([1, 2])])
def test_what_is_no_delivery_is_a_dead_letter(raw: bytes | None) -> None:
    """And the others of the batch go on."""
    good = msgspec.msgpack.encode(delivery())
    batch = [keyed(one, b"acme/u1") for one in messages("x", raw, good)]
    pairs, letters = decode_deliveries(batch, NOW_MS)
    assert [type(pair[0]) for pair in pairs] == [Delivery]
    assert [(one.offset, one.raw, one.key) for one in letters] == [(0, raw or b"", b"acme/u1")]


def test_decision_ids_differ_by_everything_decided() -> None:
    """Coordinates, user, device, reason."""
    source = Source("events.low", 1, 2)
    ids = {
        decision_id(source, "u", "d", "r"),
        decision_id(source._replace(offset=3), "u", "d", "r"),
        decision_id(source._replace(partition=3), "u", "d", "r"),
        decision_id(source._replace(topic="x"), "u", "d", "r"),
        decision_id(source, "v", "d", "r"),
        decision_id(source, "u", "e", "r"),
        decision_id(source, "u", "d", "s"),
        decision_id(source, "ud", "", "r"),
    }
    assert len(ids) == 8


def test_attempt_ids_differ_by_attempt_and_status() -> None:
    """One delivery has many."""
    assert len({attempt_id("d", n, s) for n in (1, 11) for s in ("sent", "retry")}) == 4


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ("", ""),
    ],
)
def test_the_trace_id_of_a_traceparent(traceparent: str, trace_id: str) -> None:
    """W3C Trace Context."""
    assert trace_id_of(traceparent) == trace_id
