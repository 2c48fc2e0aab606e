"""Composes deliver, the flow to one provider."""

import time
from typing import Any

from flows import deliver
from flows.clock import wall_ms
from flows.compose import Composer, Process
from flows.hooks import HookRunner
from flows.kafka import KafkaSink
from flows.live_credentials import LiveCredentials
from flows.pruning_alarm import PruningAlarm
from flows.secret_reader import secret_reader
from flows.sender import Sender
from operators.deliveries import decode_deliveries
from operators.hooks import BeforeSend
from operators.hygiene import Hygiene
from operators.recall import RecallDeliveries
from operators.settle import Settle
from schemas import topics
from schemas.pipeline import Platform
from schemas.stream import Batch
from sinks.credentials import Credentials
from sinks.port import Sink
from sinks.sealing import KeyRing, read_master_keys
from state.definitions import RedisDefinitions
from state.ledger import RedisLedger
from state.pruning import RedisPruning
from state.rates import RedisRates

DELIVER_BATCH = 500  # what a crash can put in doubt stays small


def make_deliver(composer: Composer, platform: Platform) -> Process:
    """Make the flow from a platform's deliveries to its provider."""
    name = f"deliver.{platform}"
    lanes = composer.lanes_by_priority(
        name, {"": lambda priority: topics.DELIVERIES[platform, priority]}, {"": DELIVER_BATCH}
    )
    checkpoint = composer.transactional(name, lanes)
    # A guard that waited for Redis would hold up urgent messages, which need none.
    hygiene = Hygiene(
        composer.tenants, RedisPruning(composer.redis_now), platform, alarm=PruningAlarm()
    )
    settle = Settle(composer.tenants, withheld=hygiene)
    encode = composer.encode(name, topics.DEAD_DELIVERIES[platform])

    def finish(batch: Batch) -> Batch:
        outcomes, others = settle(batch.items, batch.now_ms)
        return batch.alone().main(encode([*outcomes, *others, *batch.beside]))

    live = make_credentials(composer, platform)
    sender = Sender(
        make_sink(composer, platform, live.credentials),
        ledger=RedisLedger(composer.redis),
        rates=RedisRates(composer.redis),
        rated=composer.tenants,
        recalled=RecallDeliveries(composer.controls.known, composer.controls.refresh),
        now_ms=composer.now_ms,
        group_of=lambda topic: composer.group(f"{name}.{topic.rpartition('.')[2]}"),
        finish_batch=finish,
        window=composer.settings.flow.in_flight,
    )
    sender.generation = lambda: checkpoint.generation
    checkpoint.unfinished = sender
    checkpoint.after_assign = lambda _lane, partitions: sender.assigned(partitions)
    hooks = HookRunner(composer.tenants)
    parts = deliver.DeliverParts(
        platform=platform,
        source=composer.source(checkpoint, waiting=sender),
        decode=decode_deliveries,
        hooks=BeforeSend(hooks, composer.tenants.get),
        send=sender.exchange,
        settle=settle,
        encode=encode,
        sink=KafkaSink(checkpoint),
    )
    process = composer.process(name, deliver.build(parts), checkpoint)
    process.health_beats.append(lambda _count: hygiene.tick(wall_ms()))
    process.start += [lambda: live.start(composer.redis.ping), sender.start]
    process.close[:0] = [sender.stop, live.stop, hooks.close]
    return process


def make_credentials(composer: Composer, platform: Platform) -> LiveCredentials:
    """Make what keeps a platform's credentials; it reads nothing before its start()."""
    settings = composer.settings
    keys = read_master_keys(settings.security)
    return LiveCredentials(
        composer.tenants,
        platform,
        reader=secret_reader(settings),
        definitions=RedisDefinitions(composer.redis_now),
        ring=KeyRing(keys) if keys else None,
        fcm_url=settings.providers.fcm_url,
    )


def make_sink(composer: Composer, platform: Platform, credentials: Credentials) -> Sink:
    """Make a platform's sink; it connects in open()."""
    settings = composer.settings.providers
    common: dict[str, Any] = {
        "credentials": credentials,
        # Provider tokens are checked against the providers' clocks: wall time, never a warped one.
        "now": time.time,
        "ca_pem": settings.ca_file.read_bytes() if settings.ca_file is not None else None,
        "connections": settings.connections,
        "request_timeout_s": settings.request_timeout_s,
    }
    if platform is Platform.APNS:
        from sinks.apns import ApnsSink  # noqa: PLC0415 - see flows/compose

        return ApnsSink(
            **common,
            production_url=settings.apns_production_url,
            sandbox_url=settings.apns_sandbox_url,
        )
    if platform is Platform.FCM:
        from sinks.fcm import FcmSink  # noqa: PLC0415 - as above

        return FcmSink(**common, base_url=settings.fcm_url)
    from sinks.webpush import WebPushSink  # noqa: PLC0415 - as above

    return WebPushSink(**common)
