"""Dead letters on their way back: which are meant, and the record that replays one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from operators.backoff import replay_line
from operators.encode import MAX_RAW_BYTES
from operators.feedback import outcome_of
from operators.pace import delivery_key
from operators.registration import Registration, Removal, decode_registrations
from operators.registry_rows import AuditRow
from schemas import topics
from schemas.decode import BadMessageError
from schemas.events import decode_event
from schemas.fields import epoch_ms
from schemas.moments import moment
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import Chunk, DeadLetter, Delivery, Notice, Outcome, Timer
from schemas.registry import registry_key
from schemas.stream import Record, Source

STAGES: Mapping[str, str] = {
    "route": topics.DEAD_ROUTE,
    "registry": topics.DEAD_REGISTRY,
    "outcomes": topics.DEAD_OUTCOMES,
    "timers": topics.DEAD_TIMERS,
    "campaigns": topics.DEAD_CAMPAIGNS,
} | {platform.value: topic for platform, topic in topics.DEAD_DELIVERIES.items()}
"""Stage -> the topic of its dead letters."""

_EVENTS, _CHUNKS = frozenset(topics.EVENTS.values()), frozenset(topics.CHUNKS.values())
_DELIVERIES = frozenset(topics.DELIVERIES.values())

_encode = msgspec.msgpack.Encoder().encode
_decode_chunk = msgspec.msgpack.Decoder(Chunk).decode
_decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
_decode_notice = msgspec.msgpack.Decoder(Notice).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
_decode_timer = msgspec.msgpack.Decoder(Timer).decode


class _Named(msgspec.Struct):
    tenant: str = ""


_decode_named = msgspec.json.Decoder(_Named).decode


class Filed(NamedTuple):
    """A dead letter and where it lies; the id of a letter is those coordinates."""

    at: Source
    letter: DeadLetter


class RefusedError(ValueError):
    """A letter cannot be replayed; the message says why and, where there is one, the remedy."""


@dataclass(frozen=True)
class Wanted:
    """Which letters are meant; what is empty asks for nothing.

    text: part of the error, whatever its case, such as a reason. since_ms, until_ms: of the letter.
    """

    stages: tuple[str, ...] = ()
    ids: frozenset[Source] = frozenset()
    tenant: str = ""
    text: str = ""
    since_ms: int = 0
    until_ms: int = 0

    def topics(self) -> list[str]:
        """Give the topics that such letters lie on."""
        named = {source.topic for source in self.ids}
        return [
            topic
            for stage, topic in STAGES.items()
            if (not self.stages or stage in self.stages) and (not named or topic in named)
        ]

    def means(self, filed: Filed) -> bool:
        """Tell whether this letter is one of them."""
        letter = filed.letter
        return (
            (not self.ids or filed.at in self.ids)
            and letter.at_ms >= self.since_ms
            and (not self.until_ms or letter.at_ms < self.until_ms)
            and self.text.casefold() in letter.error.casefold()
            and (not self.tenant or tenant_of(letter.topic, letter.raw) == self.tenant)
        )


def tenant_of(topic: str, raw: bytes) -> str:
    """Give the tenant of a record of this topic, as far as one can tell; else ""."""
    try:
        if topic in _DELIVERIES:
            return _decode_delivery(raw).tenant
        if topic in _CHUNKS:
            return _decode_notice(_decode_chunk(raw).notice).tenant
        if topic == topics.OUTCOMES:
            return _decode_outcome(raw).tenant
        if topic == topics.TIMERS:
            timer = _decode_timer(raw)
            return tenant_of(timer.topic, timer.value)
        return _decode_named(raw).tenant
    except UNREADABLE:
        return ""


def is_cut(letter: DeadLetter) -> bool:
    """Tell whether the record was too long for a letter, so that its end is missing."""
    return len(letter.raw) >= MAX_RAW_BYTES and "(cut from " in letter.error


class Replay:
    """Turns letters into the records that put them back where they came from.

    The identity stays: an event has its own id and idempotency key, a delivery its ids, so what
    follows is the same message. What cannot be read still is refused, as it would only come back.

    by: who replays, for the history. ttl_s: a new time to live for deliveries; without it, what
    has expired is refused. timer: puts a timer on its slot, see flows/timer_wheel.
    """

    def __init__(
        self, *, now_ms: int, by: str, timer: Callable[[Timer], Record], ttl_s: float | None = None
    ) -> None:
        self._now_ms = now_ms
        self._by = by
        self._timer = timer
        self._ttl_s = ttl_s

    def __call__(self, letter: DeadLetter) -> Record:
        """Make a letter's record. Raises RefusedError."""
        if is_cut(letter):
            raise RefusedError(f"only the first {len(letter.raw)} bytes of the record were kept")
        make = _maker_of(letter.topic)
        try:
            return make(self, letter)
        except BadMessageError as error:
            raise RefusedError(f"it still cannot be read: {error}") from None
        except UNREADABLE as error:
            raise RefusedError(f"it still cannot be read: {fault_of(error)}") from None

    def _event(self, letter: DeadLetter) -> Record:
        event = decode_event(letter.raw)
        if event.expires_at is not None:
            self._refuse_expired(epoch_ms(event.expires_at), "its producer must send it anew")
        return Record(letter.topic, letter.key or event.id.encode(), letter.raw)

    def _chunk(self, letter: DeadLetter) -> Record:
        notice = _decode_notice(_decode_chunk(letter.raw).notice)
        self._refuse_expired(notice.expires_at_ms, "its producer must send it anew")
        return Record(letter.topic, letter.key or notice.message_id.encode(), letter.raw)

    def _delivery(self, letter: DeadLetter) -> Record:
        delivery = _decode_delivery(letter.raw)
        now_ms = self._now_ms
        expires_at_ms = delivery.expires_at_ms
        if self._ttl_s is not None:
            expires_at_ms = now_ms + int(self._ttl_s * 1_000)
        self._refuse_expired(expires_at_ms, "--ttl gives it a new time to live")
        was_tried = bool(letter.history)
        again = msgspec.structs.replace(
            delivery,
            attempt=delivery.attempt + was_tried,
            attempts_before=delivery.attempt if was_tried else delivery.attempts_before,
            expires_at_ms=expires_at_ms,
            holds=0,
            held=True,  # the time until somebody replayed it is no latency
            history=(*(letter.history or delivery.history), replay_line(now_ms, self._by)),
        )
        topic = topics.DELIVERIES[again.platform, again.priority]
        return Record(topic, delivery_key(again), _encode(again))

    def _registration(self, letter: DeadLetter) -> Record:
        changes, letters = decode_registrations([_Again(letter)], self._now_ms)
        if letters:
            raise BadMessageError(letters[0].error)
        if letter.key:
            return Record(letter.topic, letter.key, letter.raw)
        (change,) = changes
        if isinstance(change, AuditRow):
            return Record(letter.topic, None, letter.raw)
        parts = [change.tenant, change.user_id]
        if isinstance(change, Registration):
            parts.append(change.device.device_id)
        elif isinstance(change, Removal):
            parts.append(change.device_id)
        return Record(letter.topic, registry_key(*parts), letter.raw)

    def _outcome(self, letter: DeadLetter) -> Record:
        _decode_outcome(letter.raw)
        return Record(letter.topic, letter.key or None, letter.raw)

    def _feedback(self, letter: DeadLetter) -> Record:
        outcome_of(letter.raw, self._now_ms)
        return Record(letter.topic, letter.key or None, letter.raw)

    def _timers(self, letter: DeadLetter) -> Record:
        timer = _decode_timer(letter.raw)
        # The slot of a time that has passed is read again only a lap later.
        due_at_ms = max(timer.due_at_ms, self._now_ms)
        return self._timer(msgspec.structs.replace(timer, due_at_ms=due_at_ms))

    def _refuse_expired(self, expires_at_ms: int, remedy: str) -> None:
        if expires_at_ms and expires_at_ms <= self._now_ms:
            raise RefusedError(f"it expired at {moment(expires_at_ms)}: {remedy}")


