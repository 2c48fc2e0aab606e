"""Kafka's errors: which are waited out, and which mean something else."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from flows.broker_errors import is_fenced_consumer, is_out_of_group, is_passing


def error(
    code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False
) -> Exception:
    return KafkaException(KafkaError(code, "", fatal, retriable, abort))


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError.NOT_COORDINATOR,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.NOT_ENOUGH_REPLICAS,
    ],
)
def test_a_broker_that_is_away_or_cannot_now_is_waited_for(code: int) -> None:
    """Also in calls that do not say themselves whether to repeat them."""
    assert is_passing(error(code))


def test_what_the_transactional_api_calls_retriable_is_repeated() -> None:
    """Whatever its code."""
    assert is_passing(error(KafkaError._INCONSISTENT, retriable=True))


def test_a_failed_transaction_is_not_waited_for() -> None:
    """Records that timed out bear the code of a call that did: the epoch is to be aborted."""
    assert not is_passing(error(KafkaError._TIMED_OUT, abort=True))
    assert not is_passing(error(KafkaError._TIMED_OUT, fatal=True))


@pytest.mark.parametrize("other", [ValueError("x"), KafkaException("2 records failed")])
def test_other_errors_are_none_of_these(other: Exception) -> None:
    """They bear no code."""
    assert not is_passing(other)
    assert not is_out_of_group(other)
    assert not is_fenced_consumer(other)


def test_a_group_that_moved_on_is_known() -> None:
    """The epoch is read again."""
    assert is_out_of_group(error(KafkaError.ILLEGAL_GENERATION))
    assert not is_passing(error(KafkaError.ILLEGAL_GENERATION))
