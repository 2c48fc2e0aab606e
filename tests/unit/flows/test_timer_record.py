"""Records of timers, read."""

import msgspec
import pytest

from flows.timer_record import decode_timer
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import Timer

DUE = Timer("t", 5, "chunks.low", b"k", b"v")


def test_a_timer_is_read() -> None:
    """As it was written."""
    assert decode_timer(msgspec.msgpack.encode(DUE)) == DUE


def test_a_timer_with_a_key_that_no_record_could_have_is_refused() -> None:
    """As its value would not fit beside it."""
    with pytest.raises(UNREADABLE, match="key"):
        decode_timer(msgspec.msgpack.encode(msgspec.structs.replace(DUE, key=b"k" * 600_000)))


@pytest.mark.parametrize("topic", ["", "no.such.topic", "x" * 900_000, "../\0"])
def test_a_timer_for_no_topic_of_ours_is_refused(topic: str) -> None:
    """Kafka would refuse the record when it is due, at every start of the flow."""
    with pytest.raises(UNREADABLE) as caught:
        decode_timer(msgspec.msgpack.encode(msgspec.structs.replace(DUE, topic=topic)))
    assert fault_of(caught.value) == "names a topic that is none of Clarion's"
