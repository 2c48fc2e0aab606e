"""The reading side of the Kafka adapter: one consumer per priority, higher priorities first.

A lane is its own consumer group, so a process can drain ``critical`` before ``high`` and the lag
of each is visible by itself. Static membership with cooperative-sticky assignment brings a
restarted process back at once (docs/decisions/0002-exactly-once.md).
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from flows.broker_errors import is_fenced_consumer, is_passing
from schemas.pipeline import FAST
from schemas.stream import Message, Position, Positions
from state.patience import FAIL_FAST, Patience

STORE = "kafka"
STEP = 250  # records read in one call; between calls the batch's bytes are counted
MAX_BATCH_BYTES = 262_144  # an event may list a thousand users: what a batch holds stays bounded
STARVATION_S = 1.0  # a lower lane is served at least this often, however busy the higher ones are
SEEK_TIMEOUT_S = 30.0  # a broker that has just started takes a while to set partitions up
LEAVE_TIMEOUT_S = 2.0  # whoever ends anyway need not wait for clients to be torn down
GHOST_S = 30.0  # how long after a pause Kafka may still tell that it took us for two
ANSWER_S = 5.0  # one question to Kafka; a flow that waits looks after each whether it is to stop

NO_REBOOTSTRAP = "none"
"""When no broker is up, librdkafka 2.16 would forget them all and begin at the bootstrap servers. A
call that waits for a coordinator then waits for one of the forgotten for ever, and a consumer beats
without its member id and is taken for another of its name."""

CONSUMER_DEFAULTS: dict[str, Any] = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    # 2-3.6 times the consume rate of the default of 1,000 ms.
    "fetch.queue.backoff.ms": 5,
    # Bounds what a lane prefetches, whatever the backlog.
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 20_000,
    "fetch.wait.max.ms": 50,
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 2_000,
    # A broker that is back is noticed before it ends the sessions (the default is 10 s).
    "reconnect.backoff.max.ms": 1_000,
    "metadata.recovery.strategy": NO_REBOOTSTRAP,
}

RevokeHook = Callable[[], None]


class LanePlan(NamedTuple):
    """A lane to open. rank: lower is more urgent; lanes of one rank take turns.

    batch_size: records read at once, at most; small where one record stands for many users.
    """

    group: str
    topics: Sequence[str]
    rank: int = 0
    batch_size: int = 2_000


@dataclass(slots=True)
class Lane:
    """One consumer group over some topics."""

    index: int
    plan: LanePlan
    consumer: Consumer
    committed: dict[tuple[str, int], Position] = field(default_factory=dict)
    to_seek: dict[tuple[str, int], int] = field(default_factory=dict)
    served_at: float = 0.0
    seeking_since: float = 0.0

    @property
    def urgent(self) -> bool:
        """Tell whether it reads urgent priorities."""
        return self.plan.topics[0].rpartition(".")[2] in FAST


class Lanes:
    """Reads batches from lanes in order of priority.

    plans: most urgent first. settings: librdkafka options, at least
    ``bootstrap.servers``. tells_end: call on_end(topic, partition) whenever one was read to its
    end. patience: with a broker that does not answer. Nothing connects before ``open``.
    """

    def __init__(
        self,
        plans: Sequence[LanePlan],
        settings: Mapping[str, Any],
        *,
        instance: str,
        tells_end: bool = False,
        patience: Patience = FAIL_FAST,
    ) -> None:
        self._plans = plans
        self._settings = CONSUMER_DEFAULTS | dict(settings)
        self._session_s = int(self._settings["session.timeout.ms"]) / 1_000
        self._instance = instance
        self._tells_end = tells_end
        self._patience = patience
        self._read_at = self._stood_still_at = 0.0
        self._begun_anew = 0
        self.on_end: Callable[[str, int], None] = lambda _topic, _partition: None
        self._on_revoke: RevokeHook = lambda: None
        self._on_assign: Callable[[Lane, Sequence[TopicPartition]], None] = lambda _lane, _tps: None
        self.lanes: list[Lane] = []

    def open(
        self,
        on_revoke: RevokeHook,
        on_assign: Callable[[Lane, Sequence[TopicPartition]], None],
    ) -> None:
        """Join the groups. on_revoke runs before any partition is given up."""
        self._on_revoke, self._on_assign = on_revoke, on_assign
        for index, plan in enumerate(self._plans):
            lane = Lane(index, plan, self._consumer(plan))
            self.lanes.append(lane)
            self._join(lane)

    def read(
        self, *, idle_s: float, allowed: Callable[[Lane], bool] | None = None
    ) -> tuple[Lane, list[Message]] | None:
        """Read one batch from the first lane that has any; wait at most idle_s for the first.

        allowed: which lanes may be read now; all when not given.
        Raises KafkaException when a consumer cannot go on.
        """
        now = time.monotonic()
        if self._read_at and now - self._read_at > self._session_s:
            self._stood_still_at = now
        try:
            return self._read(now, idle_s, allowed)
        except KafkaException as error:
            if not is_fenced_consumer(error) or now - self._stood_still_at > GHOST_S:
                raise
            self._join_anew()
            return None

    def _read(
        self, now: float, idle_s: float, allowed: Callable[[Lane], bool] | None
    ) -> tuple[Lane, list[Message]] | None:
        self._seek()
        begun_anew = self._begun_anew
        for lane in self._order(now):
            if allowed is not None and not allowed(lane):
                continue
            found = self._good(lane, self._fill(lane, []), begun_anew)
            if found:
                lane.served_at = now
                return lane, found
        if idle_s <= 0:
            return None
        lane = self.lanes[0]
        if allowed is not None and not allowed(lane):
            time.sleep(idle_s)
            return None
        first = lane.consumer.poll(idle_s)
        if first is None:
            return None
        found = self._good(lane, self._fill(lane, [first]), begun_anew)
        lane.served_at = now
        return (lane, found) if found else None

    def _consumer(self, plan: LanePlan) -> Consumer:
        return Consumer(
            self._settings
            | {
                "group.id": plan.group,
                "group.instance.id": self._instance,
                "enable.partition.eof": self._tells_end,
            }
        )

    def _join(self, lane: Lane) -> None:
        lane.consumer.subscribe(
            list(lane.plan.topics),
            on_assign=partial(self._assigned, lane),
            on_revoke=partial(self._revoked, lane),
            on_lost=partial(self._revoked, lane),
        )

    def _join_anew(self) -> None:
        """Begin with new consumers, as a new process of this instance would.

        A consumer that was not polled for longer than its session lasts, as in a wait, has lost its
        member id; its next heartbeat then looks to Kafka like another process of this instance, and
        librdkafka gives up for good. Without such a pause there is another process, which is final.
        """
        self._on_revoke()
        _leave(self.lanes)
        for lane in self.lanes:
            lane.committed.clear()
            lane.to_seek.clear()
            lane.consumer = self._consumer(lane.plan)
        for lane in self.lanes:
            self._join(lane)

    def rewind(self) -> None:
        """Go back to what is committed in every lane; takes effect at the next read."""
        self._begun_anew += 1
        for lane in self.lanes:
            for tp in lane.consumer.assignment():
                key = (tp.topic, tp.partition)
                at = lane.committed.get(key)
                lane.to_seek[key] = at.offset if at is not None else OFFSET_BEGINNING

    def refetch(self) -> None:
        """Ask Kafka what is committed, when it is unknown whether a commit took effect.

        Raises KafkaException.
        """
        for lane in self.lanes:
            self._fetch_committed(lane, lane.consumer.assignment())

    def committed(self) -> Positions:
        """Give what is committed of all that is assigned, as far as this process knows."""
        return {
            (lane.index, tp.topic, tp.partition): lane.committed[tp.topic, tp.partition]
            for lane in self.lanes
            for tp in lane.consumer.assignment()
            if (tp.topic, tp.partition) in lane.committed
        }

    def note_committed(self, positions: Positions) -> None:
        """Remember what a commit has covered, as the place to rewind to."""
        for (index, topic, partition), position in positions.items():
            self.lanes[index].committed[topic, partition] = position

    def lag(self) -> int:
        """Count the records that wait in the broker, as far as the consumers know."""
        return sum(self._lane_lag(lane) for lane in self.lanes)

    def close(self) -> None:
        """Leave; a static member's partitions stay reserved for its return.

        All is committed by now, so giving partitions up needs no more care.
        """
        leaving = _leave(self.lanes)
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        for thread in leaving:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.lanes = []

    def _fill(self, lane: Lane, messages: list[Any]) -> list[Any]:
        """Read on in steps until the batch is full in records or bytes, or nothing is there."""
        limit = lane.plan.batch_size
        size_bytes = sum(map(len, messages))
        while len(messages) < limit and size_bytes < MAX_BATCH_BYTES:
            wanted = min(STEP, limit - len(messages))
            more = lane.consumer.consume(wanted, 0)
            messages += more
            size_bytes += sum(map(len, more))
            if len(more) < wanted:
                break
        return messages

    def _order(self, now: float) -> list[Lane]:
        """Give the starving lanes, then all by rank; of one rank, the longest unserved first.

        After a time in which nothing was read at all, an outage or the start, none is starving:
        the most urgent goes first.
        """
        if now - self._read_at > STARVATION_S:
            for lane in self.lanes:
                lane.served_at = now
        self._read_at = now
        lanes = sorted(self.lanes, key=lambda lane: (lane.plan.rank, lane.served_at))
        starving = [lane for lane in lanes[1:] if now - lane.served_at > STARVATION_S]
        return [*starving, *lanes] if starving else lanes

    @staticmethod
    def _lane_lag(lane: Lane) -> int:
        waiting = 0
        for tp in lane.consumer.position(lane.consumer.assignment()):
            _low, high = lane.consumer.get_watermark_offsets(tp, cached=True)
            at = lane.committed.get((tp.topic, tp.partition), Position(0))
            waiting += max(0, high - (tp.offset if tp.offset >= 0 else at.offset))
        return waiting

    def _good(self, lane: Lane, messages: Sequence[Any], begun_anew: int) -> list[Message]:
        """Give what counts as read. begun_anew: as it was before these were read."""
        good = [message for message in messages if message.error() is None]
        if self._begun_anew != begun_anew:
            # A rebalance ran inside, maybe one that took all partitions, or gave some back: what
            # was read belongs to what was aborted, so whatever is here now is read again.
            self.rewind()
        is_void = self._begun_anew != begun_anew or bool(lane.to_seek)
        if len(good) != len(messages):
            for message in messages:
                error = message.error()
                if error is None:
                    continue
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's local codes are spelt so
                    _raise_if_final(error)
                elif not is_void:
                    self.on_end(message.topic(), message.partition())
        return [] if is_void else good

    def _assigned(self, lane: Lane, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._fetch_committed(lane, partitions)
        self._on_assign(lane, partitions)

    def _fetch_committed(self, lane: Lane, partitions: list[TopicPartition]) -> None:
        def fetch() -> list[TopicPartition]:
            found = lane.consumer.committed(partitions, ANSWER_S)
            for tp in found:
                if tp.error is not None:
                    raise KafkaException(tp.error)
            return found

        if not partitions:
            return
        for tp in self._patience.keep(STORE, fetch, passing=is_passing):
            if tp.offset >= 0:
                lane.committed[tp.topic, tp.partition] = Position(tp.offset, tp.metadata or "")

    def _revoked(self, lane: Lane, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoke()
        for tp in partitions:
            lane.committed.pop((tp.topic, tp.partition), None)
            lane.to_seek.pop((tp.topic, tp.partition), None)

    def _seek(self) -> None:
        """Go back where that is due.

        A partition that was just assigned may not take a seek yet: it is asked again at the next
        read, for SEEK_TIMEOUT_S at most, and until then nothing of its lane counts as read.
        """
        for lane in self.lanes:
            if not lane.to_seek:
                lane.seeking_since = 0.0
                continue
            lane.seeking_since = lane.seeking_since or time.monotonic()
            mine = {(tp.topic, tp.partition) for tp in lane.consumer.assignment()}
            # All or none: what is read of one while another is still to be sought is dropped.
            sought = [
                self._sought(lane, topic, partition, offset)
                for (topic, partition), offset in lane.to_seek.items()
                if (topic, partition) in mine
            ]
            if all(sought):
                lane.to_seek.clear()

    @staticmethod
    def _sought(lane: Lane, topic: str, partition: int, offset: int) -> bool:
        try:
            lane.consumer.seek(TopicPartition(topic, partition, offset))
        except KafkaException:
            if time.monotonic() - lane.seeking_since > SEEK_TIMEOUT_S:
                raise
            return False
        return True


def _leave(lanes: Sequence[Lane]) -> list[threading.Thread]:
    """Let go of the consumers, each in a thread, for that takes a moment; give the threads.

    They are dropped rather than closed. A close answers a rebalance that is still under way, and
    when the group is done with first it waits for ever with Python's lock in its hands, so that the
    whole process stands still (librdkafka issue 4041). A static member has nothing to tell the
    group when it goes.
    """
    held = [[lane.consumer] for lane in lanes]
    for lane in lanes:
        del lane.consumer  # its callbacks know the lane: this is the circle that kept it
    threads = [threading.Thread(target=one.clear, name="leave-lane", daemon=True) for one in held]
    for thread in threads:
        thread.start()
    return threads


def by_topic(partitions: Sequence[TopicPartition]) -> dict[str, list[int]]:
    """Give the partition numbers of each topic."""
    numbers: dict[str, list[int]] = {}
    for tp in partitions:
        numbers.setdefault(tp.topic, []).append(tp.partition)
    return numbers


def positions_of(lane: Lane, messages: Sequence[Message]) -> Positions:
    """Give the next position of every partition that these messages came from."""
    last = {(m.topic(), m.partition()): m.offset() for m in messages}
    return {(lane.index, t, p): Position(offset + 1) for (t, p), offset in last.items()}


def _raise_if_final(error: KafkaError) -> None:
    """Raise for what a consumer cannot outlive; librdkafka retries the rest by itself."""
    if error.retriable():
        return
    if error.fatal() or error.code() in {
        KafkaError._FATAL,  # noqa: SLF001 - librdkafka's local codes are spelt so; fenced, mostly
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - as above
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - as above
    }:
        raise KafkaException(error)
