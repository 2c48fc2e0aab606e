"""settle: what follows from a provider's answer."""

from typing import Any

import msgspec
import pytest

from operators.oversize import MAX_LINE_CHARS, MAX_RAW_BYTES, MAX_RECORD_BYTES, fitting
from operators.pace import held_delivery
from operators.settle import EXPIRED, HISTORY_KEPT, IN_DOUBT, Settle, Settled
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, DeadLetter, Delivery, Priority, Timer, TokenDeath
from schemas.stream import Source
from sinks import apns_reasons, fcm_errors, webpush_status
from tests.unit.operators.builders import NOW_MS, delivery, only, tenant

SOURCE = Source("deliveries.fcm.normal", 2, 44)
SENT = Answer(Status.SENT, Reason.ACCEPTED, 200, provider_id="p-1")
BUSY = Answer(Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 503, "busy")
LOST = Answer(Status.UNKNOWN, Reason.CONNECTION_LOST)
GONE = Answer(
    Status.FAILED,
    Reason.TOKEN_UNREGISTERED,
    410,
    "Unregistered",
    token_action=TokenAction.DELETE,
    token_invalid_at_ms=NOW_MS - 777,
)


def settle(answer: Answer, **changes: Any) -> tuple[Any, list[Any]]:
    one = Settled(delivery(**changes), answer, SOURCE, NOW_MS + 70)
    (outcome,), outs = Settle({"acme": tenant()})([one], NOW_MS)
    return outcome, outs


def test_sent_is_an_outcome_with_its_latency() -> None:
    """From when Kafka took the event until the answer."""
    outcome, outs = settle(SENT, accepted_at_ms=NOW_MS - 50)
    assert outs == []
    assert (outcome.status, outcome.reason, outcome.latency_ms) == ("sent", "accepted", 120)
    assert (outcome.provider_status, outcome.provider_id) == (200, "p-1")


def test_a_clock_that_went_back_gives_no_negative_latency() -> None:
    """Zero is the least."""
    assert settle(SENT, accepted_at_ms=NOW_MS + 1_000)[0].latency_ms == 0


def test_what_policy_held_has_no_latency() -> None:
    """Its night was not the provider's."""
    assert settle(SENT, held=True)[0].latency_ms == -1


def test_an_outcome_says_all_that_is_known_of_the_delivery() -> None:
    """Field by field."""
    outcome, _ = settle(
        SENT,
        campaign_id="c",
        sandbox=True,
        attempt=3,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    assert outcome.outcome_id == "00000000-0000-8000-a000-000000000001.3.sent"
    assert (outcome.tenant, outcome.message_id, outcome.user_id) == ("acme", "m-1", "u1")
    assert (outcome.device_id, outcome.token, outcome.platform) == ("d1", "token-of-d1", "fcm")
    assert (outcome.category, outcome.type, outcome.campaign_id) == ("news", "test.event", "c")
    assert (outcome.priority, outcome.attempt, outcome.sandbox) == ("normal", 3, True)
    assert outcome.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (outcome.occurred_at_ms, outcome.created_at_ms) == (NOW_MS, NOW_MS)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Status.FAILED, Reason.TOKEN_WRONG_APP, 403, "SenderIdMismatch"),
        Answer(Status.REJECTED, Reason.PAYLOAD_TOO_LARGE, 413),
        EXPIRED,
        IN_DOUBT,
        LOST,
    ],
    ids=lambda answer: answer.reason.value,
)
def test_what_is_final_is_an_outcome_and_nothing_else(answer: Answer) -> None:
    """Also bulk whose fate is unknown: it is not resent."""
    outcome, outs = settle(answer)
    assert (outcome.status, outcome.reason) == (answer.status, answer.reason)
    assert (outcome.latency_ms, outs) == (-1, [])


