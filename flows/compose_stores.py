"""Composes outcomes, the flow into ClickHouse, and what it shares with registry."""

from datetime import timedelta
from urllib.parse import urlsplit

from flows import outcomes
from flows.checkpoint import Checkpoint, KafkaFlush
from flows.clickhouse_commit import OutcomeRows
from flows.compose import Composer, Process
from flows.hooks import HookRunner
from flows.kafka import KafkaSink
from operators.feedback import ReadOutcomes
from operators.hooks import AfterOutcome
from schemas import metrics, topics
from schemas.settings import Settings
from sinks.clickhouse import ClickHousePing, ClickHouseSettings, ClickHouseWriter, connect
from sinks.clickhouse_once import ExactlyOnceWriter
from state.dedup import RedisDedup

OUTCOMES_EPOCH = timedelta(milliseconds=500)  # ClickHouse likes large inserts


def make_outcomes(composer: Composer) -> Process:
    """Make the flow from decisions and feedback to ClickHouse."""
    lanes = composer.one_lane("outcomes", [topics.OUTCOMES, topics.FEEDBACK])
    writer = make_writer(composer)
    encode = composer.encode("outcomes", topics.DEAD_OUTCOMES)
    rows = OutcomeRows(
        ExactlyOnceWriter(writer),
        KafkaFlush(lanes, composer.kafka(), patience=composer.patience),
        encode,
        now_ms=composer.now_ms,
    )
    checkpoint = Checkpoint("outcomes", lanes, rows)
    checkpoint.after_assign = rows.assigned
    hooks = HookRunner(composer.tenants)
    listening = [name for name, one in composer.tenants.items() if one.hooks.after_outcome]
    parts = outcomes.OutcomesParts(
        source=composer.source(checkpoint),
        decode=ReadOutcomes(RedisDedup(composer.redis), metrics.FEEDBACK_REPEATED.inc),
        hooks=AfterOutcome(hooks, listening),
        encode=encode,
        sink=KafkaSink(checkpoint),
    )
    process = composer.process("outcomes", outcomes.build(parts), checkpoint)
    if composer.settings.flow.epoch_ms is None:
        process.epoch = OUTCOMES_EPOCH
    process.close += [rows.close, writer.close, hooks.close]
    return process


def make_writer(composer: Composer) -> ClickHouseWriter:
    """Make the writer; it connects at its first use, and waits while ClickHouse cannot serve."""
    where = clickhouse_of(composer.settings)
    ping = ClickHousePing(where)
    composer.needs("clickhouse", ping.ask, ping.close)
    return ClickHouseWriter(client_factory=lambda: connect(where), patience=composer.patience)


def clickhouse_of(settings: Settings) -> ClickHouseSettings:
    """Give the address of ClickHouse as its client takes it."""
    given = settings.clickhouse
    url = urlsplit(given.url)
    is_secure = url.scheme == "https"
    return ClickHouseSettings(
        host=url.hostname or "127.0.0.1",
        port=url.port or (8443 if is_secure else 8123),
        secure=is_secure,
        user=given.user,
        password=given.password.get_secret_value(),
        database=given.database,
        connect_timeout_s=int(given.connect_timeout_s),
        request_timeout_s=int(given.query_timeout_s),
    )
