"""The timer wheel on Kafka: partitions are slots of due time, and only open slots are read.

A timer due at t lies in partition (t / slot) mod slots. The wheel reads the slots around now;
the others stay on disk, whatever the backlog. A timer due in a later lap waits in its slot, and
goes round again when the slot closes. Memory holds the open slots.

What has fired is remembered in the note beside the committed offset: "all with an offset below N
and due at or before T have fired". Timers fire in order of due time but lie in order of arrival,
so after a crash the slot is read again from its oldest timer still waiting, and the note tells
which of those that follow have fired.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import TopicPartition

from flows.checkpoint import Checkpoint
from flows.kafka import PART
from flows.lanes import Lane
from schemas import metrics
from schemas.pipeline import DeadLetter, Timer
from schemas.stream import Batch, Message, Position, Positions, Record
from schemas.topics import TIMERS

FIRED_PER_BATCH = 2_000
TICK_MS = 5
ALL = 2**63 - 1
MAX_AREAS = 16  # a note holds 4 KB

_decode = msgspec.msgpack.Decoder(Timer).decode
_encode = msgspec.msgpack.Encoder().encode


class Wheel(NamedTuple):
    """The wheel's shape.

    slot_ms: how long a slot is. grace: how many slots stay open behind now, which must cover the
    longest time between making a timer and committing it.
    """

    slots: int
    slot_ms: int
    grace: int

    def slot_of(self, due_at_ms: int) -> int:
        """Give the partition that a timer due then lies in."""
        return (due_at_ms // self.slot_ms) % self.slots

    def open_slots(self, now_ms: int) -> frozenset[int]:
        """Give the partitions to read: those of the grace, of now, and the next one."""
        at = now_ms // self.slot_ms
        return frozenset((at + d) % self.slots for d in range(-self.grace, 2))

    def ended_at_ms(self, partition: int, now_ms: int) -> int:
        """Give when this slot last closed, grace included: it had to be read by then."""
        at = now_ms // self.slot_ms - self.grace - 1
        return (at - (at - partition) % self.slots + 1) * self.slot_ms

    def record(self, timer: Timer) -> Record:
        """Put a timer on its slot."""
        return Record(TIMERS, timer.key, _encode(timer), self.slot_of(timer.due_at_ms))


class Area(NamedTuple):
    """Timers with an offset below `below` that were due before due_ms, or at due_ms up to `upto`.

    upto is an offset, too: many timers may be due in one millisecond.
    """

    due_ms: int
    below: int
    upto: int = ALL

    def holds(self, other: "Area") -> bool:
        """Tell whether all timers of the other are also in this one."""
        return other.below <= self.below and (other.due_ms, other.upto) <= (self.due_ms, self.upto)


class Fired:
    """The note beside an offset: which timers have fired, as areas that overlap.

    Mostly there is one. While a slot is read again after a crash, or late timers come, a newer area
    does not hold an older one; should there ever be too many, the oldest is forgotten, and a crash
    then could fire its timers again.
    """

    __slots__ = ("areas",)

    def __init__(self, areas: tuple[Area, ...] = ()) -> None:
        self.areas = areas

    @property
    def due_ms(self) -> int:
        """Up to which due time all that was read has fired; -1 when nothing has."""
        return min((area.due_ms for area in self.areas), default=-1)

    def covers(self, due_ms: int, offset: int) -> bool:
        """Tell whether this timer has fired already."""
        return any(
            offset < area.below and (due_ms, offset) <= (area.due_ms, area.upto)
            for area in self.areas
        )

    def add(self, area: Area) -> "Fired":
        """Give a note with one more area."""
        if any(known.holds(area) for known in self.areas):
            return self
        others = [known for known in self.areas if not area.holds(known)]
        return Fired((*others[1 - MAX_AREAS :], area))

    def as_note(self) -> str:
        """Write it down."""
        return ";".join(
            f"{area.due_ms}:{area.below}" + (f":{area.upto}" if area.upto != ALL else "")
            for area in self.areas
        )

    @classmethod
    def of_note(cls, note: str) -> "Fired":
        """Read it back; an empty note means that nothing has fired."""
        return cls(tuple(Area(*map(int, part.split(":"))) for part in note.split(";") if part))


class _Slot:
    """One partition's timers in memory."""

    __slots__ = ("arrived", "fired", "heap", "next_offset", "waiting")

    def __init__(self, at: Position) -> None:
        self.fired = Fired.of_note(at.note)
        self.next_offset = at.offset
        self.arrived: deque[int] = deque()
        self.heap: list[tuple[int, int, Timer]] = []
        self.waiting: set[int] = set()

    def add(self, timer: Timer, offset: int) -> None:
        self.next_offset = offset + 1
        if not self.fired.covers(timer.due_at_ms, offset):
            heapq.heappush(self.heap, (timer.due_at_ms, offset, timer))
            self.waiting.add(offset)
            self.arrived.append(offset)

    def pop_due(self, now_ms: int, limit: int) -> list[Timer]:
        """Take what is due, the oldest first, at most `limit`."""
        due: list[Timer] = []
        while self.heap and self.heap[0][0] <= now_ms and len(due) < limit:
            due_ms, offset, timer = heapq.heappop(self.heap)
            self.waiting.discard(offset)
            due.append(timer)
        if due:
            self.fired = self.fired.add(Area(due_ms, self.next_offset, offset))
        return due

    def pop_all(self) -> list[Timer]:
        timers = [timer for _, _, timer in self.heap]
        self.heap, self.waiting = [], set()
        self.arrived.clear()
        return timers

    def position(self) -> Position:
        """Where to read from after a crash: the oldest timer that still waits."""
        while self.arrived and self.arrived[0] not in self.waiting:
            self.arrived.popleft()
        oldest = self.arrived[0] if self.arrived else self.next_offset
        return Position(oldest, self.fired.as_note())


