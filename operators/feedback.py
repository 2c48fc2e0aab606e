"""Feedback to outcomes: what apps and providers report joins what Clarion decided."""

from typing import Any

import msgspec

from operators.work import Decided
from schemas.campaigns import campaign_of_run
from schemas.decode import BadMessageError, decode
from schemas.feedback import Feedback
from schemas.outcomes import Reason, Status
from schemas.pipeline import DeadLetter, Outcome
from schemas.stream import Message
from schemas.topics import FEEDBACK

MAX_FEEDBACK_BYTES = 16_384
_encode = msgspec.msgpack.Encoder().encode


def outcome_rows(messages: list[Message], now_ms: int) -> Decided:
    """Turn records into (topic, partition, offset, value) with an encoded Outcome as value.

    Outcomes are passed on as they are; the writer decodes them in bulk.
    """
    rows: list[Any] = []
    letters: list[Any] = []
    for message in messages:
        topic, value = message.topic(), message.value()
        at = (topic, message.partition(), message.offset())
        if topic == FEEDBACK:
            try:
                value = _encode(outcome_of(value, f"{at[0]}/{at[1]}/{at[2]}"))
            except BadMessageError as error:
                letters.append(DeadLetter(*at, error=str(error), raw=value or b"", at_ms=now_ms))
                continue
        rows.append((*at, value or b""))
    return rows, letters


def outcome_of(raw: bytes | None, outcome_id: str) -> Outcome:
    """Validate one feedback message. Raises BadMessageError."""
    said = decode(Feedback, raw, max_bytes=MAX_FEEDBACK_BYTES)
    return Outcome(
        outcome_id=outcome_id,
        occurred_at_ms=said.occurred_at_ms,
        tenant=said.tenant,
        message_id=said.message_id,
        status=Status(said.kind.value),
        reason=Reason.FEEDBACK,
        user_id=said.user_id,
        device_id=said.device_id or "",
        delivery_id=said.delivery_id or "",
        campaign_id=said.campaign_id or campaign_of_run(said.message_id),
        detail=said.detail[:200],
        created_at_ms=said.occurred_at_ms,
    )
