"""Fetch: reads up to the client's limits, and waits for data when there is too little.

This is the request that idle consumers repeat for ever, so it is written for few steps a
partition: fixed fields are read and written in one go.
"""

import asyncio
from struct import Struct
from typing import NamedTuple

from sandbox.kafka_broker.api_data import check_epoch
from sandbox.kafka_broker.broker import Answer, Broker, Request
from sandbox.kafka_broker.codec import Reader, Writer
from sandbox.kafka_broker.errors import Code
from sandbox.kafka_broker.partition import Partition

MAX_BYTES = 57_671_680  # Kafka's fetch.max.bytes (55 MiB), whatever a client asks
MAX_WAIT_S = 300.0  # likewise: an empty answer is always a right one
_LIMITS = Struct(">iiiib")
_SESSION = Struct(">ii")
# Partition, from version 9 the leader's epoch, the offset, from 5 the log start, the limit.
_WISH_V4, _WISH_V5, _WISH_V9 = Struct(">iqi"), Struct(">iqqi"), Struct(">iiqqi")
# Partition, error, high watermark, stable end, from version 5 the log start, aborted transactions.
_READ_V4, _READ_V5 = Struct(">ihqqi"), Struct(">ihqqqi")
_ABORTED = Struct(">qq")
# From version 11 the preferred replica, then the size of the records.
_SIZE_V4, _SIZE_V11 = Struct(">i"), Struct(">ii")


class Wish(NamedTuple):
    """What to read of one partition. refusal: why nothing can be."""

    number: int
    partition: Partition | None
    refusal: Code
    offset: int
    max_bytes: int


class Fetch:
    """One fetch: its wishes and limits. session_id: not 0 for a session, which are not kept."""

    def __init__(self, broker: Broker, request: Request) -> None:
        body, version = request.body, request.version
        self._loop = broker.loop
        self._request = request
        _replica, wait_ms, self._min_bytes, max_bytes, isolation = body.unpack(_LIMITS)
        self._max_bytes = min(max_bytes, MAX_BYTES)
        self._committed = isolation == 1
        self.wait_s = min(wait_ms / 1_000, MAX_WAIT_S)
        self.session_id = body.unpack(_SESSION)[0] if version >= 7 else 0
        self._topics = body.array(lambda: _topic(broker, body, version))

    def enough(self) -> bool:
        """Tell whether to answer now: there are min_bytes, or an error to tell."""
        have = 0
        for _, wishes in self._topics:
            for wish in wishes:
                partition = wish.partition
                if partition is None or wish.refusal or partition.deleted:
                    return True
                offset = wish.offset
                if not partition.start <= offset <= partition.end:
                    return True
                until = partition.stable_end if self._committed else partition.end
                if offset < until:
                    if self._min_bytes <= 1:
                        return True
                    have += partition.read(
                        offset, until=until, max_bytes=wish.max_bytes, at_least_one=True
                    ).size_bytes
        return have >= min(self._min_bytes, self._max_bytes) or not self._topics

    async def wait(self) -> Writer:
        """Wait for enough data, an error or the end of the client's patience, then answer."""
        partitions = [w.partition for _, wishes in self._topics for w in wishes if w.partition]
        changed, patient = asyncio.Event(), True

        def give_up() -> None:
            nonlocal patient  # the clock will not do: a timer may ring a little early
            patient = False
            changed.set()

        wake = changed.set
        timer = self._loop.call_later(self.wait_s, give_up)
        for partition in partitions:
            partition.waiters.add(wake)
        try:
            while patient and not self.enough():
                await changed.wait()
                changed.clear()
        finally:
            timer.cancel()
            for partition in partitions:
                partition.waiters.discard(wake)
        return self.answer()

    def answer(self) -> Writer:
        """Write the response with what there is now."""
        reply, version = self._request.reply(), self._request.version
        reply.i32(0)
        if version >= 7:
            known = self.session_id == 0
            reply.i16(Code.NONE if known else Code.FETCH_SESSION_ID_NOT_FOUND)
            reply.i32(0)  # sessions are not kept: every fetch names all its partitions
        topics = self._topics if self.session_id == 0 else []
        reply.count(len(topics))
        left = self._max_bytes
        for topic, wishes in topics:
            reply.string(topic)
            reply.count(len(wishes))
            for wish in wishes:
                left -= self._read(reply, version, wish, left)
        return reply

    def _read(self, reply: Writer, version: int, wish: Wish, left: int) -> int:
        """Read one partition into the response. Returns the size of its records in bytes."""
        number, partition, refusal, offset, max_bytes = wish
        if partition is None or refusal or partition.deleted:
            code = refusal or Code.UNKNOWN_TOPIC_OR_PARTITION
            _write(reply, version, (number, code, -1, -1, -1, -1), 0)
            return 0
        start, end, stable_end = partition.start, partition.end, partition.stable_end
        code = Code.NONE if start <= offset <= end else Code.OFFSET_OUT_OF_RANGE
        until = stable_end if self._committed else end
        head = (number, code, end, stable_end, start, 0 if self._committed else -1)
        if code or offset >= until:
            _write(reply, version, head, 0)
            return 0
        found = partition.read(
            offset,
            until=until,
            max_bytes=min(max_bytes, left),
            at_least_one=left == self._max_bytes,
        )
        aborted = partition.aborted_between(offset, found.end) if self._committed else []
        if aborted:
            head = (*head[:5], len(aborted))
        _write(reply, version, head, found.size_bytes, *aborted)
        reply.blobs(found.parts)
        return found.size_bytes


def fetch(broker: Broker, request: Request) -> Answer:
    """Answer with records, at once or when there are enough."""
    wish = Fetch(broker, request)
    if wish.session_id == 0 and wish.wait_s > 0 and not wish.enough():
        return wish.wait()
    return wish.answer()


def _topic(broker: Broker, body: Reader, version: int) -> tuple[str, list[Wish]]:
    name = body.string()
    topic = broker.topics.by_name.get(name)
    partitions = topic.partitions if topic is not None else []
    if version >= 9:
        asked = [
            (number, epoch, offset, limit)
            for number, epoch, offset, _start, limit in body.many(_WISH_V9)
        ]
    elif version >= 5:
        asked = [
            (number, -1, offset, limit) for number, offset, _start, limit in body.many(_WISH_V5)
        ]
    else:
        asked = [(number, -1, offset, limit) for number, offset, limit in body.many(_WISH_V4)]
    wishes = []
    for number, epoch, offset, limit in asked:
        partition = partitions[number] if 0 <= number < len(partitions) else None
        wishes.append(Wish(number, partition, check_epoch(partition, epoch), offset, limit))
    return name, wishes


def _write(
    reply: Writer,
    version: int,
    head: tuple[int, int, int, int, int, int],
    size_bytes: int,
    *aborted: tuple[int, int, int],
) -> None:
    if version >= 5:
        reply.pack(_READ_V5, *head)
    else:
        reply.pack(_READ_V4, *head[:4], head[5])
    for producer_id, first_offset, _marker in aborted:
        reply.pack(_ABORTED, producer_id, first_offset)
    if version >= 11:
        reply.pack(_SIZE_V11, -1, size_bytes)
    else:
        reply.pack(_SIZE_V4, size_bytes)
