"""When to try again, and what a delivery's history says about that."""

from hashlib import blake2b
from math import ceil

from schemas.outcomes import Reason
from schemas.pipeline import Answer, Delivery
from schemas.tenant import RetryPolicy

_REPLAYED = "replayed"


def retry_at_ms(
    delivery: Delivery, answer: Answer, policy: RetryPolicy, now_ms: int
) -> int | Reason:
    """When the next attempt is due, in epoch ms, or why there is to be none.

    Exponential backoff with full jitter on top of the wait that the provider or its table asks
    for, so by reason and platform. No attempt when those allowed are used up (RETRIES_EXHAUSTED),
    when the message would have expired by then (TTL_EXPIRED), or when it would be later than the
    time allowed (RETRIES_EXHAUSTED). Attempts and time count from the first attempt, or the first
    after a replay from the dead letters, however long policy had held the message before. The
    jitter comes from the delivery's identity, so a record read again gives the same time.
    Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    attempt = delivery.attempt - delivery.attempts_before
    if attempt >= policy.max_attempts:
        return Reason.RETRIES_EXHAUSTED
    ceiling_s = min(policy.cap_s, policy.base_s * 2 ** (attempt - 1))
    wait_ms = int(jitter(delivery.delivery_id, delivery.attempt) * ceiling_s * 1_000)
    due_ms = after_ms(answer, now_ms, more_ms=wait_ms)
    if delivery.expires_at_ms and due_ms >= delivery.expires_at_ms:
        return Reason.TTL_EXPIRED
    if due_ms - first_attempt_at_ms(delivery, now_ms) > policy.max_elapsed_s * 1_000:
        return Reason.RETRIES_EXHAUSTED
    return due_ms


def after_ms(answer: Answer, now_ms: int, *, more_ms: int = 0) -> int:
    """Give the time, at least 1 ms from now, after the wait that an answer asks for, and more."""
    return now_ms + max(1, ceil((answer.retry_after_s or 0.0) * 1_000) + more_ms)


def history_line(delivery: Delivery, answer: Answer, now_ms: int) -> str:
    """Describe an attempt in a line that begins with its time."""
    return (
        f"{now_ms} attempt {delivery.attempt}: {answer.status} {answer.reason} "
        f"{answer.provider_status} {answer.provider_reason}"
    ).rstrip()


def replay_line(now_ms: int, by: str) -> str:
    """Describe a replay from the dead letters; the lines after it are attempts anew."""
    return f"{now_ms} {_REPLAYED} by {by}"


def first_attempt_at_ms(delivery: Delivery, now_ms: int) -> int:
    """When the first attempt failed since the last replay, if any: now, or as its history says."""
    first = ""
    for line in reversed(delivery.history):
        if line.split(" ", 2)[1:2] == [_REPLAYED]:
            break
        first = line
    at_ms = first.partition(" ")[0]
    return int(at_ms) if at_ms.isdecimal() else now_ms


def jitter(delivery_id: str, attempt: int) -> float:
    """Give a number in [0, 1) that looks random and is always the same for this attempt."""
    hashed = blake2b(f"{delivery_id}/{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64
