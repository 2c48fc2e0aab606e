"""Exactly-once between topics: an epoch's records and positions in one Kafka transaction."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from flows.broker_errors import is_passing
from flows.checkpoint import PRODUCER_DEFAULTS, TransactionAbortedError, offsets_of, produce
from flows.hanging_calls import HangingCalls, HungCallError
from flows.lanes import ANSWER_S, STORE, Lanes
from schemas.stream import Positions, Record
from state.patience import FAIL_FAST, Patience

HANG_S = ANSWER_S + 2.0  # below flows/stop_deadline.py: who is told to stop meanwhile ends in time


class KafkaTransaction:
    """Commits records and consumer positions in one Kafka transaction.

    While the broker does not answer, calls are repeated with patience. The broker aborts what stays
    open for longer than transaction.timeout.ms, as when a store was away in the middle of an epoch,
    and takes its producer for fenced from then on. So after a failure of a transaction that has
    outlived its timeout, a new producer begins. Should the cause have been a second process of this
    id after all, its consumers decide who stays: static members of one name fence each other.

    A new producer also begins when positions cannot be sent: librdkafka heeds no timeout in that
    call (its issue 5456), and waits for ever for a group's coordinator that has left the cluster's
    metadata, as a dead broker does (5511).
    """

    def __init__(
        self,
        lanes: Lanes,
        settings: Mapping[str, Any],
        *,
        transactional_id: str,
        patience: Patience = FAIL_FAST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = lanes
        self._settings = PRODUCER_DEFAULTS | dict(settings) | {"transactional.id": transactional_id}
        self._timeout_s = int(self._settings["transaction.timeout.ms"]) / 1_000
        self._patience = patience
        self._clock = clock
        self._sending = HangingCalls(HANG_S)
        self._producer: Producer | None = None
        self._began_at: float | None = None
        self._failure: KafkaException | None = None

    def open(self) -> None:
        """Connect, fence any earlier process of this id and end its open transaction."""
        self._producer = producer = Producer(self._settings)
        self._patience.keep(STORE, lambda: producer.init_transactions(ANSWER_S), passing=is_passing)

    def write(self, items: Sequence[Record]) -> None:
        """Produce into the open transaction, beginning one at the first record.

        Once it has failed, commit() tells, and what is written until then is dropped.
        """
        if not items or self._failure is not None:
            return
        try:
            produce(self._begun(), items, patience=self._patience)
        except KafkaException as error:
            if not _says_failed(error):
                raise
            self._failure = error

    def commit(self, positions: Positions) -> None:
        """Send the positions into the transaction and commit it; a no-op when nothing moved.

        Raises TransactionAbortedError after an abortable failure, KafkaException when this
        process is fenced or the failure is final, RuntimeError when calls hang again and again.
        """
        if self._began_at is None and not positions:
            return
        producer = self._begun()
        try:
            if self._failure is not None:
                raise self._failure
            for lane in self._lanes.lanes:
                offsets = offsets_of(lane.index, positions)
                if offsets:
                    metadata = lane.consumer.consumer_group_metadata()
                    send = partial(
                        producer.send_offsets_to_transaction, offsets, metadata, ANSWER_S
                    )
                    self._until_outlived(partial(self._sending.make, "send-offsets", send))
            self._until_outlived(lambda: producer.commit_transaction(ANSWER_S))
        except KafkaException as error:
            if not self._can_start_over(error):
                raise
            self.abort()
            raise TransactionAbortedError(str(error)) from error
        except HungCallError as error:
            structlog.get_logger().warning("a new producer begins", why=str(error))
            self._reopen()
            raise TransactionAbortedError(str(error)) from error
        self._began_at = None

    def abort(self) -> None:
        """Abort the open transaction, if any."""
        if self._began_at is not None and self._producer is not None:
            producer = self._producer
            try:
                self._until_outlived(lambda: producer.abort_transaction(ANSWER_S))
            except KafkaException as error:
                if self._is_worth_waiting(error) or not self._has_outlived():
                    raise
                self._reopen()
                return
        self._began_at, self._failure = None, None

    def _reopen(self) -> None:
        """Go on with a new producer, from what is committed in truth.

        A commit whose answer was lost may have taken effect; the new producer's start settles that,
        and fences the old one, whatever that one still does.
        """
        if self._producer is not None:
            self._producer.purge(blocking=False)
        self.open()
        self._began_at, self._failure = None, None
        self._lanes.refetch()

    def _begun(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("open() comes before the first write")
        if self._began_at is None:
            self._producer.begin_transaction()
            self._began_at = self._clock()
        return self._producer

    def _can_start_over(self, error: KafkaException) -> bool:
        if self._is_worth_waiting(error):  # the patience is used up, or the flow is to stop
            return False
        wanted = error is self._failure or error.args[0].txn_requires_abort()
        return wanted or self._has_outlived()

    def _has_outlived(self) -> bool:
        return self._began_at is not None and self._clock() - self._began_at >= self._timeout_s

    def _until_outlived(self, call: Callable[[], None]) -> None:
        self._patience.keep(STORE, call, passing=self._is_worth_waiting)

    def _is_worth_waiting(self, error: Exception) -> bool:
        """Tell whether this transaction may still be committed.

        One that outlived its timeout may not; and a producer that lost its coordinator meanwhile
        may look for it without end, where a new one finds it.
        """
        is_lost = self._has_outlived() and not self._patience.is_to_stop()
        return is_passing(error) and not is_lost


def _says_failed(error: KafkaException) -> bool:
    """Tell whether the producer takes no more because its transaction has failed, or it has."""
    return error.args[0].code() in {
        KafkaError._STATE,  # noqa: SLF001 - librdkafka's local codes are spelt so
        KafkaError._FATAL,  # noqa: SLF001 - as above
        KafkaError._FENCED,  # noqa: SLF001 - as above
    }
