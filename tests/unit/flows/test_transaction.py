"""Transactions while the broker, or a store in the middle of an epoch, is away."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from flows import transaction as module
from flows.checkpoint import MAX_ABORTS, Checkpoint, TransactionAbortedError
from flows.transaction import KafkaTransaction
from schemas.stream import Batch, Position, Positions, Record
from state.patience import Patience

TIMEOUT_S = 30.0
RECORD = Record("t", None, b"x")
AT: Positions = {(0, "t", 0): Position(1)}


def failure(code: int, *, retriable: bool = False, abort: bool = False) -> KafkaException:
    fatal = code == KafkaError._FENCED
    return KafkaException(KafkaError(code, "", fatal, retriable, abort))


TIMED_OUT = failure(KafkaError._TIMED_OUT, retriable=True)
FENCED = failure(KafkaError._FENCED)
UNDELIVERED = failure(KafkaError._INCONSISTENT, abort=True)


class Broker:
    """What producers meet: failures by call, used up in order."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.failures: dict[str, list[KafkaException]] = {}
        self.log: list[str] = []
        self.lacks_group_coordinator = False
        self.over = threading.Event()

    def __call__(self, settings: dict[str, Any]) -> "Broker":
        assert settings["transactional.id"] == "id"
        self.log.append("new")
        return self

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def _do(self, what: str) -> None:
        failures = self.failures.get(what)
        if failures:
            raise failures.pop(0)
        self.log.append(what)

    def init_transactions(self, _timeout_s: float) -> None:
        self._do("init")

    def begin_transaction(self) -> None:
        self._do("begin")

    def produce(self, *_record: Any) -> None:
        self._do("produce")

    def poll(self, _timeout_s: float) -> None:
        pass

    def purge(self, *, blocking: bool) -> None:
        assert not blocking, "one that hangs would not answer"
        self._do("purge")

    def send_offsets_to_transaction(self, *_offsets: Any) -> None:
        if self.lacks_group_coordinator:
            self.over.wait()
        self._do("send")

    def commit_transaction(self, _timeout_s: float) -> None:
        self._do("commit")

    def abort_transaction(self, _timeout_s: float) -> None:
        self._do("abort")


class NoLanes:
    """Lanes that note what is asked of them, without consumers unless a test gives one."""

    lanes: tuple[Any, ...] = ()

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def refetch(self) -> None:
        self._log.append("refetch")

    def rewind(self) -> None:
        self._log.append("rewind")

    def committed(self) -> Positions:
        return {}

    def note_committed(self, positions: Positions) -> None:
        pass


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    made = Broker()
    monkeypatch.setattr(module, "Producer", made)
    yield made
    made.over.set()


@pytest.fixture
def start(broker: Broker) -> Callable[..., KafkaTransaction]:
    def started(*, stopped: Callable[[], bool] = lambda: False) -> KafkaTransaction:
        clock = lambda: broker.now_s  # noqa: E731 - short
        patience = Patience(limit_s=100.0, clock=clock, sleep=broker.sleep, stopped=stopped)
        lanes: Any = NoLanes(broker.log)
        made = KafkaTransaction(lanes, {}, transactional_id="id", patience=patience, clock=clock)
        made.open()
        made.write([RECORD])
        broker.log.clear()
        return made

    return started


