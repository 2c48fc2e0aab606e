"""The writing side of the Kafka adapter: what commits an epoch.

Bytewax calls ``snapshot()`` on the sink after every write of an epoch. That barrier commits the
records that were written together with the positions that rode in with them, in one Kafka
transaction: exactly-once between topics (docs/decisions/0002-exactly-once.md).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer, TopicPartition

from flows.broker_errors import is_out_of_group, is_passing
from flows.lanes import ANSWER_S, NO_REBOOTSTRAP, STORE, Lane, Lanes
from schemas import metrics
from schemas.stream import Batch, Positions, Record
from state.patience import FAIL_FAST, Patience

TRANSACTION_TIMEOUT_S = 30.0
MAX_ABORTS = 5
QUEUE_FULL_WAIT_S = 0.05
QUEUE_FULL_ATTEMPTS = 100
QUEUE_FULL_PATIENCE = Patience(limit_s=30.0)

PRODUCER_DEFAULTS: dict[str, Any] = {
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 131_072,
    "enable.idempotence": True,
    "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1_000),
    "reconnect.backoff.max.ms": 1_000,
    "metadata.recovery.strategy": NO_REBOOTSTRAP,
}


class Committer(Protocol):
    """Takes an epoch's records and makes them and their positions final, together."""

    def open(self) -> None:
        """Connect."""
        ...

    def write(self, items: Sequence[Any]) -> None:
        """Take items of the current epoch."""
        ...

    def commit(self, positions: Positions) -> None:
        """Make all that was written final, with these positions. Raises to stop the worker."""
        ...

    def abort(self) -> None:
        """Forget what was written since the last commit."""
        ...


class TransactionAbortedError(Exception):
    """The epoch's transaction was aborted; its input is to be read again."""


class UnsentError(Exception):
    """The broker has not taken all records yet."""


