"""The Kafka adapter's two ends as Bytewax sees them: a source and a sink of batches."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.checkpoint import Checkpoint
from flows.lanes import Lane, positions_of
from schemas.stream import Batch, Message

PART = "process"  # one partition: a process is one independent dataflow
IDLE_S = 0.01
BUSY_S = 0.001


class Waiting(Protocol):
    """A step that holds batches back until something elsewhere has settled."""

    def has_room(self, *, urgent: bool) -> bool:
        """Tell whether another batch may be read, of urgent priorities or of the others."""
        ...

    def has_settled(self) -> bool:
        """Tell whether something waits to be passed on."""
        ...

    def is_busy(self) -> bool:
        """Tell whether anything is held back still."""
        ...

    def drain(self) -> None:
        """Let go of everything soon: nothing more will come."""
        ...


class KafkaSource(FixedPartitionedSource[Batch, None]):
    """Reads batches of messages until stopped.

    now_ms: the clock. stopped: asked before each read; True drains and ends the flow.
    waiting: a step that needs empty batches to pass on what has settled. heartbeat: told how many
    messages each turn has read.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        now_ms: Callable[[], int],
        stopped: Callable[[], bool],
        waiting: Waiting | None = None,
        heartbeat: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self.checkpoint = checkpoint
        self.now_ms, self.stopped = now_ms, stopped
        self.waiting, self.heartbeat = waiting, heartbeat

    def list_parts(self) -> list[str]:
        """One: the process."""
        return [PART]

    def build_part(self, _step: str, _part: str, _state: None) -> "_SourcePart":
        """Connect the writing end and join the consumer groups."""
        self.checkpoint.open()
        return _SourcePart(self)


class _SourcePart(StatefulSourcePartition[Batch, None]):
    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        self._checkpoint = source.checkpoint
        self._awake: datetime | None = None

    def next_batch(self) -> Iterable[Batch]:
        source, waiting = self._source, self._source.waiting
        settled = waiting is not None and waiting.has_settled()
        busy = waiting is not None and waiting.is_busy()
        if source.stopped():
            if not busy:
                raise StopIteration
            if waiting is not None:
                waiting.drain()
        allowed: Callable[[Lane], bool] | None = None
        if waiting is not None:
            room = waiting.has_room(urgent=False)
            if not room:
                allowed = _is_urgent
                room = waiting.has_room(urgent=True)
        if source.stopped() or (waiting is not None and not room):
            # Nothing is read for now: the positions stay, the groups stay joined.
            source.heartbeat(0)
            if not settled:
                self._awake = datetime.now(UTC) + timedelta(seconds=BUSY_S)
                return []
            return [self._batch([])]
        idle_s = 0 if settled else BUSY_S if busy else IDLE_S
        found = self._checkpoint.lanes.read(idle_s=idle_s, allowed=allowed)
        source.heartbeat(len(found[1]) if found else 0)
        if found is None:
            return [self._batch([])] if settled else []
        lane, messages = found
        batch = self._batch(messages)
        batch.positions = positions_of(lane, messages)
        return [batch]

    def _batch(self, messages: list[Message]) -> Batch:
        return Batch(messages, self._source.now_ms(), self._checkpoint.generation)

    def next_awake(self) -> datetime | None:
        awake, self._awake = self._awake, None
        return awake

    def snapshot(self) -> None:
        return None


def _is_urgent(lane: Lane) -> bool:
    return lane.urgent


class KafkaSink(FixedPartitionedSink[Batch, None]):
    """Writes batches of records; commits them at the end of each epoch."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def list_parts(self) -> list[str]:
        """One: the process."""
        return [PART]

    def build_part(self, _step: str, _part: str, _state: None) -> "_SinkPart":
        """Give the one part; the source has connected both ends."""
        return _SinkPart(self._checkpoint)


class _SinkPart(StatefulSinkPartition[Batch, None]):
    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def write_batch(self, values: list[Any]) -> None:
        for batch in values:
            self._checkpoint.write(batch)

    def snapshot(self) -> None:
        self._checkpoint.commit()
