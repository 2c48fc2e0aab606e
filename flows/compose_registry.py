"""Composes registry, the flow into the shared state, and the keeper of segments beside it."""

from threading import Event

from flows import compose_stores, registry
from flows.checkpoint import Checkpoint, KafkaFlush
from flows.clickhouse_commit import RegistryRows
from flows.compose import Composer, Process
from flows.compose_erasures import make_erasures
from flows.compose_segments import (
    ClickHouseQueries,
    make_keeper,
    make_queries,
    watched_segments,
)
from flows.kafka import KafkaSink
from flows.segment_keeper import KINDS, KeeperThread
from operators.define import Define
from operators.profile_writer import WriteProfiles
from operators.registration import decode_registrations
from operators.segment_lists import WriteLists
from schemas import topics
from state.definitions import RedisDefinitions
from state.profiles import RedisProfiles
from state.redis_segments import RedisSegments
from state.tokens import RedisTokens
from state.uploads import RedisUploads


def make_registry(composer: Composer) -> Process:
    """Make the flow from registrations to profiles."""
    lanes = composer.one_lane("registry", topics.REGISTRY)
    writer = compose_stores.make_writer(composer)
    flush = KafkaFlush(lanes, composer.kafka(), patience=composer.patience)
    committer = RegistryRows(writer, flush)
    checkpoint = Checkpoint("registry", lanes, committer)
    redis = composer.redis
    parts = registry.RegistryParts(
        source=composer.source(checkpoint),
        decode=decode_registrations,
        definitions=Define(RedisDefinitions(redis)),
        lists=WriteLists(
            composer.tenants, segments=RedisSegments(redis), uploads=RedisUploads(redis)
        ),
        profiles=WriteProfiles(
            composer.tenants,
            profiles=RedisProfiles(redis),
            tokens=RedisTokens(redis),
            segments=RedisSegments(redis),
            rules=watched_segments(composer),
            now_ms=composer.now_ms,
        ),
        encode=composer.encode("registry", topics.DEAD_REGISTRY),
        sink=KafkaSink(checkpoint),
    )
    process = composer.process("registry", registry.build(parts), checkpoint)
    ended = Event()
    queries = ClickHouseQueries(make_queries(composer))
    # A thread each: a new rule does not wait for a query that takes its time.
    threads = [
        KeeperThread(
            make_keeper(
                composer,
                queries,
                lambda: ended.is_set() or composer.stopped(),
                kinds=frozenset({kind}),
            ),
            ended,
        )
        for kind in sorted(KINDS)
    ]
    threads.append(make_erasures(composer, ended))
    process.start += [thread.start for thread in threads]
    closing = [thread.close for thread in threads]
    process.close = [*closing, *process.close, queries.close, writer.close]
    return process