def test_a_transient_failure_is_tried_again() -> None:
    """With the same id, the next attempt and its history, on its own topic."""
    outcome, outs = settle(BUSY)
    (timer,) = outs
    later = msgspec.msgpack.decode(timer.value, type=Delivery)
    assert (outcome.status, outcome.reason) == ("retry", "provider_unavailable")
    assert (timer.topic, timer.key) == ("deliveries.fcm.normal", b"acme/u1")
    assert timer.due_at_ms > NOW_MS
    line = f"{NOW_MS} attempt 1: retry provider_unavailable 503 busy"
    assert later == delivery(attempt=2, history=(line,))


def test_each_attempt_has_a_timer_and_an_outcome_of_its_own() -> None:
    """Ids do not repeat."""
    found = [settle(BUSY, attempt=n) for n in (1, 2)]
    assert found[0][0].outcome_id != found[1][0].outcome_id
    assert found[0][1][0].timer_id != found[1][1][0].timer_id


@pytest.mark.parametrize("priority", [Priority.CRITICAL, Priority.HIGH])
def test_an_unknown_fate_is_tried_again_when_urgent(priority: Priority) -> None:
    """Better twice than not at all."""
    outcome, outs = settle(LOST, priority=priority)
    assert (outcome.status, outcome.reason) == ("retry", "connection_lost")
    assert [timer.topic for timer in only(Timer, outs)] == [f"deliveries.fcm.{priority}"]


def test_exhausted_retries_are_a_dead_letter_with_the_whole_history() -> None:
    """And a failed outcome."""
    outcome, outs = settle(BUSY, attempt=6, history=("one", "two"))
    (letter,) = outs
    assert (outcome.status, outcome.reason) == ("failed", "retries_exhausted")
    assert (outcome.provider_status, outcome.detail) == (503, "busy")
    assert type(letter) is DeadLetter
    assert (letter.topic, letter.partition, letter.offset) == tuple(SOURCE)
    last = f"{NOW_MS} attempt 6: retry provider_unavailable 503 busy"
    assert letter.history == ("one", "two", last)
    assert letter.key == b"acme/u1"
    assert msgspec.msgpack.decode(letter.raw, type=Delivery).attempt == 6


def test_a_retry_after_expiry_is_none() -> None:
    """It ends as expired, with what the provider said, and nobody wants it back."""
    outcome, outs = settle(BUSY, expires_at_ms=NOW_MS + 1)
    assert (outcome.status, outcome.reason) == ("expired", "ttl_expired")
    assert (outcome.provider_status, outcome.detail) == (503, "busy")
    assert outs == []


TABLES = [
    *((one.status, one.reason, one.retry_after_s) for one in apns_reasons.VERDICTS.values()),
    *((one.status, one.reason, one.wait_s) for one in fcm_errors.BY_CODE.values()),
    *((one.status, one.reason, one.wait_s) for one in fcm_errors.BY_STATUS.values()),
    *((one.status, one.reason, one.wait_s) for one in webpush_status.TABLE.values()),
]
"""(status, reason, wait) of every answer that the providers' tables hold."""


@pytest.mark.parametrize("priority", [Priority.CRITICAL, Priority.LOW])
@pytest.mark.parametrize("row", sorted(set(TABLES), key=str), ids=lambda row: f"{row[0]}-{row[1]}")
def test_only_what_a_table_calls_transient_is_tried_again(
    row: tuple[Status, Reason, float | None], priority: Priority
) -> None:
    """And never sooner than the table says; 4xx about the configuration stay rejected."""
    status, reason, wait_s = row
    outcome, outs = settle(Answer(status, reason, retry_after_s=wait_s), priority=priority)
    again = status is Status.RETRY or (status is Status.UNKNOWN and priority is Priority.CRITICAL)
    timers = only(Timer, outs)
    assert len(timers) == again
    assert outcome.status is (Status.RETRY if again else status)
    assert all(timer.due_at_ms >= NOW_MS + (wait_s or 0) * 1_000 for timer in timers)
    if reason in {Reason.BAD_CONFIG, Reason.BAD_CREDENTIALS, Reason.BAD_REQUEST}:
        assert (outcome.status, outs) == (Status.REJECTED, [])


