"""route: deliveries per second of one process, Kafka to Kafka, with profiles, a cap, templates."""

import time

from sandbox.stack import Stack
from schemas.pipeline import Platform, Priority
from schemas.stream import Record
from schemas.topics import CHUNKS, DELIVERIES, EVENTS
from state.redis_client import RedisClient
from tests.bench import people
from tests.bench.arrivals import Ends, read_since, watch
from tests.bench.machine import cpu_s, peak_rss_mb
from tests.bench.result import BenchError, Plan, Result, middle, ratio
from tests.bench.route_bare import BareRoute, Campaign
from tests.bench.stand import ROUTE_BULK, ROUTE_FAST, TIMEOUT_S, load, running, settings_of, stand

USERS_PER_SHARD = 782  # of 200,000 in 256 shards: no shard has more than a chunk holds
CHUNK_POLL_S = 0.01


def measure(plan: Plan) -> list[Result]:
    """Send campaigns through a route process, and the same I/O through a bare loop, in turns."""
    shards = plan.pick(256, 64)
    users = USERS_PER_SHARD * shards
    rates, whole, bare_rates, cpu_us = list[float](), list[float](), list[float](), list[float]()
    with stand(shards=shards) as stack:
        redis = RedisClient(settings_of(stack).redis.url)
        people.register(redis, users=users, shards=shards)
        bare = BareRoute(settings_of(stack), redis, users=users, shards=shards)
        with running(stack, ROUTE_BULK) as (child,):
            _campaign(stack, child.pid, people.campaign("warm-up"), people.devices_of(users))
            for turn in range(plan.repeats):
                event = people.campaign(f"sale-{turn}")
                found = _campaign(stack, child.pid, event, people.devices_of(users))
                rates.append(found.per_s)
                whole.append(found.from_event_per_s)
                cpu_us.append(found.cpu_us)
                bare_rates.append(bare.run(f"bare-{turn}", found))
            rss_mb = peak_rss_mb(child.pid)
        redis.close()
    return [
        Result(
            "route",
            middle(rates),
            "deliveries/s",
            target=40_000,
            limit_ratio=ratio(rates, bare_rates),
            rss_mb=rss_mb,
            runs=[round(rate) for rate in rates],
            detail={
                "users": users,
                "from_event_per_s": middle(whole),
                "bare_per_s": middle(bare_rates),
                "cpu_us_per_delivery": middle(cpu_us, 1),
            },
        )
    ]


def _campaign(stack: Stack, pid: int, event: bytes, expected: int) -> Campaign:
    """Send one campaign; time it from its chunks' appearance to its last delivery."""
    settings = settings_of(stack)
    low = Priority.LOW
    chunks = Ends(settings, [CHUNKS[low]])
    ends = Ends(settings, [DELIVERIES[platform, low] for platform in Platform])
    used_s, sent_at = cpu_s(pid), time.monotonic()
    load(settings, [Record(EVENTS[low], people.TENANT.encode(), event)])
    while not chunks.added():
        if time.monotonic() - sent_at > TIMEOUT_S:
            raise BenchError("the campaign gave no chunks")
        time.sleep(CHUNK_POLL_S)
    chunks_at = time.monotonic()
    done_at = watch(ends.added, expected=expected, alive=stack.failed).last_at
    used_s = cpu_s(pid) - used_s
    found = read_since(settings, ends)
    if found.records != expected:
        raise BenchError(f"{found.records} deliveries instead of {expected}")
    return Campaign(
        per_s=expected / (done_at - chunks_at),
        from_event_per_s=expected / (done_at - sent_at),
        cpu_us=used_s / expected * 1e6,
        value_bytes=found.value_bytes // found.records,
    )


def measure_singles(plan: Plan) -> list[Result]:
    """Preload single-user events of high priority; start a route process and watch it drain."""
    users = plan.pick(40_000, 10_000)
    rates, cpu_us, rss_mb = list[float](), list[float](), 0.0
    with stand() as stack:
        settings = settings_of(stack)
        redis = RedisClient(settings.redis.url)
        people.register(redis, users=users, shards=16)
        redis.close()
        high = Priority.HIGH
        for turn in range(plan.repeats):
            ends = Ends(settings, [DELIVERIES[platform, high] for platform in Platform])
            events = people.singles(
                f"order-{turn}", range(users), category="transactional", priority="high"
            )
            load(settings, (Record(EVENTS[high], None, event) for event in events))
            with running(stack, ROUTE_FAST) as (child,):
                used_s = cpu_s(child.pid)
                expected = people.devices_of(users)
                growth = watch(ends.added, expected=expected, alive=stack.failed)
                cpu_us.append((cpu_s(child.pid) - used_s) / users * 1e6)
                rss_mb = max(rss_mb, peak_rss_mb(child.pid))
            rates.append(growth.rate(until=expected) * users / expected)
    return [
        Result(
            "route_single_events",
            middle(rates),
            "events/s",
            rss_mb=rss_mb,
            runs=[round(rate) for rate in rates],
            detail={"events": users, "cpu_us_per_event": middle(cpu_us, 1)},
        )
    ]
