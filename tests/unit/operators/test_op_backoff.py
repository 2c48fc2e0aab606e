"""backoff: when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.backoff import (
    after_ms,
    first_attempt_at_ms,
    history_line,
    jitter,
    replay_line,
    retry_at_ms,
)
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer
from schemas.tenant import RetryPolicy
from tests.unit.operators.builders import NOW_MS, UNTIMED, delivery

POLICY = RetryPolicy(max_attempts=6, base_s=2, cap_s=60, max_elapsed_s=3_600)
BUSY = Answer(Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 503, "busy")


def said(policy: RetryPolicy = POLICY, answer: Answer = BUSY, **changes: object) -> int | Reason:
    return retry_at_ms(delivery(**changes), answer, policy, NOW_MS)


def wait_ms(policy: RetryPolicy = POLICY, answer: Answer = BUSY, **changes: object) -> int | None:
    due = said(policy, answer, **changes)
    return None if isinstance(due, Reason) else due - NOW_MS


def asked(retry_after_s: float) -> Answer:
    return Answer(Status.RETRY, Reason.THROTTLED, 429, retry_after_s=retry_after_s)


@UNTIMED
@given(st.integers(1, 19), st.uuids(), st.floats(0.05, 100), st.floats(0, 1_000))
def test_a_wait_is_within_its_bounds(
    attempt: int, delivery_id: object, base_s: float, more_s: float
) -> None:
    """More than nothing, at most base times two to the attempts before, at most the cap."""
    policy = RetryPolicy(
        max_attempts=20, base_s=base_s, cap_s=base_s + more_s, max_elapsed_s=86_400
    )
    found = wait_ms(policy, attempt=attempt, delivery_id=str(delivery_id))
    ceiling_s = min(base_s * 2 ** (attempt - 1), base_s + more_s)
    assert found is not None
    assert 1 <= found <= max(1, ceiling_s * 1_000)


def test_a_replay_waits_as_long() -> None:
    """The jitter comes from the delivery."""
    assert wait_ms(attempt=3) == wait_ms(attempt=3)


def test_jitter_differs_by_delivery_and_attempt() -> None:
    """A burst that failed together does not come back together."""
    found = {jitter(f"id-{n}", attempt) for n in range(20) for attempt in range(1, 6)}
    assert len(found) == 100
    assert all(0 <= one < 1 for one in found)
    assert 0.3 < sum(found) / len(found) < 0.7


@UNTIMED
@given(st.integers(1, 5), st.floats(0, 3_000))
def test_never_sooner_than_the_provider_asked(attempt: int, after_s: float) -> None:
    """The jitter comes on top."""
    found = wait_ms(answer=asked(after_s), attempt=attempt)
    assert found is not None
    assert found >= int(after_s * 1_000)


def test_attempts_are_bounded() -> None:
    """Six are six."""
    assert wait_ms(attempt=5) is not None
    assert said(attempt=6) is Reason.RETRIES_EXHAUSTED
    assert said(attempt=7) is Reason.RETRIES_EXHAUSTED


def test_attempts_before_a_replay_do_not_count() -> None:
    """Six more, and the wait begins small again."""
    assert said(attempt=12, attempts_before=6) is Reason.RETRIES_EXHAUSTED
    assert wait_ms(attempt=11, attempts_before=6) is not None
    first = wait_ms(attempt=7, attempts_before=6)
    assert first is not None
    assert first <= POLICY.base_s * 1_000


def test_one_attempt_allowed_is_no_retry() -> None:
    """The first is the last."""
    assert wait_ms(RetryPolicy(max_attempts=1)) is None


def test_no_attempt_after_the_time_allowed() -> None:
    """It counts from the first attempt, which the history tells."""
    long_ago = f"{NOW_MS - 3_590_000} attempt 1: retry throttled 429"
    recent = f"{NOW_MS - 10_000} attempt 2: retry throttled 429"
    assert wait_ms(answer=asked(9.0), history=(recent,), attempt=3) is not None
    assert wait_ms(answer=asked(20.0), history=(long_ago, recent), attempt=3) is None


def test_time_held_by_policy_does_not_count() -> None:
    """A message that waited for morning is retried like any other."""
    assert wait_ms(created_at_ms=NOW_MS - 86_400_000) is not None


def test_the_first_wait_may_be_too_long_at_once() -> None:
    """The provider asks for more than the time allowed."""
    assert said(answer=asked(3_601.0)) is Reason.RETRIES_EXHAUSTED


@UNTIMED
@given(st.integers(1, 100_000))
def test_no_attempt_after_expiry(left_ms: int) -> None:
    """Neither then nor at that very moment."""
    found = wait_ms(attempt=5, expires_at_ms=NOW_MS + left_ms)
    assert found is None or found < left_ms
    assert (found is None) == (left_ms <= (wait_ms(attempt=5) or 0))


def test_a_retry_after_the_expiry_is_expired_not_exhausted() -> None:
    """Unless it was the last attempt anyway; a wait too long for both is expiry."""
    soon = NOW_MS + 5_000
    assert said(answer=asked(5.0), expires_at_ms=soon) is Reason.TTL_EXPIRED
    assert said(answer=asked(9_000.0), expires_at_ms=soon) is Reason.TTL_EXPIRED
    assert said(attempt=6, expires_at_ms=NOW_MS + 1) is Reason.RETRIES_EXHAUSTED


def test_time_before_a_replay_does_not_count() -> None:
    """The history tells that it was replayed; what lies before that is another life."""
    old = f"{NOW_MS - 86_400_000} attempt 6: retry throttled 429"
    again = replay_line(NOW_MS - 60_000, "ann@ops")
    late = f"{NOW_MS - 3_600_000} attempt 7: retry throttled 429"
    assert first_attempt_at_ms(delivery(history=(old, again)), NOW_MS) == NOW_MS
    lives = {"attempt": 8, "attempts_before": 6}
    assert wait_ms(history=(old, again), **lives) is not None
    assert said(history=(old, again, late), **lives) is Reason.RETRIES_EXHAUSTED
    assert said(history=(old,), **lives) is Reason.RETRIES_EXHAUSTED


@pytest.mark.parametrize(
    ("after_s", "found_ms"), [(None, 1), (0.0, 1), (0.0001, 1), (2.5004, 2501)]
)
def test_a_wait_is_never_shorter_than_asked(after_s: float | None, found_ms: int) -> None:
    """Rounded up to whole milliseconds, and never at once."""
    answer = Answer(Status.DEFERRED, Reason.CIRCUIT_OPEN, retry_after_s=after_s)
    assert after_ms(answer, NOW_MS) - NOW_MS == found_ms


def test_a_history_line_can_be_read_back() -> None:
    """Writing and reading are one place."""
    line = history_line(delivery(), BUSY, NOW_MS)
    assert line == f"{NOW_MS} attempt 1: retry provider_unavailable 503 busy"
    assert first_attempt_at_ms(delivery(history=(line, "x")), NOW_MS + 99) == NOW_MS


def test_an_unreadable_history_counts_as_none() -> None:
    """It stops no retry."""
    assert first_attempt_at_ms(delivery(history=("before",)), NOW_MS) == NOW_MS
