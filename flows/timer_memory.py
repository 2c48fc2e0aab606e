"""What the timer wheel holds in memory, and how much more it may."""

from collections.abc import Callable

from flows.timer_note import Note
from flows.timer_slot import Slot
from schemas.stream import Position

HELD_BYTES = 96 * 2**20  # of timers in memory; near slots are not read on beyond it
AHEAD_BYTES = HELD_BYTES * 2 // 3  # the slot after now leaves room for that of now
REOPENS_AT = 0.75  # of a limit: to pause and resume a partition costs what was fetched of it


class _Gate:
    """Shuts at a limit and opens again well below it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.is_shut = False

    def look(self, held: int) -> None:
        self.is_shut = held >= self._limit * (REOPENS_AT if self.is_shut else 1)


class Memory:
    """The slots that were looked at. committed: gives where reading of a partition goes on."""

    def __init__(self, committed: Callable[[int], Position]) -> None:
        self.committed = committed
        self._is_full, self._is_ahead_full = _Gate(HELD_BYTES), _Gate(AHEAD_BYTES)
        self.slots: dict[int, Slot] = {}
        self.holding: set[int] = set()  # slots with timers in memory

    def slot(self, partition: int) -> Slot:
        """Give a slot, at what is committed when it was not looked at before."""
        slot = self.slots.get(partition)
        if slot is None:
            slot = self.slots[partition] = Slot(self.committed(partition))
        return slot

    def read_ms(self, partition: int) -> int:
        """Give when a partition is known to have been read to its end, -1 for never."""
        return Note.of_text(self.committed(partition).note).read_ms

    def go_back(self, partition: int, at: Position) -> None:
        """Forget what was read of a slot since there."""
        self.slots[partition] = Slot(at)
        self.holding.discard(partition)

    def forget(self, partition: int) -> None:
        """Forget a slot."""
        self.slots.pop(partition, None)
        self.holding.discard(partition)

    def clear(self) -> None:
        """Forget all slots."""
        self.slots.clear()
        self.holding.clear()

    def waiting(self) -> int:
        """Count the timers in memory."""
        return sum(len(self.slots[p].heap) for p in self.holding)

    def look(self) -> None:
        """See how much is held now."""
        held = sum(self.slots[p].bytes for p in self.holding)
        self._is_full.look(held)
        self._is_ahead_full.look(held)

    def has_room(self, partition: int, *, is_ahead: bool) -> bool:
        """Tell whether what would be read there may be held. is_ahead: it is the slot after now."""
        slot = self.slots.get(partition)
        if slot is not None and (slot.is_fresh or not slot.may_fire):
            return True  # it must be read on before it can be paused, or can fire
        return not (self._is_ahead_full if is_ahead else self._is_full).is_shut