def test_a_commit_that_times_out_is_repeated_until_the_broker_is_back(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """Librdkafka goes on with it in between."""
    transaction = start()
    broker.failures["commit"] = [TIMED_OUT] * 20
    transaction.commit(AT)
    assert broker.log == ["commit"]


def test_a_broker_that_stays_away_ends_the_process(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """With Kafka's own error, uncommitted: the next process settles it."""
    transaction = start()
    broker.failures = {what: [TIMED_OUT] * 10_000 for what in ("commit", "abort", "init")}
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        transaction.commit(AT)
    assert broker.log == ["purge", "new"]


def test_a_producer_that_never_finds_its_coordinator_again_is_replaced(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """The broker is back, and by then has aborted the transaction: the epoch is read again."""
    transaction = start()
    broker.failures = {what: [TIMED_OUT] * 10_000 for what in ("commit", "abort")}
    began_s = broker.now_s
    with pytest.raises(TransactionAbortedError):
        transaction.commit(AT)
    assert broker.log == ["purge", "new", "init", "refetch"]
    assert broker.now_s - began_s < 2 * TIMEOUT_S


def test_a_process_that_is_to_stop_waits_for_no_broker(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """One attempt."""
    transaction = start(stopped=lambda: True)
    broker.failures["commit"] = [TIMED_OUT] * 2
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        transaction.commit(AT)
    assert len(broker.failures["commit"]) == 1


def test_records_that_could_not_be_delivered_abort_the_epoch(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """It is read again."""
    transaction = start()
    broker.failures["commit"] = [UNDELIVERED]
    broker.failures["abort"] = [TIMED_OUT] * 3
    with pytest.raises(TransactionAbortedError):
        transaction.commit(AT)
    assert broker.log == ["abort"]


def test_a_transaction_that_outlived_its_timeout_goes_on_with_a_new_producer(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """Redis was away for longer: the broker has aborted it and calls its producer fenced."""
    transaction = start()
    broker.now_s += TIMEOUT_S
    broker.failures = {"commit": [FENCED], "abort": [FENCED], "init": [TIMED_OUT]}
    with pytest.raises(TransactionAbortedError):
        transaction.commit(AT)
    assert broker.log == ["purge", "new", "init", "refetch"]
    transaction.write([RECORD])
    transaction.commit(AT)
    assert broker.log[4:] == ["begin", "produce", "commit"]


def test_positions_that_hang_for_a_lost_coordinator_are_sent_by_a_new_producer(
    broker: Broker, start: Callable[..., KafkaTransaction], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch is read again; the old producer is purged without waiting for it."""
    transaction = start()
    consumer = SimpleNamespace(consumer_group_metadata=lambda: None)
    monkeypatch.setattr(NoLanes, "lanes", (SimpleNamespace(index=0, consumer=consumer),))
    broker.lacks_group_coordinator = True
    monkeypatch.setattr(transaction._sending, "limit_s", 0.01)
    with pytest.raises(TransactionAbortedError, match="send-offsets has not returned"):
        transaction.commit(AT)
    assert broker.log == ["purge", "new", "init", "refetch"]
    broker.lacks_group_coordinator = False
    monkeypatch.setattr(transaction._sending, "limit_s", 60.0)
    transaction.write([RECORD])
    transaction.commit(AT)
    assert broker.log[4:] == ["begin", "produce", "send", "commit"]


def test_fenced_within_the_timeout_is_another_process_and_final(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """It must not take the place of its successor."""
    transaction = start()
    broker.now_s += TIMEOUT_S - 1
    broker.failures = {"commit": [FENCED]}
    with pytest.raises(KafkaException, match="_FENCED"):
        transaction.commit(AT)
    assert broker.log == []


@pytest.mark.parametrize("code", [KafkaError._STATE, KafkaError._FATAL, KafkaError._FENCED])
def test_writing_into_a_transaction_that_failed_is_told_at_the_commit(
    broker: Broker, start: Callable[..., KafkaTransaction], code: int
) -> None:
    """The producer takes no more; the rest of the epoch is dropped and read again."""
    transaction = start()
    broker.failures["produce"] = [failure(code)]
    transaction.write([RECORD])
    transaction.write([RECORD])
    assert broker.log == []
    with pytest.raises(TransactionAbortedError):
        transaction.commit(AT)
    assert broker.log == ["abort"]


def test_a_record_that_kafka_will_never_take_is_not_hidden(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """It is no failure of the transaction."""
    transaction = start()
    broker.failures["produce"] = [failure(KafkaError.MSG_SIZE_TOO_LARGE)]
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        transaction.write([RECORD])


class Sends:
    """Sends whose outcomes are not committed yet."""

    def __init__(self, generation: Callable[[], int]) -> None:
        self.finished = 0
        self._generation = generation
        self.done: list[Positions] = []

    def finish(self) -> list[Batch]:
        self.finished += 1
        return [Batch([RECORD], 0, self._generation(), AT)]

    def committed(self, positions: Positions) -> None:
        self.done.append(positions)


def test_outcomes_of_sends_are_committed_over_several_aborts(
    broker: Broker, start: Callable[..., KafkaTransaction]
) -> None:
    """A send cannot be taken back, so its outcome is tried again, a bounded number of times."""
    lanes: Any = NoLanes(broker.log)
    checkpoint = Checkpoint("test", lanes, start())
    checkpoint.unfinished = sends = Sends(lambda: checkpoint.generation)
    broker.failures["commit"] = [UNDELIVERED] * 2
    checkpoint.restart()
    assert sends.finished == 3
    assert sends.done[-1] == AT
    broker.failures["commit"] = [UNDELIVERED] * MAX_ABORTS
    with pytest.raises(TransactionAbortedError):
        checkpoint.restart()
