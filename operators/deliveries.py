"""Records to deliveries."""

from typing import Any

import msgspec

from operators.work import Decided
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import DeadLetter, Delivery
from schemas.stream import Message, Source

_decode = msgspec.msgpack.Decoder(Delivery).decode


def decode_deliveries(messages: list[Message], now_ms: int) -> Decided:
    """Give (Delivery, Source) pairs; what is none becomes a dead letter."""
    pairs: list[tuple[Delivery, Source]] = []
    letters: list[Any] = []
    for message in messages:
        source = Source(message.topic(), message.partition(), message.offset())
        raw = message.value() or b""
        try:
            pairs.append((_decode(raw), source))
        except UNREADABLE as error:
            key = message.key() or b""
            letters.append(
                DeadLetter(*source, error=fault_of(error), raw=raw, at_ms=now_ms, key=key)
            )
    return pairs, letters
