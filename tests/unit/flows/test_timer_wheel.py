"""The timer wheel: each timer fires once and in time, whatever crashes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from confluent_kafka import TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import timer_wheel
from flows.timer_wheel import ALL, MAX_AREAS, Area, Fired, TimerSource, Wheel, _Slot, release
from schemas.pipeline import DeadLetter, Timer
from schemas.stream import Batch, Position, Positions, Record
from schemas.topics import TIMERS

T0 = 1_770_000_000_000
WHEEL = Wheel(slots=8, slot_ms=1_000, grace=2)
TURN_MS = 250
Log = dict[int, list[bytes]]
Committed = dict[tuple[str, int], Position]


def timer(due_at_ms: int, name: str = "t") -> Timer:
    return Timer(name, due_at_ms, "target", b"k", name.encode())


class FakeMessage(NamedTuple):
    of: int
    at: int
    raw: bytes

    def partition(self) -> int:
        return self.of

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.raw


class FakeConsumer:
    """A consumer of all slots, as far as the wheel needs one."""

    def __init__(self, log: Log, committed: Committed) -> None:
        self.log = log
        self.at = {p: committed.get((TIMERS, p), Position(0)).offset for p in range(WHEEL.slots)}
        self.paused: set[int] = set()
        self.told_end: set[int] = set()

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TIMERS, p) for p in self.at]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= {tp.partition for tp in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused -= {tp.partition for tp in partitions}


class FakeLanes:
    """The one lane of the timers topic; as in flows/lanes.py, ends are told within read."""

    def __init__(self, log: Log, committed: Committed) -> None:
        self.consumer = FakeConsumer(log, committed)
        self.committed = committed
        self.lanes = [self]
        self.on_end: Any = None

    def read(self, *, idle_s: float) -> tuple[Any, list[FakeMessage]] | None:
        assert idle_s == 0
        consumer, found = self.consumer, []
        for partition, at in consumer.at.items():
            if partition in consumer.paused:
                continue
            new = consumer.log[partition][at:][:3]
            found += [FakeMessage(partition, at + n, raw) for n, raw in enumerate(new)]
            consumer.at[partition] += len(new)
            if new:
                consumer.told_end.discard(partition)
            if consumer.at[partition] == len(consumer.log[partition]):
                if partition not in consumer.told_end:
                    self.on_end(TIMERS, partition)
                consumer.told_end.add(partition)
        return (self, found) if found else None


class FakeCheckpoint:
    """Assigns all slots when opened."""

    generation = 0

    def __init__(self, lanes: FakeLanes) -> None:
        self.lanes = lanes
        self.after_assign: Any = None

    def open(self) -> None:
        self.after_assign(self.lanes, self.lanes.consumer.assignment())


class World:
    """A topic, a clock, and a process that can die; what it wrote counts once committed."""

    def __init__(self) -> None:
        self.now_ms = T0
        self.log: Log = defaultdict(list)
        self.committed: Committed = {}
        self.fired: list[tuple[str, int]] = []
        self.letters: list[DeadLetter] = []
        self.start()

    def start(self) -> None:
        """Begin a process at what is committed; another's uncommitted work is gone."""
        self.records: list[Any] = []
        self.positions: Positions = {}
        self.lanes = FakeLanes(self.log, dict(self.committed))
        source = TimerSource(
            FakeCheckpoint(self.lanes),  # type: ignore[arg-type]
            WHEEL,
            now_ms=lambda: self.now_ms,
            stopped=lambda: False,
        )
        self.part = source.build_part("", "", None)

    def arrive(self, one: Timer) -> None:
        record = WHEEL.record(one)
        self.log[record.partition].append(record.value or b"")

    def turn(self) -> None:
        for batch in self.part.next_batch():
            assert isinstance(batch, Batch)
            self.records += release(batch.items, batch.now_ms, WHEEL)
            self.positions.update(batch.positions)

    def commit(self) -> None:
        for record in self.records:
            if isinstance(record, DeadLetter):
                self.letters.append(record)
            elif record.topic == TIMERS:
                self.log[record.partition].append(record.value or b"")
            else:
                self.fired.append(((record.value or b"").decode(), self.now_ms))
        for (_, topic, partition), position in self.positions.items():
            self.committed[topic, partition] = position
            self.lanes.committed[topic, partition] = position
        self.records, self.positions = [], {}

    def run_until(self, end_ms: int) -> None:
        while self.now_ms < end_ms:
            self.turn()
            self.commit()
            self.now_ms += TURN_MS


# -- the wheel's shape


def test_a_timer_lies_in_the_slot_of_its_due_time() -> None:
    """Slots follow each other and begin again after a lap."""
    wheel = Wheel(slots=4, slot_ms=1_000, grace=1)
    assert [wheel.slot_of(ms) for ms in (0, 999, 1_000, 3_999, 4_000)] == [0, 0, 1, 3, 0]


