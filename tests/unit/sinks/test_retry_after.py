from datetime import UTC, datetime

import pytest

from sinks.retry_after import parse_retry_after

NOW = datetime(2026, 1, 31, 8, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sat, 31 Jan 2026 08:01:30 GMT", 90.0),
        ("Saturday, 31-Jan-26 08:01:30 GMT", 90.0),  # RFC 850, obsolete
        ("Sat Jan 31 08:01:30 2026", 90.0),  # asctime, obsolete
        ("Sat, 31 Jan 2026 07:59:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, expected_s: float) -> None:
    """All forms of RFC 9110 give the seconds to wait; a past date gives none."""
    assert parse_retry_after(value, NOW) == expected_s


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1.5", "9" * 400, "١٢", "Sat, 99 Foo"])
def test_what_is_not_a_wait_is_ignored(value: str | None) -> None:
    """A missing or senseless header gives None, never an error."""
    assert parse_retry_after(value, NOW) is None
