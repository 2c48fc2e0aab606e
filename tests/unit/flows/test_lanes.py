"""Lanes: going back to what is committed."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flows import lanes as module
from flows.lanes import Lane, LanePlan, Lanes
from schemas.stream import Position


class StubbornConsumer:
    """Refuses the first seeks, as librdkafka does while a partition is being set up."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals
        self.sought: list[tuple[int, int]] = []

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("t", 0)]

    def seek(self, at: TopicPartition) -> None:
        if self._refusals:
            self._refusals -= 1
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sought.append((at.partition, at.offset))

    def consume(self, _count: int, _timeout_s: float) -> list[Any]:
        return []

    def poll(self, _timeout_s: float) -> None:
        return None


def _lanes(consumer: StubbornConsumer) -> Lanes:
    made = Lanes([LanePlan("g", ["t"])], {}, instance="i")
    lane: Any = Lane(0, LanePlan("g", ["t"]), consumer)  # type: ignore[arg-type]
    lane.committed["t", 0] = Position(7)
    made.lanes.append(lane)
    return made


def test_a_refused_seek_is_asked_again_and_nothing_counts_as_read_meanwhile() -> None:
    """The lane goes back to the committed offset as soon as it may."""
    consumer = StubbornConsumer(refusals=2)
    lanes = _lanes(consumer)
    lanes.rewind()
    for _ in range(2):
        assert lanes.read(idle_s=0) is None
        assert lanes.lanes[0].to_seek
    lanes.read(idle_s=0)
    assert consumer.sought == [(0, 7)]
    assert not lanes.lanes[0].to_seek


def test_a_seek_that_is_refused_for_too_long_stops_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not stand still for good."""
    monkeypatch.setattr(module, "SEEK_TIMEOUT_S", -1.0)
    lanes = _lanes(StubbornConsumer(refusals=1))
    lanes.rewind()
    with pytest.raises(KafkaException):
        lanes.read(idle_s=0)
