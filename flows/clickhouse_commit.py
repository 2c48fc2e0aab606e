"""Commits an epoch into ClickHouse first, then to Kafka."""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from confluent_kafka import TopicPartition

from flows.checkpoint import Committer
from flows.clock import Clock
from flows.lanes import Lane, by_topic
from operators.encode import Encode
from operators.registry_rows import AuditRow, DeviceRow, UserEventRow, UserRow, columns_of
from schemas import metrics
from schemas.pipeline import DeadLetter
from schemas.stream import Positions, Record
from sinks.clickhouse import ClickHouseWriter, InsertError
from sinks.clickhouse_once import ExactlyOnceWriter
from sinks.outcome_blocks import Prepared

BLOCK_ROWS = 16_000


class OutcomeRows:
    """Commits outcomes exactly once: their offsets live with the rows.

    A crash between the insert and the commit is noticed when the records come again. What cannot
    be decoded goes to the dead letters. Blocks are inserted in order by one thread, while the next
    one is read and encoded; the commit waits for all of them. After a block that was not inserted
    none is: rows of a later one would say that those of the earlier are there.
    """

    def __init__(
        self, writer: ExactlyOnceWriter, then: Committer, encode: Encode, *, now_ms: Clock
    ) -> None:
        self._writer = writer
        self._then = then
        self._encode = encode
        self._now_ms = now_ms
        self._rows: list[tuple[str, int, int, bytes]] = []
        self._inserter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="insert")
        self._inserting: deque[Future[int]] = deque()
        self._is_broken = False

    def open(self) -> None:
        """Connect the Kafka side; ClickHouse connects at its first use."""
        self._then.open()

    def assigned(self, _lane: Lane, partitions: Sequence[TopicPartition]) -> None:
        """Ask ClickHouse where these partitions stopped, once nothing is being inserted."""
        self._wait(most=0)
        for topic, numbers in by_topic(partitions).items():
            self._writer.assign(topic, numbers)

    def write(self, items: Sequence[Any]) -> None:
        """Take rows, and records such as dead letters."""
        records: list[Any] = []
        for item in items:
            (records if type(item) is Record else self._rows).append(item)
        self._then.write(records)
        if len(self._rows) >= BLOCK_ROWS:
            self._start_insert()

    def commit(self, positions: Positions) -> None:
        """Insert, then commit the positions. Raises InsertError."""
        self._start_insert()
        self._wait(most=0)
        self._then.commit(positions)

    def abort(self) -> None:
        """Forget the epoch's rows; they will be read again, and those inserted be recognised.

        Raises InsertError.
        """
        self._rows = []
        self._wait(most=0)
        self._then.abort()

    def close(self) -> None:
        """End the thread, with the attempt to insert that is under way."""
        self._inserter.shutdown(cancel_futures=True)

    def _start_insert(self) -> None:
        """Encode the rows at hand and hand them to the thread; at most two blocks wait there."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        prepared = self._writer.prepare(rows)
        if prepared.bad:
            self._then.write(self._encode(list(self._letters(prepared.bad, rows))))
        self._wait(most=1)
        self._inserting.append(self._inserter.submit(self._insert, prepared))

    def _insert(self, prepared: Prepared) -> int:
        if self._is_broken:
            raise InsertError("a block before this one was not inserted")
        self._is_broken = True
        count = self._writer.insert(prepared)
        self._is_broken = False
        return count

    def _wait(self, *, most: int) -> None:
        while len(self._inserting) > most:
            inserted = self._inserting.popleft().result()
            metrics.CLICKHOUSE_ROWS.labels("outcomes").inc(inserted)

    def _letters(
        self, bad: Iterable[Any], rows: Sequence[tuple[str, int, int, bytes]]
    ) -> Iterable[DeadLetter]:
        raw = {row[:3]: row[3] for row in rows}
        for one in bad:
            at = (one.topic, one.partition, one.offset)
            yield DeadLetter(*at, error=one.why, raw=raw[at], at_ms=self._now_ms())


_TABLES: dict[type[tuple[Any, ...]], str] = {
    DeviceRow: "devices",
    UserRow: "users",
    UserEventRow: "user_events",
    AuditRow: "audit",
}


class RegistryRows:
    """Commits devices, users, what they did, and the audit log.

    The newest version of a row wins, so twice is once.
    """

    def __init__(self, writer: ClickHouseWriter, then: Committer) -> None:
        self._writer = writer
        self._then = then
        self._rows: dict[type[tuple[Any, ...]], list[Any]] = {kind: [] for kind in _TABLES}

    def open(self) -> None:
        """Connect the Kafka side; ClickHouse connects at its first use."""
        self._then.open()

    def write(self, items: Sequence[Any]) -> None:
        """Take rows of all tables, and records such as dead letters."""
        records: list[Any] = []
        for item in items:
            self._rows.get(type(item), records).append(item)
        self._then.write(records)

    def commit(self, positions: Positions) -> None:
        """Insert, then commit the positions. Raises InsertError."""
        for kind, table in _TABLES.items():
            rows, self._rows[kind] = self._rows[kind], []
            if rows:
                count = self._writer.insert_rows(table, columns_of(kind, rows))
                metrics.CLICKHOUSE_ROWS.labels(table).inc(count)
        self._then.commit(positions)

    def abort(self) -> None:
        """Forget the epoch's rows; they will be read again."""
        for rows in self._rows.values():
            rows.clear()
        self._then.abort()