class KafkaFlush:
    """At-least-once: flushes records, then commits positions.

    What it writes may appear twice after a crash; only for records that are idempotent
    downstream, and as the yardstick that exactly-once is measured against.
    """

    def __init__(
        self, lanes: Lanes, settings: Mapping[str, Any], *, patience: Patience = FAIL_FAST
    ) -> None:
        self._lanes = lanes
        self._settings = {
            key: value
            for key, value in (PRODUCER_DEFAULTS | dict(settings)).items()
            if key != "transaction.timeout.ms"
        }
        self._patience = patience
        self._producer: Producer | None = None
        self._failed: list[str] = []

    def open(self) -> None:
        """Make the producer; it connects by itself."""
        self._producer = Producer(self._settings)

    def write(self, items: Sequence[Record]) -> None:
        """Produce, noting failures."""
        if self._producer is None:
            raise RuntimeError("open() comes before the first write")
        if items:
            produce(self._producer, items, on_delivery=self._note, patience=self._patience)

    def commit(self, positions: Positions) -> None:
        """Wait for every record, then commit.

        Raises KafkaException when a record failed, TransactionAbortedError when the group has
        moved on meanwhile, so that the epoch is to be read again.
        """
        self._patience.keep(STORE, self._flush, passing=_is_unsent)
        if self._failed:
            raise KafkaException(f"{len(self._failed)} records failed: {self._failed[0]}")
        try:
            self._patience.keep(
                STORE, lambda: commit_positions(self._lanes, positions), passing=is_passing
            )
        except KafkaException as error:
            if not is_out_of_group(error):
                raise
            raise TransactionAbortedError(str(error)) from error

    def abort(self) -> None:
        """Let go: what was produced stays, its input is read again."""

    def _flush(self) -> None:
        left = self._producer.flush(ANSWER_S) if self._producer is not None else 0
        if left:
            raise UnsentError(f"{left} records are not sent yet")

    def _note(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


class Unfinished(Protocol):
    """What a flow with sends under way keeps until their outcomes are committed."""

    def finish(self) -> Sequence[Batch]:
        """Wait for every send (bounded by its timeout); give all that is not yet committed."""
        ...

    def committed(self, positions: Positions) -> None:
        """Forget what these positions cover."""
        ...


class Checkpoint:
    """Ties source and sink of one process: generation, positions and the commit.

    unfinished: set by flows whose work cannot be taken back by an abort.
    """

    def __init__(self, name: str, lanes: Lanes, committer: Committer) -> None:
        self.lanes = lanes
        self.committer = committer
        self._written = 0
        self._aborts = 0
        self._records_written = metrics.RECORDS_WRITTEN.labels(name)
        self._commit_seconds = metrics.COMMIT_SECONDS.labels(name)
        self._restarts = metrics.RESTARTS.labels(name)
        self.generation = 0
        self.unfinished: Unfinished | None = None
        self.after_assign: Callable[[Lane, Sequence[TopicPartition]], None] = lambda _l, _t: None
        self._positions: Positions = {}

    def open(self) -> None:
        """Connect both ends: the writing one first, as it fences an earlier process."""
        self.committer.open()
        self.lanes.open(self.restart, self._assigned)

    def _assigned(self, lane: Lane, partitions: Sequence[TopicPartition]) -> None:
        self.after_assign(lane, partitions)

    def write(self, batch: Batch) -> None:
        """Take a batch at the end of the pipe; one of an older generation is dropped."""
        if batch.generation != self.generation:
            return
        self.committer.write(batch.items)
        self._written += len(batch.items)
        self._positions.update(batch.positions)

    def commit(self) -> None:
        """Commit the epoch; when Kafka aborts it instead, start over.

        Raises TransactionAbortedError when that happens several times in a row.
        """
        try:
            self._commit()
        except TransactionAbortedError:
            self._aborts += 1
            if self._aborts >= MAX_ABORTS:
                raise
            self.restart()
        else:
            self._aborts = 0

    def restart(self) -> None:
        """Drop all that is in the pipe and read again from what is committed.

        Also what happens before partitions go to another process. Flows that only transform read
        the aborted epoch again. A send cannot be taken back, so a flow with sends under way first
        waits for them and commits all their outcomes.
        """
        self._restarts.inc()
        self.committer.abort()
        self._positions, self._written = {}, 0
        if self.unfinished is not None:
            self._commit_unfinished(self.unfinished)
        self.generation += 1
        self.lanes.rewind()

    def _commit_unfinished(self, unfinished: Unfinished) -> None:
        for left in reversed(range(MAX_ABORTS)):
            # A commit may have taken effect although its answer was lost.
            unfinished.committed(self.lanes.committed())
            for batch in unfinished.finish():
                self.write(batch)
            try:
                self._commit()
            except TransactionAbortedError:
                if not left:
                    raise
            else:
                return

    def _commit(self) -> None:
        positions, self._positions = self._positions, {}
        written, self._written = self._written, 0
        if not positions and not written:
            return
        with self._commit_seconds.time():
            self.committer.commit(positions)
        self._records_written.inc(written)
        self.lanes.note_committed(positions)
        if self.unfinished is not None:
            self.unfinished.committed(positions)


def produce(
    producer: Producer,
    records: Sequence[Record],
    *,
    on_delivery: Callable[[object, object], None] | None = None,
    patience: Patience = QUEUE_FULL_PATIENCE,
) -> None:
    """Produce all records, waiting with patience while the local queue is full.

    Raises BufferError when the broker takes nothing for that long, KafkaException when the
    producer has failed.
    """
    send = producer.produce
    for record in records:
        topic, key, value, partition = record
        try:
            send(topic, value, key, partition, on_delivery)
        except BufferError:
            slowly = partial(_produce_slowly, producer, record, on_delivery)
            patience.keep(STORE, slowly, passing=_is_full)
    producer.poll(0)


def commit_positions(lanes: Lanes, positions: Positions) -> None:
    """Commit positions outside any transaction."""
    for lane in lanes.lanes:
        offsets = offsets_of(lane.index, positions)
        if offsets:
            lane.consumer.commit(offsets=offsets, asynchronous=False)


def _produce_slowly(
    producer: Producer, record: Record, on_delivery: Callable[[object, object], None] | None
) -> None:
    for _ in range(QUEUE_FULL_ATTEMPTS):
        producer.poll(QUEUE_FULL_WAIT_S)
        try:
            producer.produce(record.topic, record.value, record.key, record.partition, on_delivery)
        except BufferError:
            continue
        return
    raise BufferError("the broker takes no records: the local queue is full")


def offsets_of(lane: int, positions: Positions) -> list[TopicPartition]:
    """Give what to commit in one lane."""
    return [
        TopicPartition(topic, partition, position.offset, position.note)
        for (index, topic, partition), position in positions.items()
        if index == lane
    ]


def _is_full(error: Exception) -> bool:
    return isinstance(error, BufferError)


def _is_unsent(error: Exception) -> bool:
    return isinstance(error, UnsentError)