_MAKERS: Mapping[str, Callable[[Replay, DeadLetter], Record]] = (
    dict.fromkeys(_EVENTS, Replay._event)  # noqa: SLF001 - of this module
    | dict.fromkeys(_CHUNKS, Replay._chunk)  # noqa: SLF001 - as above
    | dict.fromkeys(_DELIVERIES, Replay._delivery)  # noqa: SLF001 - as above
    | dict.fromkeys(topics.LAST_WORDS, Replay._registration)  # noqa: SLF001 - as above
    | {
        topics.OUTCOMES: Replay._outcome,  # noqa: SLF001 - as above
        topics.USER_EVENTS: Replay._registration,  # noqa: SLF001 - as above
        topics.AUDIT: Replay._registration,  # noqa: SLF001 - as above
        topics.FEEDBACK: Replay._feedback,  # noqa: SLF001 - as above
        topics.TIMERS: Replay._timers,  # noqa: SLF001 - as above
    }
)


def _maker_of(topic: str) -> Callable[[Replay, DeadLetter], Record]:
    make = _MAKERS.get(topic)
    if make is None:
        raise RefusedError(f"it came from {topic!r}, to which nothing is put back")
    return make


class _Again(NamedTuple):
    """A letter's record as it was read, but for a tombstone: its letter looks like an empty value.

    So it is refused, like that: taken for a tombstone, an empty value would remove somebody.
    """

    letter: DeadLetter

    def topic(self) -> str:
        return self.letter.topic

    def partition(self) -> int:
        return self.letter.partition

    def offset(self) -> int:
        return self.letter.offset

    def key(self) -> bytes | None:
        return self.letter.key or None

    def value(self) -> bytes | None:
        return self.letter.raw

    def timestamp(self) -> tuple[int, int]:
        return (1, self.letter.at_ms)
