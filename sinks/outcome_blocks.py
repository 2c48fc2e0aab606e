"""Rows of outcomes into insertable blocks: one per month, in ClickHouse's Native format."""

import hashlib
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.common import write_leb128
from clickhouse_connect.driver.insert import InsertContext

from sinks.outcome_rows import (
    FIELD_NAMES,
    BadRecord,
    BadRecordError,
    Record,
    Slice,
    decode,
    token_hash,
)

_TEXT, _WORD, _TIME = "String", "LowCardinality(String)", "DateTime64(3, 'UTC')"
COLUMNS = {
    "outcome_id": _TEXT,
    "occurred_at": _TIME,
    "tenant": _WORD,
    "message_id": _TEXT,
    "status": _WORD,
    "reason": _WORD,
    "priority": _WORD,
    "user_id": _TEXT,
    "device_id": _TEXT,
    "delivery_id": _TEXT,
    "platform": _WORD,
    "category": _WORD,
    "type": _WORD,
    "campaign_id": _WORD,
    "attempt": "UInt16",
    "provider_status": "UInt16",
    "detail": _TEXT,
    "provider_id": _TEXT,
    "latency_ms": "Int64",
    "token_action": _WORD,
    "token_hash": _TEXT,
    "token_invalid_at": _TIME,
    "trace_id": _TEXT,
    "sandbox": "Bool",
    "created_at": _TIME,
    "variant": _WORD,
    "kafka_topic": _WORD,
    "kafka_partition": "UInt16",
    "kafka_offset": "UInt64",
}
"""Columns of the outcomes table: of Outcome's fields, in their order, then the coordinates."""

_TIME_OF = itemgetter(FIELD_NAMES.index("occurred_at_ms"))
_TOKEN = FIELD_NAMES.index("token")
_DAY_MS = 86_400_000

Partition = tuple[str, int]
"""A Kafka topic and partition."""
Points = dict[tuple[str, int, int], int]
"""By topic, partition and month (202611): the highest offset that is in ClickHouse."""


@cache
def _month_of_day(day: int) -> int:
    at = datetime.fromtimestamp(day * 86_400, UTC)
    return at.year * 100 + at.month


