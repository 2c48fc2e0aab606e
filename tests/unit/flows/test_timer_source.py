"""The timer wheel at work: each timer fires once and in time, whatever crashes."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import timer_memory, timer_source, timer_turns
from schemas.pipeline import Timer
from schemas.topics import TIMERS
from tests.unit.flows.timer_world import (
    FAR_AHEAD_MS,
    READ_AT_ONCE,
    T0,
    TURN_MS,
    WHEEL,
    World,
    timer,
)


def test_a_timer_fires_at_its_turn_and_not_before() -> None:
    """Also one that lies laps ahead."""
    world = World()
    for name, due_ms in {"soon": 1_100, "lap": 13_100, "laps": 45_100}.items():
        world.arrive(timer(T0 + due_ms, name))
    world.run_until(T0 + 50_000)
    assert world.fired == [("soon", T0 + 1_250), ("lap", T0 + 13_250), ("laps", T0 + 45_250)]


def test_a_slot_missed_while_down_is_read_at_once() -> None:
    """It does not wait for the next lap."""
    world = World()
    world.run_until(T0 + 20_000)
    world.arrive(timer(T0 + 22_000, "missed"))
    world.now_ms += 7_000
    world.start()
    world.run_until(world.now_ms + 1_000)
    assert world.names() == ["missed"]


def test_a_slot_half_read_when_its_reader_died_is_read_on_at_once() -> None:
    """What was missed stays missed until it is read to its end."""
    world = World()
    world.run_until(T0 + 20_000)
    for n in range(20):
        world.arrive(timer(T0 + 22_000, f"missed-{n}"))
    world.now_ms += 7_000
    world.start()
    while not world.fired:
        world.turn()
        world.commit()
    assert len(world.fired) < 20
    world.start()
    for _ in range(20):
        world.turn()
        world.commit()
    assert Counter(world.names()) == Counter(f"missed-{n}" for n in range(20))


def test_a_slot_half_fired_when_its_reader_died_fires_on_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when it had been read to its end."""
    monkeypatch.setattr(timer_source, "FIRED_PER_BATCH", 2)
    world = World()
    world.run_until(T0 + 20_000)
    for n in range(3):
        world.arrive(timer(T0 + 22_000, str(n)))
    world.now_ms += 7_000
    world.start()
    while not world.fired:
        world.turn()
        world.commit()
    assert len(world.fired) == 2
    world.start()
    for _ in range(4):
        world.turn()
        world.commit()
    assert Counter(world.names()) == Counter("012")


def missed_far_slot() -> tuple[World, int]:
    """Give a far slot that nobody read in its turn; its next is from T0 + 33 s, open from 30 s."""
    world = World()
    world.run_until(T0 + 20_000)
    partition = WHEEL.near + (T0 + 33_000) // WHEEL.far_ms % WHEEL.far
    world.now_ms = T0 + 27_500
    world.start()
    turn = WHEEL.turn(partition, world.now_ms)
    assert (turn.is_open, turn.next_ms) == (False, T0 + 33_000)
    return world, partition


def put(world: World, partition: int, one: Timer) -> None:
    world.log[partition].append(msgspec.msgpack.encode(one))


def test_what_moved_from_a_missed_far_slot_does_not_move_again() -> None:
    """Though it lies behind what was left there for the next turn, and is read again with that."""
    world, partition = missed_far_slot()
    put(world, partition, timer(T0 + 33_500, "left"))
    put(world, partition, timer(T0 + 29_500, "missed"))
    world.run_until(T0 + 28_500)
    assert world.moved == {"missed": 1}
    world.start()
    world.run_until(T0 + 34_000)
    assert world.names() == ["missed", "left"]
    assert world.moved == {"missed": 1, "left": 1}


