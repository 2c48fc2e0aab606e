"""settle: what follows from a provider's answer."""

from typing import Any

import msgspec
import pytest

from operators.settle import EXPIRED, IN_DOUBT, Settle, Settled
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, DeadLetter, Delivery, Priority, Timer, TokenDeath
from schemas.stream import Source
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
    assert msgspec.msgpack.decode(letter.raw, type=Delivery).attempt == 6


def test_a_retry_after_expiry_is_none() -> None:
    """It ends as exhausted."""
    outcome, outs = settle(BUSY, expires_at_ms=NOW_MS + 1)
    assert outcome.reason == "retries_exhausted"
    assert len(only(DeadLetter, outs)) == 1


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
        TokenDeath("acme", "u1", "d1", "fcm", "token-of-d1", NOW_MS - 777, "token_unregistered")
    ]


def test_a_dead_token_without_a_time_is_dead_now() -> None:
    """FCM gives none."""
    answer = msgspec.structs.replace(GONE, token_invalid_at_ms=0)
    assert [death.invalid_at_ms for death in settle(answer)[1]] == [NOW_MS]


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