def deferred(reason: Reason, retry_after_s: float = 2.5) -> Answer:
    return Answer(Status.DEFERRED, reason, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("reason", "held"),
    [(Reason.CIRCUIT_OPEN, True), (Reason.PROVIDER_PACE, True), (Reason.STOPPING, False)],
)
def test_what_was_held_back_comes_again_as_the_same_attempt(
    reason: Reason,
    held: bool,  # noqa: FBT001 - a parameter of the table above
) -> None:
    """At exactly the time given, with no line of history; only a hand-over keeps its latency."""
    outcome, (timer,) = settle(deferred(reason), attempt=3, history=("one",))
    assert (outcome.status, outcome.reason, outcome.latency_ms) == ("deferred", reason, -1)
    assert (timer.topic, timer.key) == ("deliveries.fcm.normal", b"acme/u1")
    assert timer.due_at_ms == NOW_MS + 2_500
    later = msgspec.msgpack.decode(timer.value, type=Delivery)
    assert later == delivery(attempt=3, history=("one",), holds=1, held=held)


def test_a_hand_over_does_not_undo_an_earlier_hold() -> None:
    """What policy held has no latency, whatever follows."""
    _, (timer,) = settle(deferred(Reason.STOPPING), held=True)
    assert msgspec.msgpack.decode(timer.value, type=Delivery).held


@pytest.mark.parametrize(("left_ms", "status"), [(2_500, "expired"), (2_501, "deferred")])
def test_a_hold_beyond_expiry_ends_it(left_ms: int, status: str) -> None:
    """It would not be sent then."""
    outcome, outs = settle(deferred(Reason.CIRCUIT_OPEN), expires_at_ms=NOW_MS + left_ms)
    assert (outcome.status, len(outs)) == (status, int(status == "deferred"))


def test_every_hold_and_attempt_has_ids_of_its_own() -> None:
    """Held by a rate, twice by the sender, tried, held and tried again: nothing collides."""
    timer, outcome = held_delivery(delivery(), NOW_MS, NOW_MS, Reason.TENANT_RATE)
    outcomes, timers = [outcome], [timer]
    for answer in (
        *[deferred(Reason.PROVIDER_PACE)] * 2,
        BUSY,
        *[deferred(Reason.PROVIDER_PACE)] * 2,
        BUSY,
        SENT,
    ):
        on_way = msgspec.msgpack.decode(timers[-1].value, type=Delivery)
        found, outs = Settle({})([Settled(on_way, answer, SOURCE, NOW_MS)], NOW_MS)
        outcomes += found
        timers += outs
    assert [o.attempt for o in outcomes[1:]] == [1, 1, 1, 2, 2, 2, 3]
    assert len({o.outcome_id for o in outcomes}) == len(outcomes) == 8
    assert len({one.timer_id for one in timers}) == len(timers) == 7
    again = msgspec.msgpack.decode(timers[-1].value, type=Delivery)
    assert (again.attempt, again.holds, len(again.history)) == (3, 0, 2)


def test_a_long_history_keeps_what_is_newest() -> None:
    """Older lines are in the dead letters of earlier lives."""
    lines = tuple(f"{NOW_MS} line {n}" for n in range(HISTORY_KEPT))
    _, (timer,) = settle(BUSY, history=lines)
    kept = msgspec.msgpack.decode(timer.value, type=Delivery).history
    assert (len(kept), kept[:-1]) == (HISTORY_KEPT, lines[1:])


def test_a_dead_letter_fits_into_a_record_with_its_whole_history() -> None:
    """As many lines as a delivery carries, as long as they get, in letters of four bytes."""
    said = Answer(Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 503, "\U0001f514" * 200)
    lines = tuple(f"{NOW_MS} attempt 19: retry provider_unavailable 503 {said.provider_reason}"
                  for _ in range(HISTORY_KEPT))  # fmt: skip
    assert max(map(len, lines)) <= MAX_LINE_CHARS
    (letter,) = settle(said, attempt=20, history=lines)[1]
    large = msgspec.structs.replace(letter, raw=bytes(MAX_RAW_BYTES))
    assert fitting(large) == large
    assert len(msgspec.msgpack.encode(large)) < MAX_RECORD_BYTES