def test_a_timer_becomes_a_record_on_its_slot() -> None:
    """Under its own key."""
    record = WHEEL.record(timer(T0 + 3_000))
    assert (record.topic, record.key) == (TIMERS, b"k")
    assert record.partition == WHEEL.slot_of(T0 + 3_000)
    assert msgspec.msgpack.decode(record.value or b"", type=Timer) == timer(T0 + 3_000)


def test_open_are_the_grace_now_and_the_next() -> None:
    """Over the end of a lap, too."""
    wheel = Wheel(slots=8, slot_ms=1_000, grace=2)
    assert wheel.open_slots(8_500) == {6, 7, 0, 1}


@given(st.integers(2, 64), st.integers(1, 10_000), st.integers(0, 8), st.integers(0, 10**7))
def test_a_slot_was_open_until_it_closed(slots: int, slot_ms: int, grace: int, now_ms: int) -> None:
    """ended_at is the end of its last closed time: not open since, unless in a newer lap."""
    wheel = Wheel(slots, slot_ms, grace)
    for partition in range(slots):
        ended_ms = wheel.ended_at_ms(partition, now_ms)
        assert wheel.slot_of(ended_ms - 1) == partition
        assert ended_ms + grace * slot_ms <= now_ms
        assert ended_ms + (grace + slots) * slot_ms > now_ms


# -- the note


AREAS = st.builds(
    Area, st.integers(0, 6), st.integers(0, 6), st.one_of(st.just(ALL), st.integers(0, 6))
)


def noted(*areas: Area) -> Fired:
    fired = Fired()
    for area in areas:
        fired = fired.add(area)
    return fired


@given(st.lists(AREAS, max_size=8))
def test_a_note_is_read_back(areas: list[Area]) -> None:
    """Written beside an offset."""
    fired = noted(*areas)
    assert Fired.of_note(fired.as_note()).areas == fired.areas


def test_a_note_of_a_release_that_knew_one_area_is_read() -> None:
    """Due time and offset."""
    assert Fired.of_note("100:10").areas == (Area(100, 10),)


def test_no_note_means_that_nothing_has_fired() -> None:
    """Not even what was due at the epoch."""
    assert Fired.of_note("").due_ms == -1
    assert not Fired().covers(0, 0)


@pytest.mark.parametrize(
    ("due_ms", "offset", "covered"),
    [(99, 9, True), (100, 4, True), (100, 5, False), (101, 0, False), (99, 10, False)],
)
def test_what_a_note_covers(due_ms: int, offset: int, *, covered: bool) -> None:
    """Offsets below 10 due before 100, and at 100 up to offset 4."""
    assert noted(Area(100, 10, 4)).covers(due_ms, offset) is covered


@given(st.lists(AREAS, max_size=8), st.integers(0, 6), st.integers(0, 6))
def test_a_note_covers_what_any_of_its_areas_does(
    areas: list[Area], due_ms: int, offset: int
) -> None:
    """Leaving out the ones that others hold loses nothing."""
    assert noted(*areas).covers(due_ms, offset) is any(
        noted(area).covers(due_ms, offset) for area in areas
    )


def test_a_note_is_bounded() -> None:
    """It must fit beside an offset."""
    fired = noted(*(Area(10**13 - n, 10**15 + n, 10**15) for n in range(99)))
    assert len(fired.areas) == MAX_AREAS
    assert len(fired.as_note()) < 4_096
    assert fired.covers(10**13 - 98, 10**15)


# -- one slot


def slot_of(*due: int, at: Position | None = None) -> _Slot:
    slot = _Slot(at or Position(0))
    for offset, due_ms in enumerate(due, start=slot.next_offset):
        slot.add(timer(due_ms, str(offset)), offset)
    return slot


def names(timers: list[Timer]) -> list[str]:
    return [one.timer_id for one in timers]


def test_what_is_due_comes_in_order_of_due_time() -> None:
    """Not of arrival; the rest waits."""
    slot = slot_of(30, 10, 20, 99)
    assert names(slot.pop_due(50, 10)) == ["1", "2", "0"]
    assert slot.position().offset == 3


def test_reading_goes_on_from_the_oldest_that_waits() -> None:
    """Or from the end, when none does."""
    slot = slot_of(99, 10, 20)
    slot.pop_due(50, 10)
    assert slot.position().offset == 0
    slot.pop_due(100, 10)
    assert slot.position().offset == 3


@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(0, 3)), max_size=8),
)
def test_after_a_crash_a_slot_gives_exactly_what_it_had_not_given(
    due: list[int], turns: list[tuple[int, int, int]]
) -> None:
    """Many due in one millisecond, late ones, small batches; a crash at every single commit."""
    log: list[Timer] = []
    slot, given_out, now_ms = _Slot(Position(0)), Counter[str](), 0
    arrivals = iter(due)
    for wait_ms, limit, arriving in turns:
        for due_ms in [next(arrivals, None) for _ in range(arriving)]:
            if due_ms is not None:
                log.append(timer(due_ms, str(len(log))))
                slot.add(log[-1], len(log) - 1)
        now_ms += wait_ms
        given_out.update(names(slot.pop_due(now_ms, limit)))
        position = slot.position()  # committed with what was given out; then the process dies
        slot = _Slot(position)
        for offset in range(position.offset, len(log)):
            slot.add(log[offset], offset)
    given_out.update(names(slot.pop_due(99, 99)))
    assert given_out == Counter(one.timer_id for one in log)


