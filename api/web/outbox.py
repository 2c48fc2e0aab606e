"""Records onto Kafka from the event loop: many at once, each acknowledged."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer

from schemas.stream import Record
from schemas.topics import DEFINITIONS

ACK_TIMEOUT_S = 10.0
PING_TIMEOUT_S = 2.0
POLL_S = 0.001
"""Between two looks for acknowledgements while there are some to come."""


class NotTakenError(Exception):
    """Kafka did not acknowledge a record in time; it may or may not be there."""


class Outbox(Protocol):
    """Takes records and says when Kafka has them."""

    async def ping(self) -> None:
        """Raise NotTakenError unless Kafka answers."""
        ...

    async def put(self, records: Sequence[Record]) -> None:
        """Return once all are acknowledged. Raises NotTakenError: any of them may be missing."""
        ...

    def start(self) -> None:
        """Make ready in the running event loop."""
        ...

    async def stop(self) -> None:
        """Wait for what is under way, a while, and end."""
        ...


class _Waiting:
    """One put: how many acknowledgements are to come, and what went wrong."""

    __slots__ = ("done", "failure", "left")

    def __init__(self, done: "asyncio.Future[None]", left: int) -> None:
        self.done = done
        self.left = left
        self.failure = ""

    def told(self, error: Any, _message: Any) -> None:
        self.left -= 1
        if error is not None:
            self.failure = error.str()
        if not self.left and not self.done.done():
            if self.failure:
                self.done.set_exception(NotTakenError(self.failure))
            else:
                self.done.set_result(None)


class KafkaOutbox:
    """An idempotent producer, polled in the event loop: no thread, no wake-up for each record.

    settings: librdkafka options. Memory: the producer's queue, at most QUEUE_KB.
    """

    QUEUE_KB = 262_144

    def __init__(
        self,
        settings: dict[str, Any],
        make_producer: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self._settings = {
            **settings,
            "enable.idempotence": True,
            "linger.ms": 2,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": self.QUEUE_KB,
            "message.timeout.ms": int(ACK_TIMEOUT_S * 1_000),
        }
        self._make_producer = make_producer
        self._producer: Producer | None = None
        self._polling: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._waiting = 0

    async def ping(self) -> None:
        """See Outbox."""
        producer = self._producer
        if producer is None:
            raise NotTakenError("this process is stopping")
        try:
            await asyncio.to_thread(producer.list_topics, DEFINITIONS, PING_TIMEOUT_S)
        except KafkaException as error:
            raise NotTakenError(str(error)) from error

    def start(self) -> None:
        """See Outbox."""
        self._producer = self._make_producer(self._settings)
        self._polling = asyncio.create_task(self._poll(self._producer))

    async def stop(self) -> None:
        """See Outbox."""
        producer, self._producer = self._producer, None
        if self._polling is not None:
            self._polling.cancel()
        if producer is not None:
            await asyncio.to_thread(producer.flush, ACK_TIMEOUT_S)

    async def put(self, records: Sequence[Record]) -> None:
        """See Outbox."""
        producer = self._producer
        if producer is None:
            raise NotTakenError("this process is stopping")
        if not records:
            return
        waiting = _Waiting(asyncio.get_running_loop().create_future(), len(records))
        told, produce = waiting.told, producer.produce
        try:
            for topic, key, value, _ in records:
                produce(topic, value, key, on_delivery=told)
        except (BufferError, KafkaException) as error:
            raise NotTakenError(str(error)) from error
        self._waiting += 1
        self._wake.set()
        try:
            # librdkafka tells of each record within message.timeout.ms, taken or not.
            await waiting.done
        finally:
            self._waiting -= 1

    async def _poll(self, producer: Producer) -> None:
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            producer.poll(0)
            await asyncio.sleep(POLL_S)
