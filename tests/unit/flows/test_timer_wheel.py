"""The shape of the timer wheel: where a timer waits, and when that is read."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.timer_wheel import Wheel, release
from schemas.pipeline import DeadLetter, Timer
from schemas.stream import Record
from schemas.topics import TIMERS

T0 = 1_770_000_000_000
WHEEL = Wheel(slots=16, slot_ms=1_000, grace=2)  # 12 near slots of 1 s, 4 far ones of 3 s


@st.composite
def wheels(draw: st.DrawFn) -> Wheel:
    """Give any shape that settings allow."""
    slots = draw(st.integers(16, 160))
    grace = draw(st.integers(0, (slots - slots // 4) // 4))
    return Wheel(slots, draw(st.integers(1, 10_000)), grace)


NOW = st.integers(10**9, 10**9 + 10**7)


def timer(due_at_ms: int, name: str = "t") -> Timer:
    return Timer(name, due_at_ms, "chunks.low", b"k", name.encode())


def test_near_timers_lie_in_the_slot_of_their_due_time() -> None:
    """Slots follow each other and begin again after a lap."""
    assert WHEEL.reach == 7
    assert [WHEEL.place(ms, 8_000) for ms in (8_000, 8_999, 9_000, 12_000, 15_999)] == [
        8,
        8,
        9,
        0,
        3,
    ]


def test_what_is_due_beyond_a_lap_lies_in_a_far_slot() -> None:
    """In that of its due time, or in the farthest."""
    assert WHEEL.far_ms == 3_000
    assert [WHEEL.place(ms, 0) for ms in (8_000, 8_999, 9_000, 10**9)] == [14, 14, 14, 14]
    assert [WHEEL.place(ms, 9_000) for ms in (17_000, 18_000, 10**9)] == [13, 13, 13]
    assert Wheel(64, 1_000, 2).place(60_000, 0) == 48 + 5


def test_what_is_overdue_lies_in_the_slot_of_now() -> None:
    """Its own slot may be closed until the next lap."""
    assert WHEEL.place(1_000, 9_500) == 9


@settings(deadline=None)
@given(wheels(), NOW, st.integers(-(10**5), 10**8))
def test_a_timer_is_read_no_later_than_it_is_due(wheel: Wheel, now_ms: int, ahead_ms: int) -> None:
    """Its partition is open when it is due, in no turn before; a far one long before."""
    due_ms = now_ms + ahead_ms
    partition = wheel.place(due_ms, now_ms)
    turn = wheel.turn(partition, now_ms)
    if wheel.is_far(partition):
        assert not turn.is_open
        assert turn.next_ms <= due_ms
        opened = wheel.turn(partition, turn.next_ms - wheel.lead_ms)
        assert opened.is_open
        if due_ms < turn.next_ms + wheel.far_ms:
            assert not wheel.is_far(wheel.place(due_ms, turn.next_ms - wheel.lead_ms))
    elif turn.is_open:
        assert due_ms < turn.next_ms
    else:
        assert turn.next_ms <= due_ms < turn.next_ms + wheel.slot_ms
    assert wheel.turn(partition, max(now_ms, turn.next_ms)).is_open


@settings(deadline=None)
@given(wheels(), NOW, st.integers(0, 10**8))
def test_what_moves_on_never_comes_back_to_an_open_far_slot(
    wheel: Wheel, now_ms: int, ahead_ms: int
) -> None:
    """Else it would be read again at once, without end."""
    partition = wheel.place(now_ms + ahead_ms, now_ms)
    assert not wheel.is_far(partition) or partition not in wheel.open_slots(now_ms)


def test_a_timer_moves_once_in_hours_however_far_ahead() -> None:
    """With the default shape, one that is due in a week is written 30 times."""
    wheel, now_ms, due_ms, written = Wheel(480, 2_000, 30), T0, T0 + 7 * 86_400_000, 1
    assert wheel.lap_ms == 6 * 3_600_000
    while wheel.is_far(partition := wheel.place(due_ms, now_ms)):
        now_ms = wheel.turn(partition, now_ms).next_ms - wheel.lead_ms
        written += 1
    assert written == 30


@settings(deadline=None)
@given(wheels(), NOW)
def test_turns_agree_with_what_is_open(wheel: Wheel, now_ms: int) -> None:
    """The near slots of the grace, of now and the next, and the far ones of now and the next."""
    opened = {p for p in range(wheel.slots) if wheel.turn(p, now_ms).is_open}
    assert opened == wheel.open_slots(now_ms)
    assert sum(not wheel.is_far(p) for p in opened) == wheel.grace + 2
    assert 1 <= sum(wheel.is_far(p) for p in opened) <= 2
    (ahead,) = (p for p in range(wheel.near) if wheel.is_ahead(p, now_ms))
    assert ahead in opened


@settings(deadline=None)
@given(wheels(), NOW)
def test_a_turn_closed_when_it_was_last_open(wheel: Wheel, now_ms: int) -> None:
    """And not before: what is committed late is still read."""
    for partition in range(wheel.slots):
        turn = wheel.turn(partition, now_ms)
        before = wheel.turn(partition, turn.closed_at_ms - 1)
        assert turn.closed_at_ms <= now_ms
        assert before.is_open
        assert before.closed_at_ms < turn.closed_at_ms
        if not turn.is_open:
            assert not wheel.turn(partition, turn.closed_at_ms).is_open


def test_a_timer_becomes_a_record_on_its_slot() -> None:
    """Under its own key."""
    record = WHEEL.record(timer(T0 + 3_000), T0)
    assert (record.topic, record.key) == (TIMERS, b"k")
    assert record.partition == WHEEL.place(T0 + 3_000, T0)
    assert msgspec.msgpack.decode(record.value or b"", type=Timer) == timer(T0 + 3_000)


# -- release


def test_released_are_the_records_that_timers_hold() -> None:
    """Topic, key and value as they were put in."""
    due = Timer("a", T0, "chunks.low", b"k", b"v")
    assert release([due], T0, WHEEL) == [Record("chunks.low", b"k", b"v")]


def test_what_is_not_due_goes_back_on_the_wheel() -> None:
    """On its own slot."""
    ahead = timer(T0 + 20_000)
    assert release([ahead], T0, WHEEL) == [WHEEL.record(ahead, T0)]


def test_dead_letters_pass() -> None:
    """They have no due time."""
    letter = DeadLetter(TIMERS, 0, 1, "bad", b"", T0)
    assert release([letter], T0, WHEEL) == [letter]
