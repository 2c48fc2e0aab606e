"""The note beside a committed offset of the timers topic: what has fired, and what was read when.

Timers fire in order of due time but lie in order of arrival, so a slot's offset is that of its
oldest timer still waiting, and many that follow have fired. The note tells them apart after a
crash: "all with an offset below N and due at or before T have fired".
"""

from typing import NamedTuple

ALL = 2**63 - 1
MANY_AREAS = 8  # then a slot is first read to where it had been, which leaves one area


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
    """Which timers have fired, as areas that overlap.

    There are one or two while a process lives: all that was due once, and what has fired since.
    A slot that is read again after a crash adds to those of the process before, which had read
    farther but not fired as late ones.
    """

    __slots__ = ("areas",)

    def __init__(self, areas: tuple[Area, ...] = ()) -> None:
        self.areas = areas

    @property
    def below(self) -> int:
        """How far the slot has been read, by any process that fired from it."""
        return max((area.below for area in self.areas), default=0)

    def covers(self, due_ms: int, offset: int) -> bool:
        """Tell whether this timer has fired already."""
        return any(
            offset < area.below and (due_ms, offset) <= (area.due_ms, area.upto)
            for area in self.areas
        )

    def add(self, area: Area) -> "Fired":
        """Give what has fired with one more area."""
        if any(known.holds(area) for known in self.areas):
            return self
        return Fired((*(known for known in self.areas if not area.holds(known)), area))


class Note(NamedTuple):
    """read_ms: when the partition was last known to be read to its end; -1 for never."""

    read_ms: int = -1
    fired: Fired = Fired()

    def as_text(self) -> str:
        """Write it down."""
        areas = (
            f"{area.due_ms}:{area.below}" + (f":{area.upto}" if area.upto != ALL else "")
            for area in self.fired.areas
        )
        return ";".join((str(self.read_ms), *areas))

    @classmethod
    def of_text(cls, text: str) -> "Note":
        """Read it back; an empty text means that nothing was read and nothing has fired."""
        if not text:
            return cls()
        first, *areas = text.split(";")
        return cls(int(first), Fired(tuple(Area(*map(int, area.split(":"))) for area in areas)))