def test_the_whole_way_of_retries_keeps_every_attempt() -> None:
    """Attempt by attempt until the dead letter."""
    on_way, histories = delivery(), []
    step = Settle({"acme": tenant(retry={"max_attempts": 20, "base_s": 1, "cap_s": 1})})
    for now_ms in range(NOW_MS, NOW_MS + 20):
        _, (out,) = step([Settled(on_way, BUSY, SOURCE, now_ms)], now_ms)
        histories.append(out)
        if type(out) is Timer:
            on_way = msgspec.msgpack.decode(out.value, type=Delivery)
    assert [type(out) for out in histories] == [Timer] * 19 + [DeadLetter]
    assert [int(line.split()[0]) - NOW_MS for line in histories[-1].history] == list(range(20))


def test_an_unlisted_answer_is_kept_as_a_dead_letter() -> None:
    """Somebody should look at it."""
    outcome, outs = settle(Answer(Status.REJECTED, Reason.UNLISTED, 418, "teapot"))
    assert outcome.reason == "unlisted"
    assert [letter.error for letter in only(DeadLetter, outs)] == ["unlisted: teapot"]


def test_a_dead_token_is_reported_as_of_the_providers_time() -> None:
    """A device that registered after it survives."""
    _, outs = settle(GONE)
    assert outs == [
        TokenDeath(
            "acme", "u1", "d1", "fcm", "token-of-d1", NOW_MS - 777, "token_unregistered", "android"
        )
    ]


def test_a_dead_token_without_a_time_is_dead_as_it_was_registered() -> None:
    """A device that registered again since survives, also with the same token."""
    answer = msgspec.structs.replace(GONE, token_invalid_at_ms=0)
    _, outs = settle(answer, registered_at_ms=NOW_MS - 123)
    assert [death.invalid_at_ms for death in outs] == [NOW_MS - 123]


def test_withheld_deaths_are_not_reported() -> None:
    """Of that app only; the outcomes say what the provider said."""
    batch = [Settled(delivery(app=app, device_id=app), GONE, SOURCE, NOW_MS) for app in ("a", "b")]
    asked: list[Any] = []
    step = Settle({"acme": tenant()}, withheld=lambda s: asked.append(s) or {("acme", "a")})
    outcomes, outs = step(batch, NOW_MS)
    assert [death.app for death in outs] == ["b"]
    assert [(o.status, o.token_action) for o in outcomes] == [("failed", "delete")] * 2
    assert asked == [batch]


def test_a_suspect_token_is_kept() -> None:
    """Perhaps our configuration is wrong."""
    answer = msgspec.structs.replace(GONE, token_action=TokenAction.SUSPECT)
    outcome, outs = settle(answer)
    assert (outcome.token_action, outs) == ("suspect", [])


def test_a_tenant_that_was_removed_is_retried_by_default_rules() -> None:
    """Its messages under way still end well."""
    one = Settled(delivery(tenant="gone"), BUSY, SOURCE, NOW_MS)
    (outcome,), outs = Settle({})([one], NOW_MS)
    assert (outcome.status, [type(out) for out in outs]) == ("retry", [Timer])


def test_outcomes_come_in_the_order_of_the_answers() -> None:
    """One for each."""
    batch = [
        Settled(delivery(user_id=f"u{n}"), answer, SOURCE, NOW_MS)
        for n, answer in enumerate([SENT, BUSY, GONE, SENT])
    ]
    outcomes, _ = Settle({"acme": tenant()})(batch, NOW_MS)
    assert [o.status for o in outcomes] == ["sent", "retry", "failed", "sent"]
