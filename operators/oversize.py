"""Records that Kafka would refuse for their size: what is said of them instead.

A producer client refuses a record beyond its message.max.bytes, and a refused record ends the
process, which reads the same input again: one such record would stop a priority for good. Decode
bounds what events can grow to; this is for what got past that, and for what nobody foresaw.
"""

from hashlib import blake2b
from typing import Any

import msgspec

from operators.ids import trace_id_of
from operators.pace import decided
from schemas.outcomes import Reason, Status
from schemas.packed import UNREADABLE
from schemas.pipeline import Chunk, DeadLetter, Delivery, Notice, Outcome, Timer
from schemas.stream import Record
from schemas.topics import CHUNKS, DELIVERIES

MAX_RECORD_BYTES = 985_000
"""Of a value; with its key it must be below 1,000,000, librdkafka's default message.max.bytes.
Source: librdkafka, CONFIGURATION.md."""
MAX_RAW_BYTES = 900_000
"""Of a dead letter: with its error and history it must itself fit into a record."""
MAX_ERROR_CHARS = 2_000
MAX_KEY_BYTES = 4_096
MAX_LINES = 60
MAX_LINE_CHARS = 260
"""A line of history has the provider's text, up to 200 characters, and what was made of it."""
MAX_TEXT_CHARS = 200

_CHUNKS = frozenset(CHUNKS.values())
_DELIVERIES = frozenset(DELIVERIES.values())
_decode_chunk = msgspec.msgpack.Decoder(Chunk).decode
_decode_notice = msgspec.msgpack.Decoder(Notice).decode
_decode_delivery = msgspec.msgpack.Decoder(Delivery).decode


def fitting(letter: DeadLetter) -> DeadLetter:
    """Give a dead letter that fits into a record; what is cut or left out is said."""
    notes = ""
    raw, key, history = letter.raw, letter.key, letter.history
    if len(raw) > MAX_RAW_BYTES:
        notes += f" (cut from {len(raw)} bytes)"
        raw = raw[:MAX_RAW_BYTES]
    if len(key) > MAX_KEY_BYTES:
        notes += f" (without its key of {len(key)} bytes)"
        key = b""
    if len(history) > MAX_LINES or any(len(line) > MAX_LINE_CHARS for line in history):
        history = tuple(line[:MAX_LINE_CHARS] for line in history[-MAX_LINES:])
    error = letter.error[:MAX_ERROR_CHARS] + notes
    return msgspec.structs.replace(letter, raw=raw, key=key, history=history, error=error)


def instead_of(item: Any, record: Record) -> list[Outcome | DeadLetter]:
    """Give what stands in for a record that is too large: an outcome, with a dead letter.

    An outcome is only shortened. The outcome occurs when Kafka took the event, as nothing else
    is the same in a replay.
    """
    if isinstance(item, Outcome):
        return [_shortened(item)]
    value = record.value or b""
    said = f"{len(value)} bytes for {record.topic}, over {MAX_RECORD_BYTES}"
    timer = item if isinstance(item, Timer) else None
    letter = DeadLetter(
        timer.topic if timer else record.topic, -1, -1, f"the record has {said}",
        timer.value if timer else value, 0,
    )  # fmt: skip
    try:
        outcome = _outcome(letter.topic, letter.raw)
    except UNREADABLE:
        outcome = None
    if outcome is None:
        return [letter]
    outcome = msgspec.structs.replace(outcome, detail=said)
    return [msgspec.structs.replace(letter, at_ms=outcome.occurred_at_ms), _shortened(outcome)]


def _outcome(topic: str, value: bytes) -> Outcome | None:
    """Make the outcome of a delivery or a chunk that cannot travel; None for anything else."""
    if topic in _DELIVERIES:
        delivery = _decode_delivery(value)
        return decided(delivery, delivery.accepted_at_ms, Status.REJECTED, Reason.PAYLOAD_TOO_LARGE)
    if topic not in _CHUNKS:
        return None
    notice = _decode_notice(_decode_chunk(value).notice)
    return Outcome(
        outcome_id=blake2b(value, digest_size=16).hexdigest(),
        occurred_at_ms=notice.accepted_at_ms,
        tenant=notice.tenant,
        message_id=notice.message_id,
        status=Status.REJECTED,
        reason=Reason.PAYLOAD_TOO_LARGE,
        priority=notice.priority,
        category=notice.category,
        type=notice.type,
        campaign_id=notice.campaign_id,
        trace_id=trace_id_of(notice.traceparent),
        sandbox=notice.sandbox,
        created_at_ms=notice.created_at_ms,
    )


def _shortened(outcome: Outcome) -> Outcome:
    """Cut every text; ids from outside are far shorter than that."""
    texts = {
        name: value[:MAX_TEXT_CHARS]
        for name, value in msgspec.structs.asdict(outcome).items()
        if type(value) is str and len(value) > MAX_TEXT_CHARS
    }
    return msgspec.structs.replace(outcome, **texts)
