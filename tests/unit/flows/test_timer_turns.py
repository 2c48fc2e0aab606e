"""Which partitions of the timer wheel are read."""

from collections.abc import Sequence

import pytest
from confluent_kafka import TopicPartition

from flows.timer_memory import Memory
from flows.timer_note import Note
from flows.timer_turns import Turns
from flows.timer_wheel import Wheel
from schemas.stream import Position

T0 = 1_770_000_000_000
WHEEL = Wheel(slots=16, slot_ms=1_000, grace=2)
ALL = range(WHEEL.slots)
NOW_SLOT = WHEEL.place(T0, T0)


class FakeConsumer:
    def __init__(self) -> None:
        self.paused: set[int] = set()
        self.mine = set(ALL)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("timers", p) for p in sorted(self.mine)]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= {tp.partition for tp in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused -= {tp.partition for tp in partitions}


def make(*, read_ms: int) -> tuple[Turns, FakeConsumer]:
    """Give turns of all partitions, read to their end at some time."""
    consumer = FakeConsumer()
    memory = Memory(lambda _p: Position(0, Note(read_ms).as_text()))
    turns = Turns(WHEEL, memory, lambda: consumer)
    turns.assign(ALL, T0)
    return turns, consumer


def read_to_end(turns: Turns, *partitions: int) -> None:
    for partition in partitions:
        turns.saw_end("timers", partition)


def test_what_was_read_in_its_turn_is_paused() -> None:
    """The open ones are read."""
    turns, consumer = make(read_ms=T0)
    assert turns.turn((), T0) == set(ALL) - WHEEL.open_slots(T0)
    assert set(ALL) - consumer.paused == WHEEL.open_slots(T0)


def test_what_was_missed_is_read_to_its_end() -> None:
    """Then it closes."""
    turns, consumer = make(read_ms=0)
    assert turns.turn((), T0) == set()
    assert consumer.paused == set()
    read_to_end(turns, *ALL)
    assert turns.turn((), T0) == set(ALL) - WHEEL.open_slots(T0)


def test_an_open_slot_closes_when_it_was_read_to_its_end() -> None:
    """And not while more may lie there."""
    turns, consumer = make(read_ms=T0)
    turns.turn((), T0)
    later_ms = T0 + 5_000
    turns.turn((), later_ms)
    assert NOW_SLOT not in consumer.paused
    read_to_end(turns, NOW_SLOT)
    assert NOW_SLOT in turns.turn((), later_ms)


def test_a_slot_without_room_does_not_count_as_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something may come while it is paused."""
    turns, consumer = make(read_ms=T0)
    read_to_end(turns, *ALL)
    turns.turn((), T0)
    assert turns.is_read(NOW_SLOT)
    monkeypatch.setattr(Memory, "has_room", lambda *_args, **_more: False)
    assert turns.turn((), T0) == set()
    assert NOW_SLOT in consumer.paused
    monkeypatch.undo()
    assert NOW_SLOT not in turns.turn((), T0 + 5_000)
    assert NOW_SLOT not in consumer.paused
    assert not turns.is_read(NOW_SLOT)


def test_after_an_epoch_was_given_up_the_pauses_stand() -> None:
    """Partitions that went elsewhere are left alone; new ones are paused in turn."""
    turns, consumer = make(read_ms=T0)
    read_to_end(turns, *ALL)
    turns.turn((), T0)
    consumer.mine = {NOW_SLOT, 0}
    turns.start_over(T0)
    turns.turn((), T0)
    assert not turns.is_read(NOW_SLOT)
    read_to_end(turns, NOW_SLOT)
    turns.turn((), T0)
    assert turns.is_read(NOW_SLOT)
    assert not turns.is_read(1)
