"""Stores that go away, are emptied or refuse writes, one after the other, under load."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from flows.clock import wall_ms
from sandbox.processes import accepts
from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome, Platform, Priority
from schemas.settings import ClockSettings
from schemas.topics import OUTCOMES
from tests.chaos import people
from tests.chaos.audit import check_ends, check_received, check_rows, ends, medians_s, over
from tests.chaos.fault import Fault
from tests.chaos.outage import SIZES, Crowd, Outage, put, send, suffer
from tests.chaos.probes import Watched
from tests.chaos.redis_faults import REFUSALS, Refusal, contents
from tests.chaos.schedule import Plan, month_end_ms
from tests.chaos.stand import FLOWS, Stand, behave_all, open_stand

PAUSE_S, KILL_S, CLICKHOUSE_S, KAFKA_S, REFUSE_S = 30.0, 10.0, 60.0, 15.0, 10.0
SHORTEST_S = 8.0
"""However small the run: the probes take a few seconds to notice."""
REBUILD_TIMEOUT_S = 120.0
REDIS_USERS = ("registry", "route", *(f"deliver-{platform}" for platform in Platform))
CLICKHOUSE_USERS = ("registry", "outcomes")
_outcome = msgspec.msgpack.Decoder(Outcome).decode


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Break one store after the other."""

    def lasting(seconds: float) -> float:
        return max(SHORTEST_S, seconds * min(1.0, plan.scale))

    started = time.monotonic()
    with open_stand(directory) as stand:
        took_s = time.monotonic() - started
        behave_all(stand, remember=True)
        crowd = Crowd(stand, plan)
        turn_at_s = turn_month(stand, after_s=took_s + 20)
        redis, kafka = stand.redis, stand.kafka
        yield clickhouse_down(stand, crowd, lasting(CLICKHOUSE_S), turn_at_s)
        paused = ("Redis unreachable", "redis", REDIS_USERS, lasting(PAUSE_S))
        yield with_priority(stand, crowd, Outage(*paused, redis.pause, redis.resume))
        killed = ("Redis killed", "redis", REDIS_USERS, lasting(KILL_S))
        yield with_priority(stand, crowd, Outage(*killed, redis.kill, redis.restart))
        yield redis_emptied(stand, crowd)
        gone = ("Kafka killed", "kafka", tuple(stand.processes), lasting(KAFKA_S))
        yield suffer(stand, crowd, Outage(*gone, kafka.kill, kafka.start_node)).fault
        for refusal in REFUSALS:
            yield redis_refuses(stand, crowd, refusal, lasting(REFUSE_S))


def turn_month(stand: Stand, *, after_s: float) -> float:
    """Start the flows again by a clock that will reach the next month; gives when, in Unix seconds.

    after_s: as long as everything took to start, and a little.
    """
    stand.remove(*stand.processes)
    now_ms = wall_ms()
    clock = ClockSettings(
        origin_ms=month_end_ms(now_ms) - int(after_s * 1_000), wall_origin_ms=now_ms
    )
    stand.settings = stand.stack.settings = stand.settings.model_copy(update={"clock": clock})
    for spec in FLOWS:
        stand.add(spec)
    stand.await_ready()
    return now_ms / 1_000 + after_s


def clickhouse_down(stand: Stand, crowd: Crowd, seconds: float, turn_at_s: float) -> Fault:
    """Have a month turn while ClickHouse is down: both months must be there to the row."""
    server = stand.stack.child("clickhouse")
    port = int(stand.settings.clickhouse.url.rpartition(":")[2])

    def start() -> None:
        server.start()
        server.wait_until(lambda: accepts(port))

    began_s = time.time()
    outage = Outage(
        "ClickHouse down, a month turns",
        "clickhouse",
        CLICKHOUSE_USERS,
        seconds,
        server.kill,
        start,
        turn=lambda: time.time() > turn_at_s + 1,
    )
    fault, users, _during = suffer(stand, crowd, outage)
    fault.check(began_s < turn_at_s, "the month turned before ClickHouse was down")
    written = Counter(
        datetime.fromtimestamp(_outcome(value).occurred_at_ms / 1_000, UTC).strftime("%Y%m")
        for _partition, _offset, value in stand.read(OUTCOMES)
    )
    rows = dict(
        stand.clickhouse.query(
            "SELECT toString(toYYYYMM(occurred_at)) AS month, count() FROM outcomes GROUP BY month"
        ).result_rows
    )
    fault.check(rows == written, f"rows by month {rows} of records {dict(written)}")
    fault.check(len(rows) == 2, f"not in two months: {rows}")
    fault.check(len(users) <= sum(rows.values()), "fewer rows than events")
    fault.note += f"; rows by month {rows}"
    return fault


def with_priority(stand: Stand, crowd: Crowd, outage: Outage) -> Fault:
    """Show that of the events that came meanwhile the critical ones went before the bulk."""
    fault, _users, during = suffer(stand, crowd, outage)
    half = medians_s(stand, during)
    first = half[Priority.CRITICAL]
    fault.check(first < min(half[Priority.NORMAL], half[Priority.LOW]), "critical was not first")
    fault.note += "; half of each sent after " + ", ".join(
        f"{half[priority]:.1f} s ({priority})" for priority in Priority
    )
    return fault


def redis_emptied(stand: Stand, crowd: Crowd) -> Fault:
    """Lose all that Redis holds, and restore users and devices from Kafka."""
    before, during, after = crowd.take(*SIZES)
    fault = Fault("Redis emptied, then rebuilt", injected=1)
    watched = Watched(stand)
    had = contents(stand.redis)
    put(stand, before)
    stand.redis.flush()
    emptied = time.monotonic()
    send(stand, during)
    rebuild = stand.stack.command("registry", "rebuild")
    deadline = emptied + REBUILD_TIMEOUT_S
    watched.watch(lambda: rebuild.returncode() is not None or time.monotonic() > deadline)
    fault.recovery_s = time.monotonic() - emptied
    has = contents(stand.redis)
    fault.check(rebuild.returncode() == 0, f"the rebuild failed: {rebuild.tail(3)}")
    fault.check(has == had, f"restored {has} of {had}")
    put(stand, after)
    users = range(before.start, after.stop)
    stand.until_all(lambda: over(stand, users), len(users))
    met = range(before.start, during.stop)
    # Whoever's turn came in between was unknown, and the outcome says so.
    check_ends(stand, fault, met, allowed=[(Status.SUPPRESSED, Reason.UNKNOWN_USER)])
    check_ends(stand, fault, after)
    check_rows(stand, fault)
    unknown = ends(stand, met).by[Status.SUPPRESSED, Reason.UNKNOWN_USER]
    check_received(stand, fault, met, missing=unknown)
    check_received(stand, fault, after)
    watched.check(fault, "redis", ())
    fault.note = (
        f"{len(users)} events, {unknown} to users who were unknown meanwhile; restored"
        f" {dict(has.keys)}; {rebuild.tail(1)}"
    )
    return fault


def redis_refuses(stand: Stand, crowd: Crowd, refusal: Refusal, seconds: float) -> Fault:
    """Have Redis answer and yet take no writes: those who write must say so, and lose nothing."""
    directory = stand.directory / "redis"

    def begin() -> None:
        refusal.begin(stand.redis, directory)
        stand.put(people.registrations(10, stand.webpush_origin))  # so that the registry writes

    def end() -> None:
        refusal.end(stand.redis, directory)

    name = f"{refusal.name} ({refusal.word})"
    writing = ("registry", "route")
    outage = Outage(name, "redis", writing, seconds, begin, end, word=refusal.word)
    return suffer(stand, crowd, outage).fault
