"""Provider answers to decisions: outcome, retry, dead letter, dead token."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from operators.backoff import history_line, retry_at_ms
from operators.ids import attempt_id, trace_id_of
from operators.pace import delivery_key
from operators.work import Decided
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import FAST, Answer, DeadLetter, Delivery, Outcome, Timer, TokenDeath
from schemas.stream import Source
from schemas.tenant import RetryPolicy, Tenant
from schemas.topics import DELIVERIES

_encode = msgspec.msgpack.Encoder().encode
HISTORY_KEPT = 20

EXPIRED = Answer(Status.EXPIRED, Reason.TTL_EXPIRED)
IN_DOUBT = Answer(Status.UNKNOWN, Reason.IN_FLIGHT_AT_CRASH)


class Settled(NamedTuple):
    """A delivery with its answer. answered_at_ms: by the wall clock, for the latency."""

    delivery: Delivery
    answer: Answer
    source: Source
    answered_at_ms: int


class Settle:
    """Turns settled deliveries into what follows from them.

    A transient failure is scheduled again with the same delivery id; so is, for critical and
    high, a send whose fate is unknown. Exhausted retries go to the platform's dead letters with
    their whole history. A dead token is reported to the registry.
    """

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._tenants = tenants
        self._default = RetryPolicy()

    def __call__(self, settled: list[Settled], now_ms: int) -> Decided:
        """Give outcomes to go on, and timers, dead letters and token deaths beside them."""
        outcomes: list[Any] = []
        outs: list[Any] = []
        for one in settled:
            answer = one.answer
            if answer.status is Status.RETRY or (
                answer.status is Status.UNKNOWN and one.delivery.priority in FAST
            ):
                outcomes.append(self._again(one, now_ms, outs))
            else:
                outcomes.append(outcome_of(one, now_ms, answer.status, answer.reason))
                if answer.reason is Reason.UNLISTED:
                    outs.append(_dead(one, now_ms))
            if answer.token_action is TokenAction.DELETE:
                outs.append(_death(one, now_ms))
        return outcomes, outs

    def _again(self, one: Settled, now_ms: int, outs: list[Any]) -> Outcome:
        delivery, answer = one.delivery, one.answer
        tenant = self._tenants.get(delivery.tenant)
        policy = tenant.retry if tenant is not None else self._default
        due_ms = retry_at_ms(delivery, answer, policy, now_ms)
        if due_ms is None:
            outs.append(_dead(one, now_ms))
            return outcome_of(one, now_ms, Status.FAILED, Reason.RETRIES_EXHAUSTED)
        later = msgspec.structs.replace(
            delivery,
            attempt=delivery.attempt + 1,
            history=(*delivery.history[:HISTORY_KEPT], history_line(delivery, answer, now_ms)),
        )
        outs.append(
            Timer(
                attempt_id(delivery.delivery_id, delivery.attempt, Status.RETRY),
                due_ms,
                DELIVERIES[delivery.platform, delivery.priority],
                delivery_key(delivery),
                _encode(later),
            )
        )
        return outcome_of(one, now_ms, Status.RETRY, answer.reason)


def outcome_of(one: Settled, now_ms: int, status: Status, reason: Reason) -> Outcome:
    """Make the outcome of an attempt."""
    d, answer = one.delivery, one.answer
    latency_ms = -1
    if status is Status.SENT and not d.held:
        latency_ms = max(0, one.answered_at_ms - d.accepted_at_ms)
    # Positional, in the order of the struct: this line runs once per push.
    return Outcome(
        attempt_id(d.delivery_id, d.attempt, status), now_ms, d.tenant, d.message_id, status,
        reason, d.priority, d.user_id, d.device_id, d.delivery_id, d.platform, d.category, d.type,
        d.campaign_id, d.attempt, answer.provider_status, answer.provider_reason,
        answer.provider_id, latency_ms, answer.token_action, d.token, answer.token_invalid_at_ms,
        trace_id_of(d.traceparent), d.sandbox, d.created_at_ms,
    )  # fmt: skip


def _dead(one: Settled, now_ms: int) -> DeadLetter:
    delivery = one.delivery
    return DeadLetter(
        *one.source,
        error=f"{one.answer.reason}: {one.answer.provider_reason}".rstrip(": "),
        raw=_encode(delivery),
        at_ms=now_ms,
        history=(*delivery.history, history_line(delivery, one.answer, now_ms)),
    )


def _death(one: Settled, now_ms: int) -> TokenDeath:
    d = one.delivery
    return TokenDeath(
        d.tenant,
        d.user_id,
        d.device_id,
        d.platform,
        d.token,
        one.answer.token_invalid_at_ms or now_ms,
        one.answer.reason,
    )
