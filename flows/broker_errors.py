"""Which of Kafka's errors pass by themselves, so that the call is made again."""

from confluent_kafka import KafkaError, KafkaException

# Of the client: no connection, or no answer in time.
_LOCAL = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's local codes are spelt so
        KafkaError._RESOLVE,  # noqa: SLF001 - as above
        KafkaError._TIMED_OUT,  # noqa: SLF001 - as above
        KafkaError._TRANSPORT,  # noqa: SLF001 - as above
        KafkaError._WAIT_COORD,  # noqa: SLF001 - as above
    }
)
# Of the broker: it starts, moves leaders and coordinators, lacks replicas or disk.
_BROKER = frozenset(
    {
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
_FENCED_INSTANCE = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
_OUT_OF_GROUP = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
    }
)


def error_of(error: Exception) -> KafkaError | None:
    """Give the error inside an exception of the client's, None for any other."""
    inside = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return inside if isinstance(inside, KafkaError) else None


def is_passing(error: Exception) -> bool:
    """Tell whether waiting may help; only calls of the transactional API say so themselves."""
    inside = error_of(error)
    # Records that timed out make a transaction fail with the code of a call that did.
    if inside is None or inside.fatal() or inside.txn_requires_abort():
        return False
    return inside.retriable() or inside.code() in _LOCAL | _BROKER


def is_out_of_group(error: Exception) -> bool:
    """Tell whether the group has moved on without this consumer, as after a broker's restart."""
    inside = error_of(error)
    return inside is not None and inside.code() in _OUT_OF_GROUP


def is_fenced_consumer(error: Exception) -> bool:
    """Tell whether Kafka knows another consumer under this one's static name.

    librdkafka tells it as a fatal error, with the cause in its text.
    """
    inside = error_of(error)
    return inside is not None and _FENCED_INSTANCE in inside.str()
