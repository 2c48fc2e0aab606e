"""One slot of the timer wheel: what it gives, and from where it is read again."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import timer_slot
from flows.timer_note import ALL, MANY_AREAS, Area, Fired, Note
from flows.timer_slot import Slot
from schemas.pipeline import Timer
from schemas.stream import Position

AREAS = st.builds(
    Area, st.integers(0, 6), st.integers(0, 6), st.one_of(st.just(ALL), st.integers(0, 6))
)


def noted(*areas: Area) -> Fired:
    fired = Fired()
    for area in areas:
        fired = fired.add(area)
    return fired


# -- the note


@settings(deadline=None)
@given(st.lists(AREAS, max_size=8), st.integers(-1, 9))
def test_a_note_is_read_back(areas: list[Area], read_ms: int) -> None:
    """Written beside an offset."""
    fired = noted(*areas)
    again = Note.of_text(Note(read_ms, fired).as_text())
    assert (again.read_ms, again.fired.areas) == (read_ms, fired.areas)


def test_no_note_means_that_nothing_has_fired() -> None:
    """Not even what was due at the epoch."""
    assert Note.of_text("").read_ms == -1
    assert not Note.of_text("").fired.covers(0, 0)


@pytest.mark.parametrize(
    ("due_ms", "offset", "covered"),
    [(99, 9, True), (100, 4, True), (100, 5, False), (101, 0, False), (99, 10, False)],
)
def test_what_a_note_covers(due_ms: int, offset: int, *, covered: bool) -> None:
    """Offsets below 10 due before 100, and at 100 up to offset 4."""
    assert noted(Area(100, 10, 4)).covers(due_ms, offset) is covered


@settings(deadline=None)
@given(st.lists(AREAS, max_size=8), st.integers(0, 6), st.integers(0, 6))
def test_a_note_covers_what_any_of_its_areas_does(
    areas: list[Area], due_ms: int, offset: int
) -> None:
    """Leaving out the ones that others hold loses nothing."""
    assert noted(*areas).covers(due_ms, offset) is any(
        noted(area).covers(due_ms, offset) for area in areas
    )


# -- one slot


def hold(slot: Slot, due_ms: int, offset: int) -> None:
    slot.position()  # asked at any time, it changes nothing
    if slot.fired.covers(due_ms, offset):
        slot.settle(offset)
    else:
        one = Timer(str(offset), due_ms, "target", b"k", b"v")
        slot.hold(due_ms, offset, msgspec.msgpack.encode(one))


def slot_of(*due: int, at: Position | None = None) -> Slot:
    slot = Slot(at or Position(0))
    for offset, due_ms in enumerate(due, start=slot.next_offset):
        hold(slot, due_ms, offset)
    return slot


def names(timers: list[Timer]) -> list[str]:
    return [one.timer_id for one in timers]


def test_what_is_due_comes_in_order_of_due_time() -> None:
    """Not of arrival; the rest waits."""
    slot = slot_of(30, 10, 20, 99)
    assert names(slot.pop_due(50, 10)) == ["1", "2", "0"]
    assert slot.position().offset == 3


def test_reading_goes_on_from_the_oldest_that_waits() -> None:
    """Or from the end, when none does; then there is nothing to note."""
    slot = slot_of(99, 10, 20)
    slot.pop_due(50, 10)
    assert slot.position().offset == 0
    slot.pop_due(100, 10)
    assert slot.position() == Position(3, "-1")


def test_what_is_left_for_a_later_turn_holds_the_position_back() -> None:
    """Until that turn has come; it takes no memory."""
    slot = slot_of(10)
    slot.leave(1, until_ms=500)
    slot.leave(2, until_ms=500)
    slot.pop_due(50, 10)
    assert slot.position().offset == 1
    assert slot.bytes == 0
    assert not slot.must_go_back(500)
    assert slot.must_go_back(600)


def test_ends_of_transactions_take_offsets() -> None:
    """They are no timers, so positions pass over them."""
    slot = Slot(Position(0))
    for offset, due_ms in {5: 20, 7: 10, 11: 30}.items():
        hold(slot, due_ms, offset)
    assert names(slot.pop_due(10, 9)) == ["7"]
    assert slot.position().offset == 5
    assert names(slot.pop_due(20, 9)) == ["5"]
    assert slot.position().offset == 11


def test_a_long_slot_forgets_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions stay right."""
    monkeypatch.setattr(timer_slot, "TRIM_AT", 2)
    slot = slot_of(*range(10))
    for now_ms in range(9):
        assert names(slot.pop_due(now_ms, 9)) == [str(now_ms)]
        assert slot.position().offset == now_ms + 1
    hold(slot, 99, 10)
    assert slot.position().offset == 9


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(0, 3)), max_size=8),
)
def test_after_a_crash_a_slot_gives_exactly_what_it_had_not_given(
    due: list[int], turns: list[tuple[int, int, int]]
) -> None:
    """Many due in one millisecond, late ones, small batches; a crash at every single commit."""
    log: list[int] = []
    slot, given_out, now_ms = Slot(Position(0)), Counter[str](), 0
    arrivals = iter(due)
    for wait_ms, limit, arriving in turns:
        for due_ms in [next(arrivals, None) for _ in range(arriving)]:
            if due_ms is not None:
                log.append(due_ms)
                hold(slot, due_ms, len(log) - 1)
        now_ms += wait_ms
        given_out.update(names(slot.pop_due(now_ms, limit)))
        # Committed with what was given out; then the process dies.
        slot = slot_of(at=slot.position())
        for offset in range(slot.next_offset, len(log)):
            hold(slot, log[offset], offset)
    given_out.update(names(slot.pop_due(99, 99)))
    assert given_out == Counter(str(offset) for offset in range(len(log)))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=80))
def test_a_note_stays_short_however_often_it_is_read_again(
    turns: list[tuple[int, int]],
) -> None:
    """After many crashes in a row nothing fires until the slot is read to where it had been."""
    log = [10_000, *range(200)]
    at, now_ms = Position(0), 0
    for read, wait_ms in turns:
        slot, now_ms = slot_of(at=at), now_ms + wait_ms
        for offset in range(at.offset, min(at.offset + read, len(log))):
            hold(slot, log[offset], offset)
        if slot.may_fire:
            slot.pop_due(now_ms, 3)
            if not slot.is_due(now_ms):
                slot.claim(now_ms)
        at = slot.position()
        assert at.note.count(";") <= MANY_AREAS + 1
        assert len(at.note) < 4_096


def test_a_slot_read_to_its_end_may_fire() -> None:
    """What it was read to before may be gone."""
    note = Note(5, noted(*(Area(n, 99 - n) for n in range(MANY_AREAS))))
    slot = Slot(Position(0, note.as_text()))
    assert not slot.may_fire
    slot.end()
    assert slot.may_fire


def test_a_batch_may_end_among_timers_due_in_one_millisecond() -> None:
    """However many there are, a batch stays small."""
    slot = slot_of(10, 10, 10, 10)
    assert names(slot.pop_due(50, 2)) == ["0", "1"]
    again = slot_of(10, 10, at=slot.position())
    assert names(again.pop_due(50, 9)) == ["2", "3"]
