"""When to try again."""

from hashlib import blake2b

from schemas.pipeline import Answer, Delivery
from schemas.tenant import RetryPolicy


def retry_at_ms(delivery: Delivery, answer: Answer, policy: RetryPolicy, now_ms: int) -> int | None:
    """When the next attempt is due, in epoch ms, or None when there is to be none.

    Exponential backoff with full jitter, never sooner than the provider asked. None when the
    attempts or the time allowed are used up, or the message would have expired by then. The time
    allowed counts from the first attempt, however long policy had held the message before. The
    jitter comes from the delivery's identity, so a replay gives the same time.
    Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    if delivery.attempt >= policy.max_attempts:
        return None
    ceiling_s = min(policy.cap_s, policy.base_s * 2 ** (delivery.attempt - 1))
    wait_s = jitter(delivery.delivery_id, delivery.attempt) * ceiling_s
    if answer.retry_after_s is not None:
        wait_s += answer.retry_after_s
    due_ms = now_ms + max(1, int(wait_s * 1_000))
    if due_ms - first_attempt_at_ms(delivery, now_ms) > policy.max_elapsed_s * 1_000:
        return None
    if delivery.expires_at_ms and due_ms >= delivery.expires_at_ms:
        return None
    return due_ms


def history_line(delivery: Delivery, answer: Answer, now_ms: int) -> str:
    """Describe an attempt in a line that begins with its time."""
    return (
        f"{now_ms} attempt {delivery.attempt}: {answer.status} {answer.reason} "
        f"{answer.provider_status} {answer.provider_reason}"
    ).rstrip()


def first_attempt_at_ms(delivery: Delivery, now_ms: int) -> int:
    """When the delivery's first attempt failed: now, or as its history says."""
    if not delivery.history:
        return now_ms
    at_ms = delivery.history[0].partition(" ")[0]
    return int(at_ms) if at_ms.isdecimal() else now_ms


def jitter(delivery_id: str, attempt: int) -> float:
    """Give a number in [0, 1) that looks random and is always the same for this attempt."""
    hashed = blake2b(f"{delivery_id}/{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64
