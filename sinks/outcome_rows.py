"""Outcome records, checked and decoded into the rows of the outcomes table."""

import calendar
import hashlib
import struct
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec

from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import Outcome

Record = tuple[str, int, int, bytes]
"""A Kafka record: topic, partition, offset, value."""
SLICE_ROWS = 512
"""Rows decoded and encoded together: few enough to stay in the processor's cache."""
MAX_TIME_MS = calendar.timegm((2100, 1, 1, 0, 0, 0)) * 1000
TOKEN_HASH_HEX_DIGITS = 32
"""128 bits of the SHA-256: enough that no two tokens ever meet."""

_BOUNDS: dict[str, Any] = {
    "attempt": Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)],
    "provider_status": Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)],
    "latency_ms": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
}
_TIME_MS = Annotated[int, msgspec.Meta(ge=0, lt=MAX_TIME_MS)]
"""Below the year 2100: anything more is microseconds taken for milliseconds."""


class BadRecord(NamedTuple):
    """A record that is no outcome. why: what the decoder found wrong."""

    topic: str
    partition: int
    offset: int
    why: str


class BadRecordError(ValueError):
    """Records that are no outcomes, named by their coordinates; nothing was written."""

    def __init__(self, bad: Sequence[BadRecord]) -> None:
        first = bad[0]
        super().__init__(
            f"{len(bad)} undecodable, first {first.topic}[{first.partition}]@{first.offset}: "
            f"{first.why}"
        )
        self.bad = tuple(bad)


def token_hash(token: str) -> str:
    """Give what stands for a device token in ClickHouse; empty for an empty token."""
    if not token:
        return ""
    return hashlib.sha256(token.encode()).hexdigest()[:TOKEN_HASH_HEX_DIGITS]


def _column_type(field: Any) -> Any:
    """Give a field's type as a column takes it: bounded numbers, and words instead of enums.

    Words, because a status that a newer release has introduced is data to keep, not an error.
    """
    if field.name.endswith("_ms") and field.name != "latency_ms":
        return _TIME_MS
    if isinstance(field.type, type) and issubclass(field.type, StrEnum):
        return str
    return _BOUNDS.get(field.name, field.type)


_FIELDS = msgspec.structs.fields(Outcome)
FIELD_NAMES = tuple(field.name for field in _FIELDS)
_TUPLE: Any = tuple.__class_getitem__(tuple(_column_type(field) for field in _FIELDS))
_SLICE_DECODER: Any = msgspec.msgpack.Decoder(list[_TUPLE])
_ROW_DECODER: Any = msgspec.msgpack.Decoder(
    msgspec.defstruct(
        "OutcomeRow",
        [
            (field.name, _column_type(field))
            if field.required
            else (field.name, _column_type(field), field.default)
            for field in _FIELDS
        ],
        array_like=True,
    )
)


class Slice(NamedTuple):
    """Decoded records side by side with their rows (tuples in the order of FIELD_NAMES)."""

    records: Sequence[Record]
    rows: Sequence[tuple[Any, ...]]


def decode(records: Sequence[Record], bad: list[BadRecord]) -> Iterator[Slice]:
    """Decode records slice by slice, in order; those that are no outcomes are appended to bad."""
    for start in range(0, len(records), SLICE_ROWS):
        piece = records[start : start + SLICE_ROWS]
        values = [record[3] for record in piece]
        if not all(values):  # beside an empty one, two in one value would pass as one each
            yield _decode_singly(piece, bad)
            continue
        try:
            # One msgpack array (0xdd: its length in 32 bits) around what are whole arrays already.
            rows = _SLICE_DECODER.decode(b"".join([struct.pack(">BI", 0xDD, len(piece)), *values]))
        except UNREADABLE:
            yield _decode_singly(piece, bad)
        else:
            yield Slice(piece, rows)


def _decode_singly(piece: Sequence[Record], bad: list[BadRecord]) -> Slice:
    """Decode one by one: some are broken, or were written by an older or newer release."""
    kept, rows = [], []
    for record in piece:
        try:
            rows.append(msgspec.structs.astuple(_ROW_DECODER.decode(record[3])))
        except UNREADABLE as error:
            bad.append(BadRecord(record[0], record[1], record[2], fault_of(error)))
        else:
            kept.append(record)
    return Slice(kept, rows)
