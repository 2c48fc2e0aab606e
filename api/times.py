"""Times as people give them to the command line, and read them there."""

from datetime import UTC, datetime

from api.cli import CommandError
from schemas.duration import seconds


def clock(at_ms: int) -> str:
    """Write epoch milliseconds as a time in UTC, "" for none."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="seconds")


def time_ms(option: str, text: str, now_ms: int) -> int:
    """Read `2h` (ago) or a time as epoch milliseconds; 0 for an empty text. Raises CommandError."""
    if not text:
        return 0
    try:
        return now_ms - int(float(str(seconds(text))) * 1_000)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{option}: write 2h for two hours ago, or a time such as 2026-02-02T08:00:00Z"
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
