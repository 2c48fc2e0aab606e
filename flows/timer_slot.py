"""One partition's timers in memory: those to fire in this turn, and where reading goes on."""

import heapq

import msgspec

from flows.timer_note import MANY_AREAS, Area, Fired, Note
from schemas.pipeline import Timer
from schemas.stream import Position

OVERHEAD_BYTES = 240  # of a timer in memory: its bytes object, a tuple, two integers, a heap entry
TRIM_AT = 65_536
WAITS, IS_DONE = b"\x00", b"\x01"

_decode = msgspec.msgpack.Decoder(Timer).decode


class Slot:
    """What was read of a partition and has not fired.

    A timer is kept as the bytes it came in: as objects it takes a third more. Timers of a later
    turn are left where they lie: only their offset holds the position back, and the slot is read
    again from there when their turn comes.
    """

    __slots__ = (
        "_base",
        "_done",
        "_waiting",
        "bytes",
        "fired",
        "heap",
        "is_fresh",
        "left_until_ms",
        "next_offset",
        "read_ms",
        "saw_end",
        "seen_ms",
    )

    def __init__(self, at: Position) -> None:
        self.read_ms, self.fired = Note.of_text(at.note)
        self.next_offset = self._base = at.offset
        self.seen_ms = -1
        self.left_until_ms = 0
        self.saw_end = False
        self.is_fresh = True  # nothing of it has been seen
        self.heap: list[tuple[int, int, bytes]] = []
        self.bytes = 0
        # A byte for each offset since _base; with an object for each, this took more than the heap.
        self._done = bytearray()
        self._waiting = 0

    @property
    def may_fire(self) -> bool:
        """Tell whether firing keeps the note short.

        After many crashes in a row while the slot was read again, it is first read to where the
        processes before had come.
        """
        return (
            len(self.fired.areas) < MANY_AREAS
            or self.saw_end
            or self.next_offset >= self.fired.below
        )

    def end(self) -> None:
        """Note that it was read to its end."""
        self.saw_end, self.is_fresh = True, False

    def settle(self, offset: int) -> None:
        """Pass over one that is dealt with."""
        self._see(offset, IS_DONE)

    def leave(self, offset: int, until_ms: int) -> None:
        """Pass over one of a later turn, which begins then."""
        self._see(offset, WAITS)
        self.left_until_ms = self.left_until_ms or until_ms

    def must_go_back(self, next_ms: int) -> bool:
        """Tell whether some were left for a turn that has come. next_ms: the turn after it."""
        return 0 < self.left_until_ms < next_ms

    def hold(self, due_ms: int, offset: int, raw: bytes) -> None:
        """Keep one of this turn."""
        self._see(offset, WAITS)
        heapq.heappush(self.heap, (due_ms, offset, raw))
        self.bytes += len(raw) + OVERHEAD_BYTES

    def is_due(self, now_ms: int) -> bool:
        """Tell whether one that is due waits here."""
        return bool(self.heap) and self.heap[0][0] <= now_ms

    def pop_due(self, now_ms: int, limit: int) -> list[Timer]:
        """Take what is due, the oldest first, at most `limit`."""
        due: list[Timer] = []
        heap, done, base = self.heap, self._done, self._base
        while heap and heap[0][0] <= now_ms and len(due) < limit:
            due_ms, offset, raw = heapq.heappop(heap)
            done[offset - base] = 1
            self.bytes -= len(raw) + OVERHEAD_BYTES
            due.append(_decode(raw))
        self._waiting -= len(due)
        if due:
            self.fired = self.fired.add(Area(due_ms, self.next_offset, offset))
        return due

    def claim(self, due_ms: int) -> None:
        """Note that all which was read and due by then has been given."""
        self.fired = self.fired.add(Area(due_ms, self.next_offset))

    def position(self) -> Position:
        """Where to read from after a crash: the oldest timer that still waits.

        While timers of this turn wait, the slot does not count as read.
        """
        if not self.heap:
            self.read_ms = max(self.read_ms, self.seen_ms)
        if not self._waiting:
            oldest = self.next_offset
            if oldest >= self.fired.below:
                self.fired = Fired()  # nothing is read again, so there is nothing to tell apart
        else:
            first = self._done.find(WAITS)
            oldest = self._base + first
            if first > TRIM_AT:
                del self._done[:first]
                self._base = oldest
        return Position(oldest, Note(self.read_ms, self.fired).as_text())

    def _see(self, offset: int, mark: bytes) -> None:
        if not self._waiting:
            self._base = offset
            self._done.clear()
        elif offset > self.next_offset:  # ends of transactions take offsets, too
            self._done += IS_DONE * (offset - self.next_offset)
        self._done += mark
        self._waiting += mark == WAITS
        self.next_offset = offset + 1
        self.is_fresh = False
