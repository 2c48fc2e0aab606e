"""What must be there before the flows start: topics and tables."""

from collections.abc import Iterator

from flows.compose import wheel_of
from flows.compose_stores import clickhouse_of
from flows.topics import create_topics
from schemas.settings import Settings
from sinks.clickhouse import connect
from sinks.clickhouse_migrations import migrate


def prepare_stores(settings: Settings, *, partitions: int, replicas: int) -> Iterator[str]:
    """Create what is missing; give a line for each thing made. Safe to run again."""
    created = create_topics(
        dict(settings.kafka.client_options()),
        partitions=partitions,
        timer_slots=settings.timers.slots,
        timer_lap_ms=wheel_of(settings).lap_ms,
        replicas=replicas,
    )
    yield from (f"topic {name}" for name in created)
    where = clickhouse_of(settings)
    client = connect(where, database="")
    try:
        yield from (f"migration {name}" for name in migrate(client, database=where.database))
    finally:
        client.close()
