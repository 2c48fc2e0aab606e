"""How long a critical message takes from Kafka's acceptance to the provider, with nothing else."""

import time
from statistics import quantiles

import msgspec
from confluent_kafka import Producer

from sandbox.stack import FlowSpec, Stack
from schemas.outcomes import Status
from schemas.pipeline import Outcome, Platform, Priority
from schemas.topics import EVENTS, OUTCOMES
from state.redis_client import RedisClient
from tests.bench import people
from tests.bench.arrivals import Ends, messages_since, watch
from tests.bench.machine import peak_rss_mb
from tests.bench.result import BenchError, Plan, Result, middle
from tests.bench.stand import ROUTE_FAST, running, settings_of, stand

USERS = 2_000
WARM_UP = 20
GAP_S = 0.03
ONE_IPHONE = 4  # this user, and every tenth from there, has one device, and that an iPhone
DELIVER_FAST = FlowSpec("deliver", Platform.APNS, (Priority.CRITICAL, Priority.HIGH))
_decode = msgspec.msgpack.Decoder(Outcome).decode


def measure(plan: Plan) -> list[Result]:
    """Send single events one at a time; read the latencies from their outcomes."""
    events = plan.pick(200, 60)
    p50s, p99s = list[float](), list[float]()
    with stand() as stack:
        redis = RedisClient(settings_of(stack).redis.url)
        people.register(redis, users=USERS, shards=16)
        redis.close()
        with running(stack, ROUTE_FAST, DELIVER_FAST) as (route, deliver):
            _send(stack, "warm-up", WARM_UP)
            for turn in range(plan.repeats):
                cuts = quantiles(_send(stack, f"otp-{turn}", events), n=100, method="inclusive")
                p50s.append(cuts[49])
                p99s.append(cuts[98])
            rss_mb = {child.name: peak_rss_mb(child.pid) for child in (route, deliver)}
    return [
        Result(
            f"idle_latency_critical_{name}",
            middle(values, 1),
            "ms",
            target=target,
            at_most=True,
            rss_mb=max(rss_mb.values()),
            runs=[round(value, 1) for value in values],
            detail={"events": events, "rss_mb": rss_mb},
        )
        for name, target, values in (("p50", 40, p50s), ("p99", 100, p99s))
    ]


def _send(stack: Stack, message_id: str, events: int) -> list[int]:
    """Send so many, one after the other; give the latency of each, in milliseconds."""
    settings = settings_of(stack)
    ends = Ends(settings, [OUTCOMES])
    producer = Producer(settings.kafka.client_options() | {"linger.ms": "0"})
    numbers = range(ONE_IPHONE, ONE_IPHONE + 10 * events, 10)
    for event in people.singles(message_id, numbers, category="security", priority="critical"):
        producer.produce(EVENTS[Priority.CRITICAL], event)
        producer.flush(GAP_S)
        time.sleep(GAP_S)
    watch(ends.added, expected=events, alive=stack.failed)
    outcomes = [_decode(message.value()) for message in messages_since(settings, ends)]
    found = [one.latency_ms for one in outcomes if one.status is Status.SENT]
    if len(found) != events or min(found) < 0:
        raise BenchError(f"{len(found)} of {events} were sent: {outcomes[:1]}")
    return found
