"""The transaction coordinator: who may write under a transactional id, and what a commit does.

All state is in this process, so a transaction ends in one step: there are no states between the
decision and its markers. Source: KIP-98 and KIP-360.
"""

import asyncio
import time
from collections.abc import Iterable
from enum import Enum, auto

from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.groups import Group
from sandbox.kafka_broker.partition import Partition

MAX_TIMEOUT_MS = 900_000  # Kafka's transaction.max.timeout.ms
MAX_TRANSACTIONAL_IDS = 10_000
_LAST_EPOCH = 32_766


class State(Enum):
    """Where a transactional id stands."""

    EMPTY = auto()
    ONGOING = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Transaction:
    """A transactional id with its producer and what its open transaction touches."""

    def __init__(self, producer_id: int) -> None:
        self.producer_id = producer_id
        self.epoch = 0
        # What the producer had before it raised its own epoch; it may ask for that again.
        self.before: tuple[int, int] | None = None
        self.timeout_ms = 0
        self.state = State.EMPTY
        self.partitions: dict[Partition, None] = {}
        self.groups: dict[Group, None] = {}
        self.timer: asyncio.TimerHandle | None = None


class Transactions:
    """All transactional ids."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_id: dict[str, Transaction] = {}
        self._by_producer: dict[int, Transaction] = {}
        # A broker that is started again must not give an id that a client of the last one has.
        self._next_producer_id = time.time_ns() // 1_000_000

    def init_producer(
        self, transactional_id: str | None, timeout_ms: int, producer_id: int, epoch: int
    ) -> tuple[int, int]:
        """Give a producer id and epoch.

        Under a transactional id, this aborts the open transaction and fences earlier producers.
        producer_id and epoch: what the caller has (to raise its own epoch), or -1. Raises
        KafkaError when the caller is fenced itself.
        """
        if transactional_id is None:
            return self._new_producer_id(), 0
        if not transactional_id:
            raise KafkaError(Code.INVALID_REQUEST, "an empty transactional id")
        if not 0 < timeout_ms <= MAX_TIMEOUT_MS:
            raise KafkaError(Code.INVALID_TRANSACTION_TIMEOUT, f"up to {MAX_TIMEOUT_MS} ms")
        known = self._by_id.get(transactional_id)
        if known is None:
            known = self._add(transactional_id)
        elif producer_id < 0 or (producer_id, epoch) == (known.producer_id, known.epoch):
            self._raise_epoch(known)
            known.state = State.EMPTY
            known.before = (producer_id, epoch) if producer_id >= 0 else None
        elif (producer_id, epoch) != known.before:
            raise KafkaError(Code.PRODUCER_FENCED, "another producer has this id")
        known.timeout_ms = timeout_ms
        return known.producer_id, known.epoch

    def add_partitions(
        self, transactional_id: str, producer_id: int, epoch: int, partitions: Iterable[Partition]
    ) -> None:
        """Take partitions into the transaction, beginning one if need be. Raises KafkaError."""
        transaction = self._checked(transactional_id, producer_id, epoch)
        self._begin(transactional_id, transaction)
        transaction.partitions.update(dict.fromkeys(partitions))

    def add_group(self, transactional_id: str, producer_id: int, epoch: int, group: Group) -> None:
        """Take a group's offsets into the transaction. Raises KafkaError."""
        transaction = self._checked(transactional_id, producer_id, epoch)
        self._begin(transactional_id, transaction)
        transaction.groups[group] = None

    def end(self, transactional_id: str, producer_id: int, epoch: int, *, commit: bool) -> None:
        """Commit or abort; asking again for what was done is fine. Raises KafkaError."""
        transaction = self._checked(transactional_id, producer_id, epoch)
        done = State.COMMITTED if commit else State.ABORTED
        if transaction.state is State.ONGOING:
            self._end(transaction, commit=commit)
        elif transaction.state is not done:
            raise KafkaError(Code.INVALID_TXN_STATE, f"{transaction.state.name}, not {done.name}")

    def check_write(self, producer_id: int, epoch: int, partition: Partition) -> None:
        """Raise KafkaError unless this batch belongs to an open transaction with the partition."""
        transaction = self._by_producer.get(producer_id)
        if transaction is None:
            raise KafkaError(Code.INVALID_PRODUCER_ID_MAPPING, "no such transactional producer")
        if epoch != transaction.epoch:
            raise KafkaError(Code.INVALID_PRODUCER_EPOCH, f"epoch {transaction.epoch} is in use")
        if transaction.state is not State.ONGOING or partition not in transaction.partitions:
            raise KafkaError(Code.INVALID_TXN_STATE, "the partition is in no open transaction")

    def check_offsets(
        self, transactional_id: str, producer_id: int, epoch: int, group: Group
    ) -> None:
        """Raise KafkaError unless this group's offsets belong to an open transaction."""
        transaction = self._checked(transactional_id, producer_id, epoch)
        if transaction.state is not State.ONGOING or group not in transaction.groups:
            raise KafkaError(Code.INVALID_TXN_STATE, "the group is in no open transaction")

    def close(self) -> None:
        """Stop all timers."""
        for transaction in self._by_id.values():
            _stop_timer(transaction)

    def _add(self, transactional_id: str) -> Transaction:
        if len(self._by_id) >= MAX_TRANSACTIONAL_IDS:
            raise KafkaError(Code.POLICY_VIOLATION, f"at most {MAX_TRANSACTIONAL_IDS} ids")
        transaction = Transaction(self._new_producer_id())
        self._by_id[transactional_id] = transaction
        self._by_producer[transaction.producer_id] = transaction
        return transaction

    def _new_producer_id(self) -> int:
        self._next_producer_id += 1
        return self._next_producer_id

    def _checked(self, transactional_id: str, producer_id: int, epoch: int) -> Transaction:
        transaction = self._by_id.get(transactional_id)
        if transaction is None or producer_id != transaction.producer_id:
            raise KafkaError(Code.INVALID_PRODUCER_ID_MAPPING, "not this transactional id's")
        if epoch != transaction.epoch:
            raise KafkaError(Code.PRODUCER_FENCED, f"epoch {transaction.epoch} is in use")
        return transaction

    def _begin(self, transactional_id: str, transaction: Transaction) -> None:
        if transaction.state is State.ONGOING:
            return
        transaction.state = State.ONGOING
        transaction.timer = self._loop.call_later(
            transaction.timeout_ms / 1_000, self._time_out, transactional_id
        )

    def _time_out(self, transactional_id: str) -> None:
        transaction = self._by_id[transactional_id]
        if transaction.state is State.ONGOING:
            self._raise_epoch(transaction)
            transaction.before = None

    def _raise_epoch(self, transaction: Transaction) -> None:
        """Fence all who have the current epoch, and abort what they left open."""
        if transaction.epoch < _LAST_EPOCH:
            transaction.epoch += 1
            if transaction.state is State.ONGOING:
                self._end(transaction, commit=False)
            return
        if transaction.state is State.ONGOING:
            self._end(transaction, commit=False)
        del self._by_producer[transaction.producer_id]
        transaction.producer_id, transaction.epoch = self._new_producer_id(), 0
        self._by_producer[transaction.producer_id] = transaction

    def _end(self, transaction: Transaction, *, commit: bool) -> None:
        _stop_timer(transaction)
        producer_id, now_ms = transaction.producer_id, time.time_ns() // 1_000_000
        for partition in transaction.partitions:
            partition.end_transaction(producer_id, transaction.epoch, commit=commit, now_ms=now_ms)
        for group in transaction.groups:
            group.offsets.end_transaction(producer_id, commit=commit)
        transaction.partitions, transaction.groups = {}, {}
        transaction.state = State.COMMITTED if commit else State.ABORTED


def _stop_timer(transaction: Transaction) -> None:
    if transaction.timer is not None:
        transaction.timer.cancel()
        transaction.timer = None
