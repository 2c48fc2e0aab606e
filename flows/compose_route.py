"""Composes route and timers, the flows between topics."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from flows import route, timers
from flows.compose import Composer, Process
from flows.hooks import HookRunner
from flows.kafka import KafkaSink
from flows.route_ports import redis_ports
from flows.route_steps import route_steps
from flows.timer_source import TimerSource
from flows.timer_wheel import release
from schemas import topics

CHUNKS_AT_ONCE = 4


def make_route(composer: Composer) -> Process:
    """Make the flow from events to deliveries."""
    # Chunks have lanes of their own, as one of them is a thousand users.
    lanes = composer.lanes_by_priority(
        "route",
        {"": topics.EVENTS.__getitem__, ".chunks": topics.CHUNKS.__getitem__},
        {".chunks": CHUNKS_AT_ONCE},
    )
    checkpoint = composer.transactional("route", lanes)
    redis = composer.redis
    counting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="caps")
    hooks = HookRunner(composer.tenants)
    ports = replace(redis_ports(redis, composer.tenants, composer.controls), hooks=hooks)
    steps = route_steps(
        ports,
        composer.tenants,
        submit=counting.submit,
        chunk_users=composer.settings.flow.chunk_users,
        business_ms=composer.business_ms,
    )
    parts = route.RouteParts(
        source=composer.source(checkpoint),
        **vars(steps),
        encode=composer.encode("route", topics.DEAD_ROUTE),
        sink=KafkaSink(checkpoint),
    )
    process = composer.process("route", route.build(parts), checkpoint)
    process.close[:0] = [counting.shutdown, hooks.close]
    return process


def make_timers(composer: Composer) -> Process:
    """Make the flow from due times to topics."""
    lanes = composer.one_lane("timers", [topics.TIMERS], tells_end=True)
    checkpoint = composer.transactional("timers", lanes)
    wheel = composer.wheel
    parts = timers.TimersParts(
        source=TimerSource(
            checkpoint,
            wheel,
            now_ms=composer.now_ms,
            stopped=composer.stopped,
            heartbeat=composer.beat,
        ),
        release=lambda items, now_ms: (release(items, now_ms, wheel), []),
        encode=composer.encode("timers", topics.DEAD_TIMERS),
        sink=KafkaSink(checkpoint),
    )
    return composer.process("timers", timers.build(parts), checkpoint)