def test_a_missed_far_slot_whose_next_turn_comes_while_it_is_read() -> None:
    """It is read again from what was left."""
    world, partition = missed_far_slot()
    for n in range(7):
        put(world, partition, timer(T0 + 33_500, str(n)))
    world.turn()
    world.turn()
    assert READ_AT_ONCE <= world.lanes.reads[partition] < 7
    world.now_ms = T0 + 30_500
    world.run_until(T0 + 34_000)
    assert Counter(world.names()) == Counter("0123456")


def test_many_missed_slots_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest first, beside those that are open; all within their first reads."""
    monkeypatch.setattr(timer_turns, "MISSED_AT_ONCE", 2)
    world = World()
    world.run_until(T0 + 20_000)
    for n in range(7):
        world.arrive(timer(T0 + 20_100 + 1_000 * n, str(n)))
    world.now_ms += 11_000
    world.start()
    for _ in range(30):
        world.turn()
        world.commit()
        reading = set(range(WHEEL.slots)) - world.lanes.consumer.paused
        assert len(reading - WHEEL.open_slots(world.now_ms)) <= 2
    assert Counter(world.names()) == Counter("0123456")


def test_only_a_missed_slots_overdue_timers_are_held() -> None:
    """Those of its next turn stay on disk, and are read again when it comes."""
    world = World()
    world.run_until(T0 + 20_000)
    partition = WHEEL.place(T0 + 21_500, world.now_ms)
    world.arrive(timer(T0 + 21_500, "missed"))
    world.now_ms = T0 + 27_000
    ahead = [timer(T0 + 33_500, str(n)) for n in range(7)]
    for one in ahead:
        world.arrive(one)
    assert len(world.log[partition]) == 8
    world.start()
    world.run_until(T0 + 29_000)
    assert (world.names(), world.part._memory.waiting()) == (["missed"], 0)
    world.start()  # and a crash does not fire it again
    world.run_until(T0 + 35_000)
    assert Counter(world.names()) == Counter(["missed", *map(str, range(7))])
    assert not world.moved


def test_going_back_waits_until_the_partition_takes_it() -> None:
    """A partition that was just assigned may refuse."""
    world = World()
    world.run_until(T0 + 20_000)
    world.arrive(timer(T0 + 21_500, "missed"))
    world.now_ms = T0 + 27_000
    world.arrive(timer(T0 + 33_500, "ahead"))
    world.start()
    world.run_until(T0 + 30_000)
    world.lanes.consumer.refuses_seeks = True
    world.run_until(T0 + 33_750)
    world.lanes.consumer.refuses_seeks = False
    world.run_until(T0 + 35_000)
    assert world.names() == ["missed", "ahead"]


def test_what_is_no_timer_becomes_a_dead_letter() -> None:
    """With its key; and the next one fires."""
    world = World()
    world.log[WHEEL.place(T0, T0)].append(b"\xc1")
    world.arrive(timer(T0, "good"))
    world.run_until(T0 + 1_000)
    assert [(one.offset, one.raw, one.key) for one in world.letters] == [(0, b"\xc1", b"key")]
    assert world.names() == ["good"]


def test_a_dead_letter_is_not_written_again_after_a_crash() -> None:
    """Its position is committed with it."""
    world = World()
    world.log[WHEEL.place(T0, T0)].append(b"\xc1")
    world.turn()
    world.commit()
    world.start()
    world.run_until(T0 + 1_000)
    assert len(world.letters) == 1


def test_only_open_slots_are_read() -> None:
    """Also after timers for all the others have come."""
    world = World()
    world.run_until(T0 + 20_000)
    for n in range(200):
        world.arrive(timer(world.now_ms + FAR_AHEAD_MS + n * 37, f"x{n}"))
        if n % 5 == 0:
            world.run_until(world.now_ms + TURN_MS)
    paused = world.lanes.consumer.paused
    assert set(range(WHEEL.slots)) - paused == WHEEL.open_slots(world.now_ms - TURN_MS)


def test_an_overfull_slot_is_held_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops while memory is full; all fires, once."""
    limit = 20 * (240 + len(msgspec.msgpack.encode(timer(T0, "100"))))
    monkeypatch.setattr(timer_memory, "HELD_BYTES", limit)
    monkeypatch.setattr(timer_memory, "AHEAD_BYTES", limit * 2 // 3)
    world = World()
    world.run_until(T0 + 2_000)
    for n in range(200):
        world.arrive(timer(T0 + 4_000 + n * 10, str(n)))
    most = 0
    while world.now_ms < T0 + 20_000:
        world.turn()
        world.commit()
        most = max(most, world.part._memory.waiting())
        world.now_ms += 10
        if world.now_ms % 1_000 == 0:
            world.start()
    slots_read_at_once = 3
    assert 20 <= most <= 20 + slots_read_at_once * READ_AT_ONCE
    assert Counter(world.names()) == Counter(map(str, range(200)))
    assert all(at_ms >= T0 + 4_000 + int(name) * 10 for name, at_ms in world.fired)


def test_a_note_stays_short_while_overdue_timers_pour_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each older than those before, and more than fire in a batch."""
    monkeypatch.setattr(timer_source, "FIRED_PER_BATCH", 2)
    world = World()
    world.run_until(T0 + 20_000)
    partition = WHEEL.place(world.now_ms, world.now_ms)
    put(world, partition, timer(T0 + 20_900, "waits"))
    for n in range(60):
        put(world, partition, timer(T0 + 19_999 - n, str(n)))
    while len(world.fired) < 60:
        world.turn()
        world.commit()
        note = world.committed[TIMERS, partition].note
        assert note.count(";") <= 2, note
    assert world.committed[TIMERS, partition].offset == 0
    world.start()
    world.run_until(T0 + 22_000)
    assert Counter(world.names()) == Counter(["waits", *map(str, range(60))])


EVENTS = st.one_of(
    st.tuples(st.just("turn")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("epoch")),
    st.tuples(st.just("down"), st.integers(1, 40)),
    st.tuples(
        st.just("arrive"),
        st.lists(
            st.sampled_from([-1_500, -200, 0, 100, 100, 900, 5_000, 7_000, 11_000, 40_000]),
            min_size=1,
            max_size=6,
        ),
    ),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(EVENTS, max_size=60), st.sampled_from([2, 2_000]), st.sampled_from([900, 10**8]))
def test_every_timer_fires_once_and_in_time_whatever_happens(
    events: list[tuple[Any, ...]], at_once: int, held_bytes: int
) -> None:
    """Arrivals, commits, crashes and down times in any order; batches and memory of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timer_source, "FIRED_PER_BATCH", at_once)
        patch.setattr(timer_memory, "HELD_BYTES", held_bytes)
        patch.setattr(timer_memory, "AHEAD_BYTES", held_bytes * 2 // 3)
        world, due = World(), dict[str, int]()
        for what, *more in events:
            if what == "arrive":
                for ahead_ms in more[0]:
                    name = str(len(due))
                    due[name] = world.now_ms + ahead_ms
                    world.arrive(timer(due[name], name))
            elif what == "turn":
                world.now_ms += TURN_MS
                world.turn()
            elif what == "commit":
                world.commit()
            elif what == "epoch":
                world.restart_epoch()
            else:
                world.now_ms += 1_000 * (more[0] if more else 0)
                world.start()
        settled_ms = world.now_ms
        while len(world.fired) < len(due) and world.now_ms < settled_ms + 60_000:
            world.turn()
            world.commit()
            world.now_ms += TURN_MS // 5
        for _ in range(20):
            world.turn()
            world.commit()
    assert Counter(world.names()) == Counter(due.keys())
    lateness = [at_ms - max(due[name], settled_ms) for name, at_ms in world.fired]
    assert all(at_ms >= due[name] for name, at_ms in world.fired)
    # A lap is 12 s: none waits for another turn of its slot.
    assert max(lateness, default=0) < 6_000
