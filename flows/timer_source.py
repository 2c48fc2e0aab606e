"""The timer wheel at work: reads the slots whose turn it is, and gives what comes due.

What is held in memory is bounded, whatever the backlog: near slots are read while their timers fit,
what is overdue fires before more is read, and far slots are only passed on.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import TopicPartition

from flows.checkpoint import Checkpoint
from flows.kafka import PART
from flows.lanes import Lane
from flows.timer_memory import Memory
from flows.timer_record import decode_timer
from flows.timer_slot import Slot
from flows.timer_turns import Turns
from flows.timer_wheel import Turn, Wheel
from schemas import metrics
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import DeadLetter, Timer
from schemas.stream import Batch, Message, Position
from schemas.topics import TIMERS

FIRED_PER_BATCH = 2_000
TICK_MS = 5
MANY_READ = 200  # then more may be there already


class TimerSource(FixedPartitionedSource[Batch, None]):
    """Reads slots in their turn and gives timers as they come due, and those that move on."""

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
        self._source, self._wheel = source, source.wheel
        self._checkpoint = source.checkpoint
        self._memory = Memory(self._committed)
        lanes = self._checkpoint.lanes
        self._turns = Turns(self._wheel, self._memory, lambda: lanes.lanes[0].consumer)
        self._is_drained, self._is_busy = True, False
        self._now_ms = 0
        self._generation = 0
        self._checkpoint.after_assign = self._assigned
        lanes.on_end = self._turns.saw_end
        self._checkpoint.open()

    def next_batch(self) -> Iterable[Batch]:
        """Read what has arrived, unless something due waits; then give what is due."""
        source, checkpoint = self._source, self._checkpoint
        if source.stopped():
            raise StopIteration
        # Never backwards: what was due once stays due.
        now_ms = self._now_ms = max(self._now_ms, source.now_ms())
        self._start_over_if_told()
        messages: Sequence[Message] = []
        items: list[Timer | DeadLetter] = []
        touched: set[int] = set()
        if self._is_drained:  # so that a slot's note stays short, and what is overdue is not held
            found = checkpoint.lanes.read(idle_s=0)
            self._start_over_if_told()
            messages = found[1] if found else []
            items, touched, read = self._take(messages, now_ms)
            touched |= self._turns.turn(read, now_ms)
        due, popped = self._due(now_ms)
        items += due
        positions = {(0, TIMERS, p): self._position(p, now_ms) for p in touched | popped}
        source.heartbeat(len(items) + len(messages))
        metrics.TIMERS_WAITING.set(self._memory.waiting())
        self._is_busy = len(messages) >= MANY_READ or not self._is_drained
        if not items and not positions:
            return []
        return [Batch(items, now_ms, checkpoint.generation, positions)]

    def next_awake(self) -> datetime | None:
        """Go on at once while there is much to do, else in a few milliseconds."""
        if self._is_busy:
            return None
        return datetime.now(UTC) + timedelta(milliseconds=TICK_MS)

    def snapshot(self) -> None:
        """Nothing: positions ride with the batches."""

    # -- assignment

    def _assigned(self, _lane: Lane, partitions: Sequence[TopicPartition]) -> None:
        now_ms = self._now_ms = max(self._now_ms, self._source.now_ms())
        self._turns.assign([tp.partition for tp in partitions], now_ms)

    def _start_over_if_told(self) -> None:
        if self._generation != self._checkpoint.generation:
            self._generation = self._checkpoint.generation
            self._is_drained = True
            self._turns.start_over(self._now_ms)

    def _committed(self, partition: int) -> Position:
        lane = self._checkpoint.lanes.lanes[0]
        return lane.committed.get((TIMERS, partition), Position(0))

    def _position(self, partition: int, now_ms: int) -> Position:
        slot = self._memory.slot(partition)
        if self._turns.is_read(partition):
            slot.seen_ms = now_ms
        return slot.position()

    # -- timers

    def _take(
        self, messages: Sequence[Message], now_ms: int
    ) -> tuple[list[Timer | DeadLetter], set[int], set[int]]:
        """Hold, leave or pass on what was read.

        Gives what is passed on, from which partitions, and all partitions that were read.
        """
        passed: list[Timer | DeadLetter] = []
        passed_from: set[int] = set()
        turns: dict[int, Turn] = {}
        for message in messages:
            partition = message.partition()
            turn = turns.get(partition)
            if turn is None:
                turn = turns[partition] = self._wheel.turn(partition, now_ms)
            item = self._taken(message, self._memory.slot(partition), turn, now_ms)
            if item is not None:
                passed.append(item)
                passed_from.add(partition)
        for partition in passed_from:
            if self._wheel.is_far(partition):
                self._memory.slot(partition).claim(turns[partition].next_ms - 1)
        return passed, passed_from, set(turns)

    def _taken(
        self, message: Message, slot: Slot, turn: Turn, now_ms: int
    ) -> Timer | DeadLetter | None:
        """Take one message; give what is passed on of it."""
        if slot.must_go_back(turn.next_ms):
            return None  # it is read again, after those that were left
        partition, offset, raw = message.partition(), message.offset(), message.value() or b""
        try:
            timer = decode_timer(raw)
        except UNREADABLE as error:
            slot.settle(offset)
            why, key = fault_of(error), message.key() or b""
            return DeadLetter(TIMERS, partition, offset, why, raw, now_ms, key=key)
        due_ms = timer.due_at_ms
        if slot.fired.covers(due_ms, offset):
            slot.settle(offset)
        elif self._wheel.is_far(partition) and (turn.is_open or due_ms < turn.next_ms):
            slot.settle(offset)
            return timer
        elif due_ms >= turn.next_ms:
            slot.leave(offset, turn.next_ms)
        else:
            slot.hold(due_ms, offset, raw)
            self._memory.holding.add(partition)
        return None

    def _due(self, now_ms: int) -> tuple[list[Timer], set[int]]:
        """Give what is due, at most a batch; and where it lay."""
        due: list[Timer] = []
        touched = set()
        self._is_drained = True
        slots, holding = self._memory.slots, self._memory.holding
        for partition in sorted(holding, key=lambda p: slots[p].heap[0]):
            slot = slots[partition]
            if not slot.may_fire:
                continue
            popped = slot.pop_due(now_ms, FIRED_PER_BATCH - len(due))
            if popped:
                due += popped
                touched.add(partition)
            if slot.is_due(now_ms):
                self._is_drained = False
            elif popped:
                slot.claim(now_ms)
            if not slot.heap:
                holding.discard(partition)
        self._memory.look()
        return due, touched