def month_of(occurred_at_ms: int) -> int:
    """Give the table's partition of a time, as toYYYYMM does: 202611."""
    return _month_of_day(occurred_at_ms // _DAY_MS)


class Block:
    """The rows of one month, encoded; one insert, which is there as a whole or not at all.

    ends: by Kafka partition, the first and last offset. token: the same for
    the same rows, so that ClickHouse can tell a repeated insert from a new one.
    """

    def __init__(self, month: int) -> None:
        self.month = month
        self.native = bytearray()
        self.rows = 0
        self.ends: dict[Partition, tuple[int, int]] = {}
        self._ids = hashlib.sha256()

    @property
    def token(self) -> str:
        """Name the block by its month, coordinates and outcome ids."""
        return f"{self.month}-{self._ids.hexdigest()[:40]}"

    def add(self, slice_: Slice) -> None:
        """Append rows of this month. They must follow those there are, by partition and offset."""
        columns: list[Any] = list(zip(*slice_.rows, strict=True))
        topics, partitions, offsets, _ = zip(*slice_.records, strict=True)
        columns[_TOKEN] = [token_hash(token) for token in columns[_TOKEN]]
        columns += [topics, partitions, offsets]
        _ENCODER.append(columns, len(slice_.rows), self.native)
        self.rows += len(slice_.rows)
        self._ids.update("".join(columns[0]).encode())
        last = dict(zip(zip(topics, partitions, strict=True), offsets, strict=True))
        if last.keys() - self.ends.keys():
            backwards = reversed(slice_.records)
            first = {(topic, partition): offset for topic, partition, offset, _ in backwards}
            self.ends = {key: (offset, offset) for key, offset in first.items()} | self.ends
        self.ends |= {key: (self.ends[key][0], offset) for key, offset in last.items()}

    def __str__(self) -> str:
        """Name it for errors: month, rows and coordinates."""
        spans = ", ".join(
            f"{topic}[{partition}]@{first}-{last}"
            for (topic, partition), (first, last) in sorted(self.ends.items())
        )
        return f"{self.rows} outcomes of {self.month} ({spans})"


class _Encoder:
    """Writes columns as Native blocks; all but the words with clickhouse-connect's own writers."""

    def __init__(self) -> None:
        types = [get_from_name(name) for name in COLUMNS.values()]
        self._context = InsertContext("outcomes", list(COLUMNS), types, column_oriented=True)
        self._texts = get_from_name(_TEXT)
        self._writers: list[Callable[..., None]] = [
            self._write_words if name == _WORD else type_.write_column
            for name, type_ in zip(COLUMNS.values(), types, strict=True)
        ]
        self._heads = [_text(name) + _text(type_name) for name, type_name in COLUMNS.items()]

    def append(self, columns: Sequence[Sequence[Any]], rows: int, target: bytearray) -> None:
        write_leb128(len(self._writers), target)
        write_leb128(rows, target)
        for column, write, head in zip(columns, self._writers, self._heads, strict=True):
            target += head
            write(column, target, self._context)

    def _write_words(
        self, column: Sequence[str], target: bytearray, context: InsertContext
    ) -> None:
        """Write a LowCardinality column: a dictionary, then each row's place in it.

        Three times as fast as the library's, which goes through the rows in Python.
        Format: version, flags (1 << 9: it brings keys, 1 << 10: a new dictionary; low bits: 0 for
        places of one byte, 1 for two), sizes: src/DataTypes/Serializations/
        SerializationLowCardinality.cpp of ClickHouse. A slice has few enough rows for two bytes.
        """
        places = {word: place for place, word in enumerate(dict.fromkeys(column))}
        wide = len(places) > 256
        target += struct.pack("<QQQ", 1, 1 << 9 | 1 << 10 | wide, len(places))
        self._texts.write_column(tuple(places), target, context)
        target += struct.pack("<Q", len(column))
        found = map(places.__getitem__, column)
        target += struct.pack(f"<{len(column)}H", *found) if wide else bytes(found)


def _text(value: str) -> bytes:
    target = bytearray()
    write_leb128(len(value.encode()), target)
    return bytes(target) + value.encode()


_ENCODER = _Encoder()


class Prepared:
    """A batch, ready to insert. bad: what could not be decoded. skipped: rows already there."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.bad: list[BadRecord] = []
        self.skipped: list[tuple[Record, tuple[Any, ...]]] = []

    @property
    def rows(self) -> int:
        """Count the rows to insert."""
        return sum(block.rows for block in self.blocks.values())

    def raise_bad(self) -> None:
        """Raise BadRecordError when there were undecodable records."""
        if self.bad:
            raise BadRecordError(self.bad)


def prepare(records: Sequence[Record], points: Points) -> Prepared:
    """Decode a batch, leave out rows at or below their resume point, and encode the rest.

    records: in offset order within each partition. Never raises for what a record holds.
    skipped keeps the last such row of each partition and month.
    """
    prepared = Prepared()
    skipped: dict[tuple[str, int, int], tuple[Record, tuple[Any, ...]]] = {}
    for slice_ in decode(records, prepared.bad):
        for month, part in _by_month(slice_):
            fresh = _fresh(part, month, points, skipped) if points else part
            if fresh.rows:
                block = prepared.blocks.get(month)
                if block is None:
                    block = prepared.blocks[month] = Block(month)
                block.add(fresh)
    prepared.skipped = list(skipped.values())
    return prepared


def _by_month(slice_: Slice) -> list[tuple[int, Slice]]:
    """Divide a slice by month; nearly always there is one, and nothing is copied."""
    if not slice_.rows:
        return []
    times = list(map(_TIME_OF, slice_.rows))
    if month_of(min(times)) == month_of(max(times)):
        return [(month_of(times[0]), slice_)]
    rows_by_month: dict[int, list[int]] = {}
    for row, at in enumerate(times):
        rows_by_month.setdefault(month_of(at), []).append(row)
    return [(month, _select(slice_, rows)) for month, rows in sorted(rows_by_month.items())]


def _fresh(
    slice_: Slice,
    month: int,
    points: Points,
    skipped: dict[tuple[str, int, int], tuple[Record, tuple[Any, ...]]],
) -> Slice:
    fresh = []
    for i, (topic, partition, offset, _) in enumerate(slice_.records):
        if offset > points.get((topic, partition, month), -1):
            fresh.append(i)
        else:
            skipped[topic, partition, month] = (slice_.records[i], slice_.rows[i])
    return slice_ if len(fresh) == len(slice_.rows) else _select(slice_, fresh)


def _select(slice_: Slice, chosen: Sequence[int]) -> Slice:
    return Slice([slice_.records[i] for i in chosen], [slice_.rows[i] for i in chosen])
