"""Lanes: going back to what is committed."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flows import lanes as module
from flows.lanes import Lane, LanePlan, Lanes
from schemas.stream import Position
from state.patience import Patience


class StubbornConsumer:
    """Refuses the first seeks, as librdkafka does while a partition is being set up."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals
        self.refuses: set[int] = set()
        self.assigned = [TopicPartition("t", 0)]
        self.sought: list[tuple[int, int]] = []

    def assignment(self) -> list[TopicPartition]:
        return self.assigned

    def seek(self, at: TopicPartition) -> None:
        if self._refusals or at.partition in self.refuses:
            self._refusals = max(0, self._refusals - 1)
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


def test_a_seek_is_repeated_while_another_partition_refuses_its_own() -> None:
    """What is read of one partition meanwhile is dropped, so it has to go back once more."""
    consumer = StubbornConsumer(refusals=0)
    consumer.refuses = {1}
    lanes = _lanes(consumer)
    lanes.lanes[0].committed["t", 1] = Position(9)
    consumer.assigned = [TopicPartition("t", 0), TopicPartition("t", 1)]
    lanes.rewind()
    lanes.read(idle_s=0)
    assert consumer.sought == [(0, 7)]
    consumer.refuses = set()
    lanes.read(idle_s=0)
    assert consumer.sought == [(0, 7), (0, 7), (1, 9)]
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


class Fed:
    """A consumer with some messages of one topic."""

    def __init__(self, topic: str, count: int) -> None:
        self.waiting = [Read(topic, offset) for offset in range(count)]

    def consume(self, count: int, _timeout_s: float) -> list[Any]:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def poll(self, _timeout_s: float) -> None:
        return None


class Read:
    """One message."""

    def __init__(self, topic: str, offset: int) -> None:
        self._topic, self._offset = topic, offset

    def topic(self) -> str:
        return self._topic

    def error(self) -> None:
        return None

    def __len__(self) -> int:
        return 1


def test_after_an_outage_the_most_urgent_is_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was read for half a minute: no lane has starved, so `critical` goes before all."""
    names = ["critical", "high", "normal", "low"]
    lanes = Lanes([LanePlan(name, [name]) for name in names], {}, instance="i")
    now_s = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    for index, name in enumerate(names):
        plan = LanePlan(name, [name], rank=index, batch_size=1)
        lanes.lanes.append(Lane(index, plan, Fed(name, 3)))  # type: ignore[arg-type]

    def read() -> str:
        found = lanes.read(idle_s=0)
        assert found is not None
        return found[0].plan.group

    first = [read() for _ in range(2)]
    now_s[0] += 30
    assert first == ["critical", "critical"]
    assert [read() for _ in range(4)] == ["critical", "high", "high", "high"]


def test_a_lower_lane_is_still_served_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the higher one is."""
    lanes = Lanes([], {}, instance="i")
    now_s = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    for index, name in enumerate(["critical", "low"]):
        plan = LanePlan(name, [name], rank=index, batch_size=1)
        lanes.lanes.append(Lane(index, plan, Fed(name, 100)))  # type: ignore[arg-type]
    groups = []
    for _ in range(50):
        now_s[0] += 0.1
        found = lanes.read(idle_s=0)
        assert found is not None
        groups.append(found[0].plan.group)
    assert 3 <= groups.count("low") <= 5


class Coordinator:
    """A consumer whose group's coordinator is away for some questions."""

    def __init__(self, failures: int) -> None:
        self._failures = failures

    def committed(self, partitions: list[TopicPartition], _timeout_s: float) -> list[Any]:
        self._failures -= 1
        if self._failures == 1:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = KafkaError(KafkaError.NOT_COORDINATOR) if self._failures >= 0 else None
        return [
            SimpleNamespace(
                topic=tp.topic, partition=tp.partition, offset=5, metadata="n", error=error
            )
            for tp in partitions
        ]

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("t", 0)]


def test_what_is_committed_is_asked_until_it_is_known() -> None:
    """An error beside one partition counts, too: reading again from the start would double."""
    waits: list[float] = []
    lanes = Lanes([], {}, instance="i", patience=Patience(sleep=waits.append))
    lanes.lanes.append(Lane(0, LanePlan("g", ["t"]), Coordinator(2)))  # type: ignore[arg-type]
    lanes.refetch()
    assert len(waits) == 2
    assert lanes.committed() == {(0, "t", 0): Position(5, "n")}


FENCED = KafkaError(
    KafkaError._FATAL, f"Fatal error: {KafkaError(KafkaError.FENCED_INSTANCE_ID).str()}"
)


class GhostMessage:
    """The fatal error as librdkafka gives it: a message."""

    def error(self) -> KafkaError:
        return FENCED

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("rewinding", [False, True])
@pytest.mark.parametrize("pause_s", [1.0, 11.0])
def test_a_fenced_consumer_begins_anew_only_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, pause_s: float, *, rewinding: bool
) -> None:
    """Unpolled for longer than its session, it was taken for two; else it has a successor."""
    now_s = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    consumer = StubbornConsumer(refusals=10 * rewinding)
    lanes = _lanes(consumer)
    fresh = StubbornConsumer(refusals=0)
    joined: list[Any] = []
    monkeypatch.setattr(lanes, "_consumer", lambda _plan: fresh)
    monkeypatch.setattr(lanes, "_join", lambda lane: joined.append(lane.consumer))
    revoked: list[int] = []
    lanes._on_revoke = lambda: revoked.append(1)
    assert lanes.read(idle_s=0) is None
    if rewinding:
        lanes.rewind()
    monkeypatch.setattr(consumer, "consume", lambda _count, _timeout_s: [GhostMessage()])
    now_s[0] += pause_s
    if pause_s < 10:
        with pytest.raises(KafkaException, match="fenced"):
            lanes.read(idle_s=0)
        return
    assert lanes.read(idle_s=0) is None
    assert joined == [fresh]
    assert revoked == [1]
    assert not lanes.lanes[0].committed
    assert not lanes.lanes[0].to_seek


class Torn(StubbornConsumer):
    """Gives a full step, and in the next call its partitions go, maybe to come back at once."""

    def __init__(self) -> None:
        super().__init__(refusals=0)
        self.meanwhile: Any = lambda: None
        self._calls = 0

    def consume(self, count: int, _timeout_s: float) -> list[Any]:
        self._calls += 1
        if self._calls == 1:
            return [Read("t", offset) for offset in range(7, 7 + count)]
        if self._calls == 2:
            self.meanwhile()
        return []


@pytest.mark.parametrize("comes_back", [False, True])
def test_what_was_read_before_all_partitions_went_does_not_count(*, comes_back: bool) -> None:
    """It follows upon an epoch that was aborted in between."""
    consumer = Torn()
    lanes = _lanes(consumer)
    lane = lanes.lanes[0]
    lanes._on_revoke = lanes.rewind  # what a checkpoint does, last
    partitions = consumer.assigned

    def lose() -> None:
        lanes._revoked(lane, consumer, partitions)  # type: ignore[arg-type]
        consumer.assigned = []
        if comes_back:
            consumer.assigned = partitions
            lane.committed["t", 0] = Position(5)

    consumer.meanwhile = lose
    assert lanes.read(idle_s=0) is None
    assert lanes.read(idle_s=0) is None
    assert consumer.sought == ([(0, 5)] if comes_back else [])
