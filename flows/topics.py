"""The topics to create, with their partitions and retention."""

from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # it is public, but not listed

from schemas import topics

CREATE_TIMEOUT_S = 30.0
DAY_MS = 86_400_000
TOMBSTONES_KEPT_MS = 3_650 * DAY_MS


def specifications(
    *, partitions: int, timer_slots: int, replicas: int, timer_lap_ms: int = 0
) -> Iterator[NewTopic]:
    """Give every topic. partitions: of the event-carrying ones; timer_*: see flows/timer_wheel."""

    def topic(name: str, count: int, **config: str) -> NewTopic:
        return NewTopic(name, num_partitions=count, replication_factor=replicas, config=config)

    week = {"retention.ms": str(7 * DAY_MS)}
    for name in topics.EVENTS.values():
        # When Kafka took an event is the broker's to say: a time to live counts from it.
        yield topic(name, partitions, **week, **{"message.timestamp.type": "LogAppendTime"})
    for name in (*topics.CHUNKS.values(), *topics.DELIVERIES.values()):
        yield topic(name, partitions, **week)
    for name in (
        topics.OUTCOMES,
        topics.FEEDBACK,
        topics.USER_EVENTS,
        topics.CAMPAIGNS,
        topics.AUDIT,
    ):
        yield topic(name, partitions, **week)
    # A rebuild reads them again in the order in which Kafka took them, by the broker's time.
    last_word = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}
    for name in (topics.DEVICES, topics.PREFERENCES, topics.TOKEN_DEATHS, topics.DEFINITIONS):
        yield topic(name, partitions, **last_word)
    # An uploaded list's parts, its head and what is added later stand in one order.
    yield topic(topics.SEGMENTS, 1, **last_word)
    # A forgotten user's devices may stay on their own topic: only this tombstone ends them there.
    kept = {"delete.retention.ms": str(TOMBSTONES_KEPT_MS)}
    yield topic(topics.USERS, partitions, **last_word, **kept)
    # A slot is read once a lap: what lies there must outlive the lap, and a week without the flow.
    yield topic(topics.TIMERS, timer_slots, **{"retention.ms": str(7 * DAY_MS + timer_lap_ms)})
    for name in (
        topics.DEAD_ROUTE,
        topics.DEAD_REGISTRY,
        topics.DEAD_OUTCOMES,
        topics.DEAD_TIMERS,
        topics.DEAD_CAMPAIGNS,
        *topics.DEAD_DELIVERIES.values(),
    ):
        yield topic(name, 1, **{"retention.ms": str(30 * DAY_MS)})
    # A mark must outlive its letter, which goes with the last of its segment, and need not longer.
    marks = {"cleanup.policy": "compact,delete", "retention.ms": str(60 * DAY_MS)}
    yield topic(topics.DEAD_RESOLVED, 1, **marks)


def create_topics(
    bootstrap: dict[str, Any],
    *,
    partitions: int,
    timer_slots: int,
    replicas: int,
    timer_lap_ms: int = 0,
) -> list[str]:
    """Create what is missing; returns the names created. Existing topics are left as they are.

    Raises KafkaException when the broker refuses one for another reason.
    """
    admin = AdminClient(bootstrap)
    wanted = list(
        specifications(
            partitions=partitions,
            timer_slots=timer_slots,
            replicas=replicas,
            timer_lap_ms=timer_lap_ms,
        )
    )
    there = set(admin.list_topics(timeout=CREATE_TIMEOUT_S).topics)
    missing = [spec for spec in wanted if spec.topic not in there]
    if not missing:
        return []
    created = []
    for name, future in admin.create_topics(missing).items():
        try:
            future.result(CREATE_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
        else:
            created.append(name)
    return created
