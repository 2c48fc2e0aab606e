"""What Kafka would refuse for its size ends with a reason, and stops nobody."""

from typing import Any

import msgspec
import pytest

from operators.encode import Encode
from operators.oversize import MAX_KEY_BYTES, MAX_RAW_BYTES, MAX_RECORD_BYTES, fitting
from operators.pace import delivery_key
from operators.work import Outbound
from schemas.outcomes import Reason, Status
from schemas.pipeline import Chunk, DeadLetter, Outcome, Timer
from schemas.stream import Record
from tests.unit.operators.builders import NOW_MS, delivery, notice
from tests.unit.operators.route_chain import on_the_wheel

encode = msgspec.msgpack.encode
HUGE = b"x" * 1_000_000
CHUNK = Chunk(encode(notice()), tuple(f"{n:08d}" * 13 for n in range(9_600)))
LETTER = DeadLetter("events.low", 1, 2, "bad", b"raw", NOW_MS)


def records(*items: Any) -> list[Record]:
    return Encode(dead_letters="dead.route", timer=on_the_wheel)(list(items))


def ends(*items: Any) -> tuple[DeadLetter, Outcome]:
    """Encode what is too large; give the letter and the outcome that stand for it."""
    letter, outcome = records(*items)
    assert (letter.topic, outcome.topic) == ("dead.route", "outcomes")
    assert len(letter.value or b"") <= MAX_RECORD_BYTES
    return (
        msgspec.msgpack.decode(letter.value or b"", type=DeadLetter),
        msgspec.msgpack.decode(outcome.value or b"", type=Outcome),
    )


@pytest.mark.parametrize(
    ("item", "topic"),
    [
        (Outbound("chunks.low", b"k", CHUNK), "chunks.low"),
        (Timer("t", NOW_MS + 9, "chunks.low", b"k", encode(CHUNK)), "chunks.low"),
        (delivery(content=HUGE), "deliveries.fcm.normal"),
        (
            Timer("t", 0, "deliveries.fcm.normal", b"k", encode(delivery(content=HUGE))),
            "deliveries.fcm.normal",
        ),
    ],
    ids=["chunk", "timer of a chunk", "delivery", "timer of a delivery"],
)
def test_what_is_too_large_becomes_a_letter_and_an_outcome(item: Any, topic: str) -> None:
    """They name the message and the size; a replay gives the same ones."""
    letter, outcome = ends(item)
    assert (letter.topic, letter.partition, letter.offset) == (topic, -1, -1)
    assert "bytes" in letter.error
    assert (outcome.message_id, outcome.status) == ("m-1", Status.REJECTED)
    assert (outcome.reason, outcome.occurred_at_ms) == (
        Reason.PAYLOAD_TOO_LARGE,
        delivery().accepted_at_ms if "deliveries" in topic else NOW_MS,
    )
    assert ends(item) == (letter, outcome)


def test_the_others_of_the_batch_go() -> None:
    """In their order."""
    small = delivery()
    made = records(small, delivery(content=HUGE), small)
    assert [r.topic for r in made] == [
        "deliveries.fcm.normal", "dead.route", "outcomes", "deliveries.fcm.normal",
    ]  # fmt: skip
    assert made[0].key == delivery_key(small)


def test_an_outcome_is_shortened() -> None:
    """It has no other place to end in."""
    huge = Outcome("o", NOW_MS, "t" * 500_000, "m" * 500_000, Status.SENT, Reason.ACCEPTED)
    (record,) = records(huge)
    outcome = msgspec.msgpack.decode(record.value or b"", type=Outcome)
    assert (outcome.outcome_id, len(outcome.tenant), len(outcome.message_id)) == ("o", 200, 200)


def test_a_record_that_is_nothing_known_is_a_letter_alone() -> None:
    """Such as what a timer held that nobody here wrote."""
    (record,) = records(Record("chunks.low", b"k", HUGE))
    letter = msgspec.msgpack.decode(record.value or b"", type=DeadLetter)
    assert (letter.topic, letter.raw) == ("chunks.low", HUGE[:MAX_RAW_BYTES])


def test_a_letter_fits_whatever_it_holds() -> None:
    """Raw bytes, error, key and history are bounded, and what was cut is said."""
    lines = tuple("h" * 90_000 for _ in range(60))
    letter = msgspec.structs.replace(
        LETTER, raw=HUGE, error="e" * 500_000, key=b"k" * 900_000, history=lines
    )
    fits = fitting(letter)
    assert len(encode(fits)) <= MAX_RECORD_BYTES
    assert (len(fits.raw), fits.key) == (MAX_RAW_BYTES, b"")
    assert fits.error.endswith("(cut from 1000000 bytes) (without its key of 900000 bytes)")


def test_a_letter_of_common_size_stays_as_it_is() -> None:
    """Its key, too."""
    letter = msgspec.structs.replace(LETTER, key=b"k" * MAX_KEY_BYTES, history=("1", "2"))
    assert fitting(letter) == letter