class TimerSource(FixedPartitionedSource[Batch, None]):
    """Reads open slots and gives timers as they come due, and those that go round again."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        wheel: Wheel,
        *,
        now_ms: Callable[[], int],
        stopped: Callable[[], bool],
        heartbeat: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self.checkpoint, self.wheel = checkpoint, wheel
        self.now_ms, self.stopped, self.heartbeat = now_ms, stopped, heartbeat

    def list_parts(self) -> list[str]:
        """One: the process."""
        return [PART]

    def build_part(self, _step: str, _part: str, _state: None) -> "TimerPart":
        """Join the group."""
        return TimerPart(self)


class TimerPart(StatefulSourcePartition[Batch, None]):
    """The wheel at work."""

    def __init__(self, source: TimerSource) -> None:
        self._source = source
        self._wheel = source.wheel
        self._checkpoint = source.checkpoint
        self._slots: dict[int, _Slot] = {}
        self._paused: frozenset[int] = frozenset()
        # Partitions that must be read to their end before they may close.
        self._behind: set[int] = set()
        self._ended: set[int] = set()
        self._now_ms = 0
        self._generation = 0
        self._checkpoint.after_assign = self._assigned
        self._checkpoint.lanes.on_end = lambda _topic, partition: self._ended.add(partition)
        self._checkpoint.open()

    def next_batch(self) -> Iterable[Batch]:
        """Read what has arrived, then give what is due."""
        source, checkpoint = self._source, self._checkpoint
        if source.stopped():
            raise StopIteration
        # Never backwards: what was due once stays due.
        now_ms = self._now_ms = max(self._now_ms, source.now_ms())
        found = checkpoint.lanes.read(idle_s=0)
        if self._generation != checkpoint.generation:
            self._start_over()
        letters = self._take(found[1], now_ms) if found else []
        # An end is told while reading, before what came with it is taken.
        self._behind -= self._ended
        self._ended.clear()
        self._turn(now_ms)
        items, positions = self._due(now_ms)
        for letter in letters:  # committed with its position, so that it is not written again
            slot = self._slots.get(letter.partition)
            if slot is not None:
                positions[0, TIMERS, letter.partition] = slot.position()
        source.heartbeat(len(items))
        metrics.TIMERS_WAITING.set(self.waiting())
        if not items and not letters and not positions:
            return []
        return [Batch([*letters, *items], now_ms, checkpoint.generation, positions)]

    def next_awake(self) -> datetime | None:
        """Wake in a few milliseconds: timers need no more."""
        return datetime.now(UTC) + timedelta(milliseconds=TICK_MS)

    def snapshot(self) -> None:
        """Nothing: positions ride with the batches."""

    def waiting(self) -> int:
        """Count the timers in memory."""
        return sum(len(slot.heap) for slot in self._slots.values())

    def _assigned(self, _lane: Lane, partitions: Sequence[TopicPartition]) -> None:
        self._paused = frozenset()  # look again at the next turn
        now_ms = self._source.now_ms()
        for tp in partitions:
            self._slots.pop(tp.partition, None)
            if self._missed(tp.partition, now_ms):
                self._behind.add(tp.partition)

    def _start_over(self) -> None:
        self._slots = {}
        self._paused = frozenset()
        self._generation = self._checkpoint.generation

    def _committed(self, partition: int) -> Position:
        lane = self._checkpoint.lanes.lanes[0]
        return lane.committed.get((TIMERS, partition), Position(0))

    def _missed(self, partition: int, now_ms: int) -> bool:
        """Tell whether this slot's time came while nobody read it."""
        seen_ms = Fired.of_note(self._committed(partition).note).due_ms
        return seen_ms < self._wheel.ended_at_ms(partition, now_ms)

    def _slot(self, partition: int) -> _Slot:
        slot = self._slots.get(partition)
        if slot is None:
            slot = self._slots[partition] = _Slot(self._committed(partition))
        return slot

    def _take(self, messages: Sequence[Message], now_ms: int) -> list[DeadLetter]:
        letters = []
        for message in messages:
            partition, offset = message.partition(), message.offset()
            raw = message.value() or b""
            slot = self._slot(partition)
            self._behind.add(partition)
            try:
                slot.add(_decode(raw), offset)
            except msgspec.MsgspecError as error:
                slot.next_offset = offset + 1
                letters.append(DeadLetter(TIMERS, partition, offset, str(error), raw, now_ms))
        return letters

    def _turn(self, now_ms: int) -> None:
        """Pause the slots that are closed and resume those that open."""
        lane = self._checkpoint.lanes.lanes[0]
        mine = {tp.partition for tp in lane.consumer.assignment()}
        self._behind &= mine
        closed = frozenset(mine - self._wheel.open_slots(now_ms) - self._behind)
        if closed == self._paused:
            return
        to_pause = [TopicPartition(TIMERS, p) for p in closed - self._paused]
        to_resume = [TopicPartition(TIMERS, p) for p in (self._paused - closed) & mine]
        if to_pause:
            lane.consumer.pause(to_pause)
        if to_resume:
            lane.consumer.resume(to_resume)
        for tp in to_resume:
            self._slot(tp.partition)  # so that its closing is noted, also when nothing lies there
        self._paused = closed

    def _due(self, now_ms: int) -> tuple[list[Timer], Positions]:
        """Give what is due, and from closed slots what goes round again."""
        items: list[Timer] = []
        positions: Positions = {}
        for partition, slot in list(self._slots.items()):
            room = FIRED_PER_BATCH - len(items)
            if room <= 0:
                break
            popped = slot.pop_due(now_ms, room)
            if not slot.heap or slot.heap[0][0] > now_ms:  # all that is due has been taken
                slot.fired = slot.fired.add(Area(now_ms, slot.next_offset))
                if partition in self._paused:
                    popped += slot.pop_all()
                    positions[0, TIMERS, partition] = slot.position()
                    del self._slots[partition]
            if popped:
                items += popped
                positions[0, TIMERS, partition] = slot.position()
        return items, positions


def release(
    timers: list[Timer | DeadLetter], now_ms: int, wheel: Wheel
) -> list[Record | DeadLetter]:
    """Give the record of each timer that is due, and put the others back on the wheel."""
    return [
        item
        if isinstance(item, DeadLetter)
        else Record(item.topic, item.key, item.value)
        if item.due_at_ms <= now_ms
        else wheel.record(item)
        for item in timers
    ]