def test_a_batch_may_end_among_timers_due_in_one_millisecond() -> None:
    """However many there are, a batch stays small."""
    slot = slot_of(10, 10, 10, 10)
    assert names(slot.pop_due(50, 2)) == ["0", "1"]
    again = slot_of(10, 10, 10, 10, at=Position(0, slot.position().note))
    assert names(again.pop_due(50, 9)) == ["2", "3"]


def test_a_closing_slot_gives_all() -> None:
    """Those of a later lap go round again."""
    slot = slot_of(10, 9_999)
    slot.pop_due(50, 10)
    assert names(slot.pop_all()) == ["1"]
    assert slot.position().offset == 2


# -- release


def test_released_are_the_records_that_timers_hold() -> None:
    """Topic, key and value as they were put in."""
    due = Timer("a", T0, "chunks.low", b"k", b"v")
    assert release([due], T0, WHEEL) == [Record("chunks.low", b"k", b"v")]


def test_what_is_not_due_goes_back_on_the_wheel() -> None:
    """On its own slot."""
    ahead = timer(T0 + 20_000)
    assert release([ahead], T0, WHEEL) == [WHEEL.record(ahead)]


def test_dead_letters_pass() -> None:
    """They have no due time."""
    letter = DeadLetter(TIMERS, 0, 1, "bad", b"", T0)
    assert release([letter], T0, WHEEL) == [letter]


# -- the whole


def test_a_timer_fires_at_its_turn_and_not_before() -> None:
    """Also one that lies laps ahead, beside one of its slot."""
    world = World()
    for name, due_ms in {"soon": 1_100, "lap": 9_100, "laps": 25_100}.items():
        world.arrive(timer(T0 + due_ms, name))
    world.run_until(T0 + 30_000)
    assert world.fired == [("soon", T0 + 1_250), ("lap", T0 + 9_250), ("laps", T0 + 25_250)]


def test_a_slot_missed_while_down_is_read_at_once() -> None:
    """It does not wait for the next lap."""
    world = World()
    world.run_until(T0 + 20_000)
    world.arrive(timer(T0 + 22_000, "missed"))
    world.now_ms += 7_000
    world.start()
    world.run_until(world.now_ms + 1_000)
    assert [name for name, _ in world.fired] == ["missed"]


def test_what_is_no_timer_becomes_a_dead_letter() -> None:
    """And the next one fires."""
    world = World()
    world.log[WHEEL.slot_of(T0)].append(b"\xc1")
    world.arrive(timer(T0, "good"))
    world.run_until(T0 + 1_000)
    assert [(one.offset, one.raw) for one in world.letters] == [(0, b"\xc1")]
    assert [name for name, _ in world.fired] == ["good"]


EVENTS = st.one_of(
    st.tuples(st.just("turn")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("down"), st.integers(1, 30)),
    st.tuples(
        st.just("arrive"),
        st.lists(
            st.sampled_from([-1_500, -200, 0, 100, 100, 900, 5_000, 9_000, 20_000]),
            min_size=1,
            max_size=6,
        ),
    ),
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(EVENTS, max_size=60))
@pytest.mark.parametrize("at_once", [2, 2_000])
def test_every_timer_fires_once_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, at_once: int, events: list[tuple[Any, ...]]
) -> None:
    """Arrivals, commits, crashes and down times in any order, in small batches and large ones."""
    monkeypatch.setattr(timer_wheel, "FIRED_PER_BATCH", at_once)
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
        else:
            world.now_ms += 1_000 * (more[0] if more else 0)
            world.start()
    world.run_until(world.now_ms + 50_000)
    assert Counter(name for name, _ in world.fired) == Counter(due.keys())
    assert all(at_ms >= due[name] for name, at_ms in world.fired)


def test_only_open_slots_are_read() -> None:
    """Memory holds the open slots, also after timers for all the others have come."""
    world = World()
    world.run_until(T0 + 20_000)
    for n in range(200):
        world.arrive(timer(world.now_ms + 100_000 + n * 37, f"x{n}"))
        if n % 5 == 0:
            world.run_until(world.now_ms + TURN_MS)
    world.run_until(world.now_ms + 9_000)
    paused = world.lanes.consumer.paused
    assert set(range(WHEEL.slots)) - paused == WHEEL.open_slots(world.now_ms - TURN_MS)


def test_a_dead_letter_is_not_written_again_after_a_crash() -> None:
    """Its position is committed with it."""
    world = World()
    world.log[WHEEL.slot_of(T0)].append(b"\xc1")
    world.turn()
    world.commit()
    world.start()
    world.run_until(T0 + 1_000)
    assert len(world.letters) == 1
