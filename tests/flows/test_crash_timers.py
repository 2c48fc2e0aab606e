"""timers, crashed and replayed."""

from collections import Counter

from flow_harness import Runner, Stores, run_through_crashes

from flows.clock import wall_ms
from flows.compose import wheel_of
from schemas.pipeline import DeadLetter, Timer
from schemas.stream import Record
from schemas.topics import CHUNKS, DEAD_TIMERS, TIMERS

TARGET = CHUNKS["high"]


def _timer(stores: Stores, name: str, due_at_ms: int, made_at_ms: int | None = None) -> Record:
    wheel = wheel_of(stores.settings())
    timer = Timer(name, due_at_ms, TARGET, b"k", name.encode())
    return wheel.record(timer, wall_ms() if made_at_ms is None else made_at_ms)


def test_each_timer_fires_once_over_crashes(stores: Stores) -> None:
    """Timers due before, during and after the crashes all fire exactly once."""
    now = wall_ms()
    names = [f"t{n}" for n in range(400)]
    stores.put([_timer(stores, name, now + 10 * n) for n, name in enumerate(names)])
    runner = Runner(stores.settings(), "timers")
    run_through_crashes(runner, until=lambda: len(stores.read(TARGET)) >= len(names))
    assert Counter(stores.read(TARGET)) == Counter(name.encode() for name in names)


def test_a_timer_beyond_a_lap_moves_to_its_slot_and_fires_in_time(stores: Stores) -> None:
    """A timer of a far slot fires neither with those of near ones nor late."""
    late = wall_ms() + 4_700
    far = _timer(stores, "late", late)
    assert wheel_of(stores.settings()).is_far(far.partition)
    stores.put([_timer(stores, "soon", late - 4_000), far])
    fired_at: dict[bytes, int] = {}

    def both_fired() -> bool:
        for value in stores.read(TARGET):
            fired_at.setdefault(value, wall_ms())
        return len(fired_at) == 2

    Runner(stores.settings(), "timers").run(until=both_fired)
    assert fired_at[b"late"] >= late
    assert Counter(stores.read(TARGET)) == {b"soon": 1, b"late": 1}


def test_a_slot_missed_while_down_is_read_at_once(stores: Stores) -> None:
    """And again in its turn, for what was left there."""
    now = wall_ms()
    lap_ms = 6_000
    missed = _timer(stores, "missed", now - 3_300, made_at_ms=now - 3_300)
    ahead = _timer(stores, "ahead", now - 3_300 + lap_ms)
    assert missed.partition == ahead.partition
    stores.put([missed, ahead])
    Runner(stores.settings(), "timers").run(until=lambda: len(stores.read(TARGET)) == 2)
    assert stores.read(TARGET) == [b"missed", b"ahead"]
    assert wall_ms() >= now - 3_300 + lap_ms


def test_what_is_no_timer_becomes_a_dead_letter(stores: Stores) -> None:
    """Undecodable bytes go to dead.timers; the next timer fires."""
    stores.put([Record(TIMERS, b"k", b"\xc1", 0), _timer(stores, "good", wall_ms())])
    Runner(stores.settings(), "timers").run(until=lambda: bool(stores.read(TARGET)))
    (letter,) = stores.decoded(DEAD_TIMERS, DeadLetter)
    assert letter.raw == b"\xc1"
