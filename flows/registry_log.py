"""Reads the registry's topics from their beginning, beside the live flow and without its group."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not listed
    AdminClient,
    OffsetSpec,
)

from flows.broker_errors import is_passing
from flows.lanes import CONSUMER_DEFAULTS, STORE
from schemas.stream import Message
from state.patience import Patience

STALLED_S = 60.0
ASK_TIMEOUT_S = 30.0
POLL_S = 0.1
STEP = 1_000
HELD = 100_000
"""Messages that wait for their turn, at most, over all partitions."""

Part = tuple[str, int]
"""A topic and partition."""

_OPTIONS = {
    key: CONSUMER_DEFAULTS[key]
    for key in (
        "enable.auto.commit",
        "isolation.level",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "queued.max.messages.kbytes",
        "queued.min.messages",
    )
}


class StalledError(Exception):
    """A partition gives nothing more although it has not been read to its end."""


class RegistryLog:
    """Committed records of some topics, from the first one on.

    settings: librdkafka options. group: librdkafka wants a name; it is neither joined nor
    committed to. at: where reading stands, by partition. Nothing connects before ``open``.
    """

    def __init__(self, settings: Mapping[str, Any], *, group: str) -> None:
        self._settings = dict(settings)
        self._group = group
        self.at: dict[Part, int] = {}
        self._admin: Any = None
        self._consumer: Any = None

    def open(self, topics: Sequence[str]) -> None:
        """Connect and stand at the beginning. Raises KafkaException, also for a missing topic."""
        self._admin = AdminClient(self._settings)
        own = {"group.id": self._group, "enable.partition.eof": True}
        self._consumer = Consumer(_OPTIONS | self._settings | own)
        for topic in topics:
            found = self._consumer.list_topics(topic, ASK_TIMEOUT_S).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            self.at.update({(topic, number): 0 for number in found.partitions})
        self.at = self._offsets(OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # no types here

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            self._consumer.close()

    def ends(self) -> dict[Part, int]:
        """Give where committed records end now, by partition; open transactions lie beyond."""
        return self._offsets(OffsetSpec.latest())  # type: ignore[no-untyped-call]  # as above

    def read(
        self, topics: Sequence[str], ends: Mapping[Part, int], *, batch: int
    ) -> Iterator[list[Message]]:
        """Read these topics on, up to the ends, `batch` records at a time.

        In the order in which Kafka took the records, by their timestamps; within a partition by
        offset. Raises KafkaException; StalledError when nothing comes for STALLED_S.
        """
        merge = _Merge({part: ends[part] for part in ends if part[0] in topics}, self.at)
        self._consumer.assign([TopicPartition(*part, self.at[part]) for part in merge.missing])
        paused: set[Part] = set()
        ready: list[Message] = []
        heard_at, trouble = time.monotonic(), ""
        while merge.missing:
            for message in self._consumer.consume(STEP, POLL_S):
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's local codes are spelt so
                    if error.fatal():
                        raise KafkaException(error)
                    trouble = error.str()
                    continue
                heard_at = time.monotonic()
                merge.take(message, is_end=error is not None)
            while len(ready) + len(more := merge.give(batch - len(ready))) == batch:
                yield ready + more
                ready, heard_at = [], time.monotonic()
            ready += more
            self._pace(merge, paused)
            if time.monotonic() - heard_at > STALLED_S:
                names = ", ".join(f"{topic}/{number}" for topic, number in merge.missing)
                raise StalledError(f"nothing came of {names} for {STALLED_S:.0f} s {trouble}")
        while ready := ready + merge.give(batch - len(ready)):
            yield ready
            ready = []
        self._consumer.unassign()

    def _pace(self, merge: "_Merge", paused: set[Part]) -> None:
        """Let those wait that are ahead of the others: what is held stays bounded."""
        most = HELD // max(1, len(merge.held))
        full = {part for part in merge.missing if len(merge.held[part]) > most}
        if full != paused:
            for call, parts in (
                (self._consumer.resume, (paused - full) & merge.missing.keys()),
                (self._consumer.pause, full - paused),
            ):
                if parts:
                    call([TopicPartition(*part) for part in parts])
            paused.clear()
            paused.update(full)

    def _offsets(self, spec: OffsetSpec) -> dict[Part, int]:
        """Ask for offsets; patiently, as leaders move."""
        patience = Patience(limit_s=ASK_TIMEOUT_S)
        return patience.keep(STORE, partial(self._ask_offsets, spec), passing=is_passing)

    def _ask_offsets(self, spec: OffsetSpec) -> dict[Part, int]:
        asked = self._admin.list_offsets(
            {TopicPartition(*part): spec for part in self.at},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=ASK_TIMEOUT_S,
        )
        return {(tp.topic, tp.partition): told.result().offset for tp, told in asked.items()}


class _Merge:
    """Partitions merged into one order. missing: the ends not yet reached. at: moves on."""

    def __init__(self, ends: Mapping[Part, int], at: dict[Part, int]) -> None:
        self.missing = {part: end for part, end in ends.items() if at[part] < end}
        self.held: dict[Part, deque[Message]] = {part: deque() for part in self.missing}
        self._ends = dict(self.missing)
        self._at = at
        self._heads: list[tuple[int, Part]] = []
        # Of these nothing is known yet: the next record in order may be theirs.
        self._blank = set(self.missing)

    def take(self, message: Any, *, is_end: bool) -> None:
        """Take what was read, or that a partition has no more."""
        part, offset = (message.topic(), message.partition()), message.offset()
        end = self.missing.get(part)
        if end is None:
            return
        if not is_end and offset < end:
            queue = self.held[part]
            queue.append(message)
            if len(queue) == 1:
                self._head(part)
            offset += 1
        if offset >= end:
            del self.missing[part]
            self._blank.discard(part)
            if not self.held[part]:
                self._at[part] = end

    def give(self, batch: int) -> list[Message]:
        """Give the next records in order, at most `batch` of them."""
        ready: list[Message] = []
        while self._heads and not self._blank and len(ready) < batch:
            _, part = heappop(self._heads)
            queue = self.held[part]
            message = queue.popleft()
            ready.append(message)
            self._at[part] = message.offset() + 1
            if queue:
                self._head(part)
            elif part in self.missing:
                self._blank.add(part)
            else:
                self._at[part] = self._ends[part]
        return ready

    def _head(self, part: Part) -> None:
        self._blank.discard(part)
        heappush(self._heads, (self.held[part][0].timestamp()[1], part))
