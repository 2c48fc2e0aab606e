"""The pure parts of the flows: clocks, positions, topics, the wheel's shape."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.clock import business_clock, wall_ms
from flows.compose import LONGEST_TRANSACTION_S, wheel_of
from flows.lanes import positions_of
from flows.topics import specifications
from schemas import topics
from schemas.settings import ClockSettings, Settings, TimerSettings
from schemas.stream import Batch, Position, Source
from tests.unit.operators.builders import FakeMessage

COUNTS = {"partitions": 6, "timer_slots": 64, "replicas": 3}


def specified() -> dict[str, Any]:
    return {one.topic: one for one in specifications(**COUNTS)}


def test_every_topic_is_specified_once() -> None:
    """All that schemas/topics names."""
    names = [one.topic for one in specifications(**COUNTS)]
    named = {
        value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)
    }
    for group in (topics.EVENTS, topics.CHUNKS, topics.DELIVERIES, topics.DEAD_DELIVERIES):
        named |= set(group.values())
    assert sorted(names) == sorted(named)


def test_the_timers_topic_has_a_partition_per_slot() -> None:
    """And the others the configured number."""
    found = specified()
    assert found["timers"].num_partitions == 64
    assert found["events.critical"].num_partitions == 6
    assert {one.replication_factor for one in found.values()} == {3}


@pytest.mark.parametrize("name", ["devices", "users", "preferences", "tokens.dead"])
def test_the_registry_keeps_the_last_word(name: str) -> None:
    """However old, and when Kafka took it."""
    config = specified()[name].config
    assert config["cleanup.policy"] == "compact"
    assert config["message.timestamp.type"] == "LogAppendTime"


def test_that_a_user_was_forgotten_is_kept() -> None:
    """Longer than a day: a rebuild must not bring back devices that nobody unregistered."""
    assert int(specified()["users"].config["delete.retention.ms"]) > 5 * 365 * 86_400_000


def test_positions_are_after_the_last_of_each_partition() -> None:
    """In any order of partitions."""
    batch: list[Any] = [
        FakeMessage(b"", Source("t", partition, offset))
        for partition, offset in ((1, 5), (0, 8), (1, 6))
    ]
    lane: Any = SimpleNamespace(index=2)
    assert positions_of(lane, batch) == {(2, "t", 1): Position(7), (2, "t", 0): Position(9)}


def test_a_side_batch_has_no_positions() -> None:
    """Only the main line commits."""
    batch = Batch([1], 5, 3, {(0, "t", 0): Position(1)})
    assert batch.main([2]) == Batch([2], 5, 3, batch.positions)
    assert batch.side([2]) == Batch([2], 5, 3)


def test_without_a_warp_business_time_is_the_machines() -> None:
    """One clock."""
    assert business_clock(None) is wall_ms


def test_a_warped_clock_runs_as_fast_as_told() -> None:
    """From its origin; before that it stands."""
    warp = ClockSettings(origin_ms=1_000, wall_origin_ms=500, speed=10)
    assert [warp.at(wall) for wall in (0, 500, 501, 600)] == [1_000, 1_000, 1_010, 2_000]
    assert business_clock(warp)() >= 1_000


@pytest.mark.parametrize(("slot_s", "speed", "grace"), [(10, 1, 6), (7, 1, 9), (10, 3, 18)])
def test_open_slots_cover_the_longest_transaction(slot_s: float, speed: float, grace: int) -> None:
    """A timer committed late still finds its slot open."""
    clock = ClockSettings(origin_ms=0, wall_origin_ms=0, speed=speed)
    settings = Settings(timers=TimerSettings(slots=128, slot_s=slot_s), clock=clock)
    wheel = wheel_of(settings)
    assert wheel.grace == grace
    assert wheel.grace * wheel.slot_ms >= LONGEST_TRANSACTION_S * 1_000 * speed
