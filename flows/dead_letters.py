"""Dead letters in Kafka: reading them, and resolving each of them once.

Kafka cannot take a single record out of a topic. So a letter stays until its retention ends, and
a mark on the compacted ``dead.resolved``, keyed by the letter's coordinates, says that it was
replayed or dropped. The mark and the replayed record go out in one transaction: there is never
one without the other. All who resolve share one transactional id, so whoever comes later fences
the earlier one, and reads the marks only after that; two operators cannot replay a letter twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from flows.broker_errors import is_passing
from flows.checkpoint import PRODUCER_DEFAULTS, TRANSACTION_TIMEOUT_S, produce
from flows.lanes import STORE
from operators.dead_letters import Filed, Wanted
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import DeadLetter
from schemas.stream import Message, Record, Source
from schemas.topics import DEAD_RESOLVED, LAST_WORDS
from state.patience import Patience

READ_TIMEOUT_S = 15.0
LETTERS_PER_TRANSACTION = 500
BYTES_PER_TRANSACTION = 32_000_000

_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - librdkafka's local codes are spelt so
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)

READING: dict[str, Any] = {
    "group.id": "clarion-dlq",  # joins nothing, commits nothing
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 20,  # the end is told after a fetch that found nothing more
}

_decode_letter = msgspec.msgpack.Decoder(DeadLetter).decode


class Mark(msgspec.Struct, frozen=True):
    """What became of a letter. action: replayed or dropped. at: epoch ms, by the wall clock."""

    action: str
    at: int
    by: str


_decode_mark = msgspec.json.Decoder(Mark).decode
_encode_mark = msgspec.json.Encoder().encode


class UnreadError(Exception):
    """A topic is not there, or was not read to its end in time; the message says which."""


class FencedError(Exception):
    """Somebody else began to resolve dead letters; what was not yet committed is untouched."""


class Resolution(NamedTuple):
    """What to do with a letter. record: to put back, None drops it."""

    filed: Filed
    record: Record | None


class DeadLetters:
    """Reads letters and marks, as they are committed. settings: librdkafka options."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)

    def letters(self, wanted: Wanted) -> Iterator[Filed]:
        """Give the letters that are meant, oldest first in each stage, resolved ones among them.

        What is no letter is given as one without a way back. Raises UnreadError, KafkaException.
        """
        for topic in wanted.topics():
            spans: dict[int, list[int]] = {}
            for source in wanted.ids:
                if source.topic == topic:
                    spans.setdefault(source.partition, []).append(source.offset)
            bounds = {number: (min(found), max(found)) for number, found in spans.items()}
            for message in self._read(topic, bounds):
                filed = _filed(message)
                if wanted.means(filed):
                    yield filed

    def marks(self) -> dict[str, Mark]:
        """Give what became of letters, by their ids. Raises UnreadError, KafkaException."""
        return {
            (message.key() or b"").decode(): _decode_mark(message.value() or b"")
            for message in self._read(DEAD_RESOLVED)
        }

    def overtaken(self, letters: Iterable[Filed]) -> set[str]:
        """Give the ids of letters whose key has a newer record on the topic they came from.

        Only for compacted topics: an older record put back would become the last word there.
        Raises UnreadError, KafkaException.
        """
        found: set[str] = set()
        by_topic: dict[str, list[Filed]] = {}
        for filed in letters:
            if filed.letter.topic in LAST_WORDS and filed.letter.key:
                by_topic.setdefault(filed.letter.topic, []).append(filed)
        for topic, group in by_topic.items():
            keys = {filed.letter.key for filed in group}
            bounds = {
                number: (min(f.letter.offset + 1 for f in group if f.letter.partition == number),)
                for number in {filed.letter.partition for filed in group}
            }
            newest = {
                (m.key(), m.partition()): m.offset()
                for m in self._read(topic, bounds)
                if m.key() in keys
            }
            found |= {
                str(f.at)
                for f in group
                if newest.get((f.letter.key, f.letter.partition), -1) > f.letter.offset
            }
        return found

    def _read(
        self, topic: str, bounds: Mapping[int, tuple[int, ...]] | None = None
    ) -> Iterator[Message]:
        """Read partitions to the end there was, all of them unless bounds names some.

        bounds: by partition the first offset and perhaps the last.
        """
        consumer = Consumer(self._settings | READING)
        try:
            spans = _spans(consumer, topic, bounds or {})
            consumer.assign([TopicPartition(topic, n, span[0]) for n, span in spans.items()])
            left = {number: span[1] for number, span in spans.items()}
            while left:
                message: Any = consumer.poll(READ_TIMEOUT_S)
                if message is None:
                    raise UnreadError(f"{topic} was not read to its end in time")
                number = message.partition()
                if (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
                        raise KafkaException(error)
                    left.pop(number, None)
                elif number in left:
                    if message.offset() < left[number]:
                        yield message
                    if message.offset() >= left[number] - 1:
                        del left[number]
        finally:
            consumer.close()


class Resolver:
    """Replays and drops letters, each once; one at a time in a whole installation.

    by: who does it, for the marks. wall_ms: clock for them.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        transactional_id: str,
        by: str,
        wall_ms: Callable[[], int],
    ) -> None:
        self._settings = dict(settings)
        self._id = transactional_id
        self._by = by
        self._wall_ms = wall_ms
        self._producer: Producer | None = None
        self._resolved: set[str] = set()

    def open(self) -> None:
        """Fence whoever else resolves, then read what has been resolved so far.

        In this order: nobody can add marks any more that are not read here. Raises UnreadError,
        KafkaException.
        """
        settings = PRODUCER_DEFAULTS | self._settings | {"transactional.id": self._id}
        self._producer = Producer(settings)
        self._producer.init_transactions(TRANSACTION_TIMEOUT_S)
        self._resolved = set(DeadLetters(self._settings).marks())

    def resolve(self, wanted: Iterable[Resolution]) -> Iterator[list[Resolution]]:
        """Resolve letters, a bounded number in each transaction; give those of each committed one.

        Letters that are resolved already are left out. Raises FencedError, KafkaException.
        """
        for portion in _portions(wanted):
            fresh = [one for one in portion if str(one.filed.at) not in self._resolved]
            if not fresh:
                continue
            try:
                self._write(fresh)
                self._open_producer().commit_transaction(TRANSACTION_TIMEOUT_S)
            except KafkaException as error:
                raise self._explained(error) from error
            self._resolved |= {str(one.filed.at) for one in fresh}
            yield fresh

    def _write(self, portion: Sequence[Resolution]) -> None:
        producer = self._open_producer()
        producer.begin_transaction()
        records: list[Record] = []
        for filed, record in portion:
            if record is not None:
                records.append(record)
            mark = Mark("dropped" if record is None else "replayed", self._wall_ms(), self._by)
            records.append(Record(DEAD_RESOLVED, str(filed.at).encode(), _encode_mark(mark)))
        produce(producer, records)

    def _explained(self, error: KafkaException) -> Exception:
        if error.args[0].code() in _FENCED:
            return FencedError("somebody else began to resolve dead letters")
        if error.args[0].txn_requires_abort():
            self._open_producer().abort_transaction(TRANSACTION_TIMEOUT_S)
        return error

    def _open_producer(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("open() comes before resolve()")
        return self._producer


def _filed(message: Message) -> Filed:
    at = Source(message.topic(), message.partition(), message.offset())
    raw = message.value() or b""
    try:
        letter = _decode_letter(raw)
    except UNREADABLE as error:
        what = f"this record is no dead letter: {fault_of(error)}"
        letter = DeadLetter(*at, error=what, raw=raw, at_ms=message.timestamp()[1])
    return Filed(at, letter)


def _spans(
    consumer: Consumer, topic: str, bounds: Mapping[int, tuple[int, ...]]
) -> dict[int, tuple[int, int]]:
    """Give the first offset to read and the first not to, of each partition that holds any."""
    found = consumer.list_topics(topic, timeout=READ_TIMEOUT_S).topics.get(topic)
    if found is None or found.error is not None or not found.partitions:
        raise UnreadError(f"there is no topic {topic}: clarion flows topics makes it")
    spans: dict[int, tuple[int, int]] = {}
    patience = Patience(limit_s=READ_TIMEOUT_S)  # leaders move
    for number in bounds or found.partitions:
        if number not in found.partitions:
            continue
        first, *last = bounds.get(number, (0,))
        tp = TopicPartition(topic, number)
        low, end = patience.keep(
            STORE, partial(consumer.get_watermark_offsets, tp, READ_TIMEOUT_S), passing=is_passing
        )
        span = (max(low, first), min([end, *(one + 1 for one in last)]))
        if span[0] < span[1]:
            spans[number] = span
    return spans


def _portions(wanted: Iterable[Resolution]) -> Iterator[list[Resolution]]:
    portion: list[Resolution] = []
    size_bytes = 0
    for one in wanted:
        portion.append(one)
        size_bytes += len(one.filed.letter.raw)
        if len(portion) >= LETTERS_PER_TRANSACTION or size_bytes >= BYTES_PER_TRANSACTION:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion
