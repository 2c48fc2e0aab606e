"""Commits an epoch into ClickHouse first, then to Kafka."""

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import TopicPartition

from flows.checkpoint import Committer
from flows.clock import Clock
from flows.lanes import Lane
from operators.encode import Encode
from operators.registry_rows import DeviceRow, UserRow, columns_of
from schemas import metrics
from schemas.pipeline import DeadLetter
from schemas.stream import Positions, Record
from sinks.clickhouse import ClickHouseWriter
from sinks.clickhouse_once import ExactlyOnceWriter


class OutcomeRows:
    """Commits outcomes exactly once: their offsets live with the rows.

    A crash between the insert and the commit is noticed when the records come again. What cannot
    be decoded goes to the dead letters.
    """

    def __init__(
        self, writer: ExactlyOnceWriter, then: Committer, encode: Encode, *, now_ms: Clock
    ) -> None:
        self._writer = writer
        self._then = then
        self._encode = encode
        self._now_ms = now_ms
        self._rows: list[tuple[str, int, int, bytes]] = []

    def open(self) -> None:
        """Connect the Kafka side; ClickHouse connects at its first use."""
        self._then.open()

    def assigned(self, _lane: Lane, partitions: Sequence[TopicPartition]) -> None:
        """Ask ClickHouse where these partitions stopped."""
        topics: dict[str, list[int]] = {}
        for tp in partitions:
            topics.setdefault(tp.topic, []).append(tp.partition)
        for topic, numbers in topics.items():
            self._writer.assign(topic, numbers)

    def write(self, items: Sequence[Any]) -> None:
        """Take rows, and records such as dead letters."""
        records: list[Any] = []
        for item in items:
            (records if type(item) is Record else self._rows).append(item)
        self._then.write(records)

    def commit(self, positions: Positions) -> None:
        """Insert, then commit the positions. Raises InsertError."""
        rows, self._rows = self._rows, []
        if rows:
            prepared = self._writer.prepare(rows)
            if prepared.bad:
                self._then.write(self._encode(list(self._letters(prepared.bad, rows))))
            metrics.CLICKHOUSE_ROWS.labels("outcomes").inc(self._writer.insert(prepared))
        self._then.commit(positions)

    def abort(self) -> None:
        """Forget the epoch's rows; they will be read again."""
        self._rows = []
        self._then.abort()

    def _letters(
        self, bad: Iterable[Any], rows: Sequence[tuple[str, int, int, bytes]]
    ) -> Iterable[DeadLetter]:
        raw = {row[:3]: row[3] for row in rows}
        for one in bad:
            at = (one.topic, one.partition, one.offset)
            yield DeadLetter(*at, error=one.why, raw=raw[at], at_ms=self._now_ms())


class RegistryRows:
    """Commits devices and users; the newest version of a row wins, so twice is once."""

    def __init__(self, writer: ClickHouseWriter, then: Committer) -> None:
        self._writer = writer
        self._then = then
        self._devices: list[DeviceRow] = []
        self._users: list[UserRow] = []

    def open(self) -> None:
        """Connect the Kafka side; ClickHouse connects at its first use."""
        self._then.open()

    def write(self, items: Sequence[Any]) -> None:
        """Take rows of both tables, and records such as dead letters."""
        records = []
        for item in items:
            kind = type(item)
            if kind is DeviceRow:
                self._devices.append(item)
            elif kind is UserRow:
                self._users.append(item)
            else:
                records.append(item)
        self._then.write(records)

    def commit(self, positions: Positions) -> None:
        """Insert, then commit the positions. Raises InsertError."""
        devices, self._devices = self._devices, []
        users, self._users = self._users, []
        if devices:
            count = self._writer.insert_devices(columns_of(DeviceRow, devices))
            metrics.CLICKHOUSE_ROWS.labels("devices").inc(count)
        if users:
            count = self._writer.insert_users(columns_of(UserRow, users))
            metrics.CLICKHOUSE_ROWS.labels("users").inc(count)
        self._then.commit(positions)

    def abort(self) -> None:
        """Forget the epoch's rows; they will be read again."""
        self._devices, self._users = [], []
        self._then.abort()
