"""Exactly-once from Kafka into ClickHouse: offsets live with the rows."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from sinks.clickhouse import LOG_COMMENT, ClickHouseWriter
from sinks.outcome_blocks import Partition, Points, Prepared, month_of, prepare
from sinks.outcome_rows import FIELD_NAMES, Record

_RESUME_POINTS = """
SELECT kafka_partition, toYYYYMM(occurred_at) AS month, max(kafka_offset)
FROM outcomes
WHERE kafka_topic = {topic:String} AND kafka_partition IN {partitions:Array(UInt16)}
GROUP BY kafka_partition, month
"""
_RUNNING = """
SELECT query_id, Settings['log_comment'] AS comment FROM system.processes
WHERE query_kind = 'Insert' AND startsWith(Settings['log_comment'], {mark:String})
"""
_SAME_ROW = """
SELECT count() FROM outcomes
WHERE tenant = {tenant:String} AND user_id = {user_id:String} AND outcome_id = {outcome_id:String}
  AND occurred_at = fromUnixTimestamp64Milli({occurred_at_ms:Int64}, 'UTC')
"""
_OTHER_ROW = """
SELECT outcome_id FROM outcomes
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:UInt16}
  AND kafka_offset = {offset:UInt64} AND toYYYYMM(occurred_at) = {month:UInt32}
LIMIT 1
"""
_POLL_S = 0.1


class NotAssignedError(RuntimeError):
    """Records of a partition that this writer does not own; nothing was written."""


class OffsetsRestartedError(RuntimeError):
    """The topic's offsets began anew, so what is already there cannot be told from what is not."""


def resume_points(client: Client, topic: str, partitions: Iterable[int]) -> Points:
    """Ask which offset each partition and month reached. Reads one projection row per part."""
    asked = {"topic": topic, "partitions": sorted(partitions)}
    rows = client.query(_RESUME_POINTS, parameters=asked).result_rows
    return {(topic, row[0], row[1]): row[2] for row in rows}


class ExactlyOnceWriter:
    """Writes each outcome of its partitions once, whatever is replayed.

    A batch goes in month by month, one atomic insert each, in offset order. So for each partition
    and month the rows there are always a beginning of the partition, and its highest offset tells
    where a replay must go on. The flow commits Kafka offsets after write(); after a crash it
    re-reads from the last commit and write() drops what is already there.

    What remains: a process that is frozen in the middle of write(), loses its partitions, and
    wakes up after its successor has asked for the resume points, inserts its one block again. The
    same rows then differ in nothing but inserted_at, and uniqExact(outcome_id) still counts right.

    settle_timeout_s: how long assign() waits for a predecessor's insert that is still running
    before it ends it. One writer per thread.
    """

    def __init__(
        self,
        writer: ClickHouseWriter,
        *,
        settle_timeout_s: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._settle_timeout_s = settle_timeout_s
        self._sleep = sleep
        self._clock = clock
        self._points: Points = {}
        self._owned: set[Partition] = set()
        self._verified: set[Partition] = set()

    def assign(self, topic: str, partitions: Iterable[int]) -> None:
        """Take partitions on: let a predecessor's inserts end, then ask where they stopped.

        Waits for ClickHouse with the writer's patience. Raises ClickHouseError.
        """
        added = set(partitions)
        if not added:
            return
        self.revoke(topic, added)
        self._settle(topic, added)
        self._points |= self._writer.ask(lambda client: resume_points(client, topic, added))
        self._owned |= {(topic, partition) for partition in added}

    def revoke(self, topic: str, partitions: Iterable[int]) -> None:
        """Give partitions up; records of theirs are refused from now on."""
        gone = {(topic, partition) for partition in partitions}
        self._owned -= gone
        self._verified -= gone
        self._points = {
            point: offset for point, offset in self._points.items() if point[:2] not in gone
        }

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """Decode a batch and leave out what is already there; touches nothing.

        The caller puts prepared.bad into dead letters, then calls insert(prepared).
        records: in offset order within each partition. Raises NotAssignedError.
        """
        strange = {(record[0], record[1]) for record in records} - self._owned
        if strange:
            topic, partition = min(strange)
            raise NotAssignedError(f"{topic}[{partition}] is not assigned to this writer")
        return prepare(records, self._points)

    def insert(self, prepared: Prepared) -> int:
        """Insert what is new; returns how many rows. Call it in the order of prepare().

        Raises InsertError (the batch, or its later months, are missing: stop, and replay), or
        OffsetsRestartedError before anything is written.
        """
        for record, row in prepared.skipped:
            self._verify(record, row)
        for block in prepared.blocks.values():
            self._writer.insert_block(block)
            for (topic, partition), (_, last) in block.ends.items():
                self._points[topic, partition, block.month] = last
        return prepared.rows

    def write(self, records: Sequence[Record]) -> int:
        """Decode and insert a batch of (topic, partition, offset, value); returns rows inserted.

        Raises BadRecordError, naming the coordinates, before anything is written; for the rest see
        prepare() and insert().
        """
        prepared = self.prepare(records)
        prepared.raise_bad()
        return self.insert(prepared)

    def _settle(self, topic: str, partitions: set[int]) -> None:
        """Wait for inserts into these partitions that another process has under way."""
        names = {f"{topic}[{partition}]" for partition in partitions}
        deadline = self._clock() + self._settle_timeout_s
        while running := self._running(names):
            if self._clock() >= deadline:
                for query_id in running:
                    self._kill(query_id)
                return
            self._sleep(_POLL_S)

    def _kill(self, query_id: str) -> None:
        kill = "KILL QUERY WHERE query_id = {id:String} SYNC"
        self._writer.ask(lambda client: client.command(kill, parameters={"id": query_id}))

    def _running(self, names: set[str]) -> list[str]:
        rows = self._rows(_RUNNING, {"mark": LOG_COMMENT})
        return [query_id for query_id, comment in rows if names & set(comment.split(" "))]

    def _rows(self, query: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        return self._writer.ask(
            lambda client: client.query(query, parameters=parameters)
        ).result_rows

    def _verify(self, record: Record, row: tuple[Any, ...]) -> None:
        """Make sure, once per assignment, that a skipped row really is there.

        If the topic was deleted and made again, new records bear old offsets and would all be
        skipped. A row that is gone (erased on a user's request) proves nothing; another one in
        its place does.
        """
        topic, partition, offset, _ = record
        if (topic, partition) in self._verified:
            return
        fields = dict(zip(FIELD_NAMES, row, strict=True))
        if self._rows(_SAME_ROW, fields)[0][0] == 0:
            month = month_of(fields["occurred_at_ms"])
            place = {"topic": topic, "partition": partition, "offset": offset, "month": month}
            others = self._rows(_OTHER_ROW, place)
            if others:
                raise OffsetsRestartedError(
                    f"{topic}[{partition}]@{offset} holds outcome {fields['outcome_id']}, but "
                    f"ClickHouse has {others[0][0]} from there: was the topic deleted and made "
                    "again? Give it another name, or clear kafka_topic of the old rows"
                )
        self._verified.add((topic, partition))
