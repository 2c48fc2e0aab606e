"""A record of timers, read."""

import msgspec

from flows.topics import specifications
from operators.oversize import MAX_KEY_BYTES
from schemas.pipeline import Timer

_decode = msgspec.msgpack.Decoder(Timer).decode
_KNOWN = frozenset(t.topic for t in specifications(partitions=1, timer_slots=1, replicas=1))


def decode_timer(raw: bytes) -> Timer:
    """Decode a record of timers. Raises one of schemas.packed.UNREADABLE.

    A timer for a topic that Clarion does not have could never fire: Kafka would refuse its record,
    and the flow would stop at it for good.
    """
    timer = _decode(raw)
    if timer.topic not in _KNOWN:
        raise msgspec.ValidationError("names a topic that is none of Clarion's")
    if len(timer.key) > MAX_KEY_BYTES:
        raise msgspec.ValidationError(f"has a key of {len(timer.key)} bytes")
    return timer
