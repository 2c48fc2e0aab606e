"""How long a provider asks to wait."""

from datetime import UTC
from email.utils import parsedate_to_datetime

_MAX_DIGITS = 9
"""Thirty years in seconds; a longer number is noise, not a wish."""


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait from now on, as the Retry-After header asks.

    value: the header: whole seconds or an HTTP-date. now: seconds since the epoch.
    Returns seconds, 0 for a date that has passed, None without a usable header. Never raises.
    Source: RFC 9110 section 10.2.3.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MAX_DIGITS else None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:  # "-0000" means UTC of unknown origin
        at = at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - now)
