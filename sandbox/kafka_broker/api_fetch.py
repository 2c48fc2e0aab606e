"""Fetch: reads up to the client's limits, and waits for data when there is too little."""

import asyncio
from struct import Struct
from typing import NamedTuple

from sandbox.kafka_broker.api_data import check_epoch
from sandbox.kafka_broker.broker import Answer, Broker, Request
from sandbox.kafka_broker.codec import Reader, Writer
from sandbox.kafka_broker.errors import Code
from sandbox.kafka_broker.partition import Aborted, Partition, Slice

MAX_BYTES = 57_671_680  # Kafka's fetch.max.bytes (55 MiB), whatever a client asks
MAX_WAIT_S = 300.0  # likewise: an empty answer is always a right one
_LIMITS = Struct(">iiiib")
_SESSION = Struct(">ii")
# Partition, then from version 9 the leader's epoch, the offset, from 5 the log start, the limit.
_WISH_V4, _WISH_V5, _WISH_V9 = Struct(">iqi"), Struct(">iqqi"), Struct(">iiqqi")
# Partition, error, high watermark, stable end, from version 5 the log start, aborted transactions.
_READ_V4, _READ_V5 = Struct(">ihqqi"), Struct(">ihqqqi")
_ABORTED = Struct(">qq")
_REPLICA_AND_SIZE = Struct(">ii")


class Wish(NamedTuple):
    """What to read of one partition."""

    number: int
    partition: Partition | None
    code: Code
    offset: int
    max_bytes: int


class Read(NamedTuple):
    """What was read of one partition. start: the first offset kept."""

    number: int
    code: Code
    end: int = -1
    stable_end: int = -1
    start: int = -1
    aborted: list[Aborted] | None = None
    found: Slice = Slice([], 0, -1)


class Fetch:
    """One fetch: its wishes and limits."""

    def __init__(self, broker: Broker, request: Request) -> None:
        body, version = request.body, request.version
        self._broker = broker
        self._request = request
        _replica, wait_ms, self._min_bytes, max_bytes, isolation = body.unpack(_LIMITS)
        self._max_bytes = min(max_bytes, MAX_BYTES)
        self._committed = isolation == 1
        self.wait_s = min(wait_ms / 1_000, MAX_WAIT_S)
        self.session_id = body.unpack(_SESSION)[0] if version >= 7 else 0
        self._topics = body.topics(lambda topic: _read_wish(broker, body, version, topic))
        self._failed = False

    def read(self) -> list[tuple[str, list[Read]]] | None:
        """Read what there is; None when that is too little to answer yet."""
        self._failed = False
        self._left = self._max_bytes
        self._got = 0
        found = [(topic, [self._one(wish) for wish in wishes]) for topic, wishes in self._topics]
        if self._got >= self._min_bytes or self._failed or not found:
            return found
        return None

    async def wait(self) -> Writer:
        """Wait for enough data, an error or the end of the client's patience, then answer."""
        partitions = [w.partition for _, wishes in self._topics for w in wishes if w.partition]
        changed, patient = asyncio.Event(), True

        def give_up() -> None:
            nonlocal patient  # the clock will not do: a timer may ring a little early
            patient = False
            changed.set()

        timer = self._broker.loop.call_later(self.wait_s, give_up)
        for partition in partitions:
            partition.waiters.add(changed.set)
        try:
            found = None
            while found is None and patient:
                await changed.wait()
                changed.clear()
                found = self.read()
        finally:
            timer.cancel()
            for partition in partitions:
                partition.waiters.discard(changed.set)
        return self.answer(found)

    def answer(self, found: list[tuple[str, list[Read]]] | None, code: Code = Code.NONE) -> Writer:
        """Write the response; None: with whatever there is now."""
        if found is None:
            self._min_bytes = 0
            found = self.read() or []
        reply, version = self._request.reply(), self._request.version
        reply.i32(0)
        if version >= 7:
            reply.i16(code)
            reply.i32(0)  # sessions are not kept: every fetch names all its partitions
        reply.topics(found, lambda read: _write(reply, version, read))
        return reply

    def _one(self, wish: Wish) -> Read:
        partition = wish.partition
        if partition is None or wish.code is not Code.NONE or partition.deleted:
            self._failed = True
            return Read(wish.number, wish.code or Code.UNKNOWN_TOPIC_OR_PARTITION)
        end, start = partition.end, partition.start
        if not start <= wish.offset <= end:
            self._failed = True
            return Read(wish.number, Code.OFFSET_OUT_OF_RANGE, end, partition.stable_end, start)
        stable_end = partition.stable_end
        found = partition.read(
            wish.offset,
            until=stable_end if self._committed else end,
            max_bytes=min(wish.max_bytes, self._left),
            at_least_one=self._got == 0,
        )
        self._got += found.size_bytes
        self._left -= found.size_bytes
        aborted = partition.aborted_between(wish.offset, found.end) if self._committed else None
        return Read(wish.number, Code.NONE, end, stable_end, start, aborted, found)


def fetch(broker: Broker, request: Request) -> Answer:
    """Answer with records, at once or when there are enough."""
    wish = Fetch(broker, request)
    if wish.session_id != 0:
        return wish.answer([], Code.FETCH_SESSION_ID_NOT_FOUND)
    found = wish.read()
    if found is None and wish.wait_s > 0:
        return wish.wait()
    return wish.answer(found)


def _read_wish(broker: Broker, body: Reader, version: int, topic: str) -> Wish:
    epoch = -1
    if version >= 9:
        index, epoch, offset, _start, max_bytes = body.unpack(_WISH_V9)
    elif version >= 5:
        index, offset, _start, max_bytes = body.unpack(_WISH_V5)
    else:
        index, offset, max_bytes = body.unpack(_WISH_V4)
    partition = broker.topics.find(topic, index)
    return Wish(index, partition, check_epoch(partition, epoch), offset, max_bytes)


def _write(reply: Writer, version: int, read: Read) -> None:
    aborted = -1 if read.aborted is None else len(read.aborted)
    if version >= 5:
        reply.pack(_READ_V5, read.number, read.code, read.end, read.stable_end, read.start, aborted)
    else:
        reply.pack(_READ_V4, read.number, read.code, read.end, read.stable_end, aborted)
    for each in read.aborted or ():
        reply.pack(_ABORTED, each.producer_id, each.first_offset)
    if version >= 11:
        reply.pack(_REPLICA_AND_SIZE, -1, read.found.size_bytes)
    else:
        reply.i32(read.found.size_bytes)
    if read.found.parts:
        reply.blobs(read.found.parts)
