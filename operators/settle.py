"""Provider answers to decisions: outcome, retry, dead letter, dead token."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import msgspec

from operators.backoff import after_ms, history_line, retry_at_ms
from operators.ids import attempt_id, hold_id, trace_id_of
from operators.oversize import MAX_LINES
from operators.pace import delivery_key
from operators.recall import nameless
from operators.seen import until
from operators.work import Decided
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import FAST, Answer, DeadLetter, Delivery, Outcome, Timer, TokenDeath
from schemas.stream import Source
from schemas.tenant import RetryPolicy, Tenant
from schemas.topics import DELIVERIES

_encode = msgspec.msgpack.Encoder().encode
HISTORY_KEPT = MAX_LINES
"""Lines of history that a delivery carries: all since its last two replays at least, as a tenant
allows at most 20 attempts. What a further replay pushes out is in the earlier dead letters."""

EXPIRED = Answer(Status.EXPIRED, Reason.TTL_EXPIRED)
RECALLED: Mapping[Reason, Answer] = {
    reason: Answer(Status.SUPPRESSED, reason) for reason in (Reason.CANCELLED, Reason.USER_ERASED)
}
"""Why a delivery must not go any more -> its answer."""
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
    their whole history, and so does an answer that no table lists. A retry that would come after
    the message's expiry ends it as expired, with no dead letter: nobody would want it sent. What
    the sender held back comes again after exactly the time it gave, as the same attempt. A dead
    token is reported to the registry, unless withheld, asked about each batch, names its tenant
    and app (see operators/hygiene.py).
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        withheld: Callable[[list[Settled]], Collection[tuple[str, str]]] = lambda _settled: (),
    ) -> None:
        self._tenants = tenants
        self._withheld = withheld
        self._default = RetryPolicy()

    def __call__(self, settled: list[Settled], now_ms: int) -> Decided:
        """Give outcomes to go on, and timers, dead letters and token deaths beside them."""
        outcomes: list[Any] = []
        outs: list[Any] = []
        withheld = self._withheld(settled)
        for one in settled:
            answer = one.answer
            if answer.status is Status.RETRY or (
                answer.status is Status.UNKNOWN and one.delivery.priority in FAST
            ):
                outcomes.append(self._again(one, now_ms, outs))
            elif answer.status is Status.DEFERRED:
                outcomes.append(_hold(one, now_ms, outs))
            else:
                outcome = outcome_of(one, now_ms, answer.status, answer.reason)
                if answer.reason is Reason.USER_ERASED:
                    outcome = nameless(outcome)
                outcomes.append(outcome)
                if answer.reason is Reason.UNLISTED:
                    outs.append(_dead(one, now_ms))
            if (
                answer.token_action is TokenAction.DELETE
                and (one.delivery.tenant, one.delivery.app) not in withheld
            ):
                outs.append(_death(one))
        return outcomes, outs

    def _again(self, one: Settled, now_ms: int, outs: list[Any]) -> Outcome:
        delivery, answer = one.delivery, one.answer
        tenant = self._tenants.get(delivery.tenant)
        policy = tenant.retry if tenant is not None else self._default
        due = retry_at_ms(delivery, answer, policy, now_ms)
        if due is Reason.TTL_EXPIRED:
            return outcome_of(one, now_ms, Status.EXPIRED, due)
        if isinstance(due, Reason):
            outs.append(_dead(one, now_ms))
            return outcome_of(one, now_ms, Status.FAILED, due)
        later = msgspec.structs.replace(
            delivery,
            attempt=delivery.attempt + 1,
            holds=0,
            history=_history(one, now_ms),
        )
        timer_id = attempt_id(delivery.delivery_id, delivery.attempt, Status.RETRY)
        outs.append(_timer(timer_id, due, later))
        return outcome_of(one, now_ms, Status.RETRY, answer.reason)


def _hold(one: Settled, now_ms: int, outs: list[Any]) -> Outcome:
    """Put a delivery that was not sent back on its topic, after exactly the time asked for."""
    delivery, reason = one.delivery, one.answer.reason
    due_ms = after_ms(one.answer, now_ms)
    if delivery.expires_at_ms and due_ms >= delivery.expires_at_ms:
        return outcome_of(one, now_ms, Status.EXPIRED, Reason.TTL_EXPIRED)
    held_id = hold_id(delivery.delivery_id, delivery.attempt, delivery.holds)
    later = msgspec.structs.replace(
        delivery,
        holds=delivery.holds + 1,
        # Going from one process to the next is our own doing: its latency goes on counting.
        held=delivery.held or reason is not Reason.STOPPING,
    )
    outs.append(_timer(held_id, due_ms, later))
    deferred = outcome_of(one, now_ms, Status.DEFERRED, reason)
    return msgspec.structs.replace(deferred, outcome_id=held_id, detail=until(due_ms))


def _timer(timer_id: str, due_ms: int, later: Delivery) -> Timer:
    topic = DELIVERIES[later.platform, later.priority]
    return Timer(timer_id, due_ms, topic, delivery_key(later), _encode(later))


def _history(one: Settled, now_ms: int) -> tuple[str, ...]:
    lines = (*one.delivery.history, history_line(one.delivery, one.answer, now_ms))
    return lines[-HISTORY_KEPT:]


def outcome_of(one: Settled, now_ms: int, status: Status, reason: Reason) -> Outcome:
    """Make the outcome of an attempt."""
    d, answer = one.delivery, one.answer
    latency_ms = -1
    if status is Status.SENT and not d.held:
        latency_ms = max(0, one.answered_at_ms - d.accepted_at_ms)
    detail = answer.provider_reason
    if d.bypassed:
        detail = f"past {d.bypassed}; {detail}".rstrip("; ")
    if d.note:
        detail = f"{d.note}; {detail}".rstrip("; ")
    # Positional, in the order of the struct: this line runs once per push.
    return Outcome(
        attempt_id(d.delivery_id, d.attempt, status), now_ms, d.tenant, d.message_id, status,
        reason, d.priority, d.user_id, d.device_id, d.delivery_id, d.platform, d.category, d.type,
        d.campaign_id, d.attempt, answer.provider_status, detail,
        answer.provider_id, latency_ms, answer.token_action, d.token, answer.token_invalid_at_ms,
        trace_id_of(d.traceparent), d.sandbox, d.created_at_ms, d.variant,
    )  # fmt: skip


def _dead(one: Settled, now_ms: int) -> DeadLetter:
    delivery = one.delivery
    return DeadLetter(
        *one.source,
        error=f"{one.answer.reason}: {one.answer.provider_reason}".rstrip(": "),
        raw=_encode(delivery),
        at_ms=now_ms,
        history=_history(one, now_ms),
        key=delivery_key(delivery),
    )


def _death(one: Settled) -> TokenDeath:
    """Without a time from the provider, only the registration that was sent to is dead."""
    d = one.delivery
    return TokenDeath(
        d.tenant,
        d.user_id,
        d.device_id,
        d.platform,
        d.token,
        one.answer.token_invalid_at_ms or d.registered_at_ms,
        one.answer.reason,
        d.app,
    )
