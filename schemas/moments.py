"""Times as people and programs read them."""

from datetime import UTC, datetime


def moment(at_ms: int) -> str:
    """Write epoch milliseconds as 2026-02-02T02:40:00Z; what is no time of ours, as it is."""
    try:
        return datetime.fromtimestamp(at_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"


def exact_moment(at_ms: int) -> str:
    """Write epoch milliseconds as 2026-02-02T02:40:00.005Z."""
    return f"{moment(at_ms)[:-1]}.{at_ms % 1_000:03}Z"
