"""The Kafka adapter's two ends as Bytewax sees them: a source and a sink of batches."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.checkpoint import Checkpoint
from flows.lanes import positions_of
from schemas.stream import Batch, Message

PART = "process"  # one partition: a process is one independent dataflow
IDLE_S = 0.005


class KafkaSource(FixedPartitionedSource[Batch, None]):
    """Reads batches of messages until stopped.

    now_ms: the clock. stopped: asked before each read; True drains and ends the flow.
    gate: False while the pipe is full and nothing may be read. tick: True when an empty batch
    should pass so that steps which wait for answers can hand them on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        now_ms: Callable[[], int],
        stopped: Callable[[], bool],
        gate: Callable[[], bool] = lambda: True,
        tick: Callable[[], bool] = lambda: False,
        heartbeat: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self.checkpoint = checkpoint
        self.now_ms, self.stopped = now_ms, stopped
        self.gate, self.tick, self.heartbeat = gate, tick, heartbeat

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
        source, checkpoint = self._source, self._checkpoint
        waiting = source.tick()
        if source.stopped():
            if waiting:  # sends are under way: go on until each has its outcome
                return [self._batch([])]
            raise StopIteration
        if not source.gate():
            # Still ask for nothing from Kafka: the position stays, the group stays joined.
            self._awake = datetime.now(UTC) + timedelta(milliseconds=1)
            return [self._batch([])] if waiting else []
        found = checkpoint.lanes.read(idle_s=0.001 if waiting else IDLE_S)
        source.heartbeat(len(found[1]) if found else 0)
        if found is None:
            return [self._batch([])] if waiting else []
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
