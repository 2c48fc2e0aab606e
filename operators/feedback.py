"""Feedback to outcomes: what apps and providers report joins what Clarion decided."""

from collections.abc import Callable
from typing import Any

import msgspec

from operators.ids import feedback_id
from operators.work import Decided
from schemas.campaigns import campaign_of_run
from schemas.decode import BadMessageError, decode
from schemas.feedback import REMEMBERED_S, Feedback
from schemas.outcomes import Reason, Status
from schemas.pipeline import DeadLetter, Outcome
from schemas.stream import Message
from schemas.topics import FEEDBACK
from state.dedup import Dedup

MAX_FEEDBACK_BYTES = 16_384
_encode = msgspec.msgpack.Encoder().encode


class ReadOutcomes:
    """Turns records into (topic, partition, offset, value) with an encoded Outcome as value.

    Outcomes are passed on as they are; the writer decodes them in bulk. Feedback that says what
    was said before is left out: apps and producers repeat what they are not sure about. The key of
    a report stores its coordinates, so a replayed one recognises itself and goes on.
    repeated: told how many were left out.
    """

    def __init__(self, seen: Dedup, repeated: Callable[[int], Any] = lambda _count: None) -> None:
        self._seen = seen
        self._repeated = repeated

    def __call__(self, messages: list[Message], now_ms: int) -> Decided:
        """One round trip for a batch with feedback in it, none for others."""
        rows: list[Any] = []
        letters: list[Any] = []
        said: list[Outcome] = []
        places: list[int] = []
        for message in messages:
            topic, value = message.topic(), message.value()
            at = (topic, message.partition(), message.offset())
            if topic == FEEDBACK:
                try:
                    outcome = outcome_of(value, message.timestamp()[1])
                except BadMessageError as error:
                    raw = value or b""
                    letters.append(DeadLetter(*at, error=str(error), raw=raw, at_ms=now_ms))
                    continue
                said.append(outcome)
                places.append(len(rows))
                value = _encode(outcome)
            rows.append((*at, value or b""))
        if said:
            rows = self._once(rows, said, places)
        return rows, letters

    def _once(self, rows: list[Any], said: list[Outcome], places: list[int]) -> list[Any]:
        """Leave out repeats. places: where the rows of what was said are."""
        firsts = self._seen.seen_many(
            [(one.tenant, f"feedback/{one.outcome_id}") for one in said],
            ["/".join(map(str, rows[place][:3])) for place in places],
            REMEMBERED_S,
        )
        repeats = {place for place, first in zip(places, firsts, strict=True) if first}
        if not repeats:
            return rows
        self._repeated(len(repeats))
        return [row for place, row in enumerate(rows) if place not in repeats]


def outcome_of(raw: bytes | None, taken_ms: int) -> Outcome:
    """Validate one feedback message. Raises BadMessageError.

    taken_ms: when Kafka took it. An app's clock may be ahead; nothing happened after that.
    """
    said = decode(Feedback, raw, max_bytes=MAX_FEEDBACK_BYTES)
    occurred_at_ms = min(said.occurred_at_ms, taken_ms)
    return Outcome(
        outcome_id=outcome_id_of(said),
        occurred_at_ms=occurred_at_ms,
        tenant=said.tenant,
        message_id=said.message_id,
        status=Status(said.kind.value),
        reason=Reason.FEEDBACK,
        user_id=said.user_id,
        device_id=said.device_id or "",
        delivery_id=said.delivery_id or "",
        campaign_id=said.campaign_id or campaign_of_run(said.message_id),
        detail=said.detail[:200],
        created_at_ms=occurred_at_ms,
    )


def outcome_id_of(said: Feedback) -> str:
    """Give the id of the outcome that a report becomes.

    From the time as it was said: when Kafka took it is another one for a repeat.
    """
    return feedback_id(
        (
            said.tenant,
            said.message_id,
            said.user_id,
            said.kind.value,
            str(said.occurred_at_ms),
            said.device_id or "",
            said.delivery_id or "",
            said.detail,
        )
    )
