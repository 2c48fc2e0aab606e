"""When campaigns run, by people's clocks; real zones with their clock changes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.campaign_times import best_due_ms, first_due_ms, local_due_ms, next_due_ms
from schemas.campaigns import Schedule

HOUR_MS = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def schedule(**said: Any) -> Schedule:
    return Schedule.model_validate(said)


NOW = ms("2026-03-28T12:00:00+00:00")


def test_without_a_schedule_it_runs_now() -> None:
    assert first_due_ms(schedule(), NOW) == NOW


def test_at_its_time_or_at_once_when_that_has_passed() -> None:
    assert first_due_ms(schedule(at="2026-03-29T08:00:00+02:00"), NOW) == ms("2026-03-29T06:00Z")
    assert first_due_ms(schedule(at="2026-03-01T08:00:00Z"), NOW) == NOW


def test_local_time_begins_before_the_first_zone_has_it() -> None:
    """In UTC+14 it is nine at 19 o'clock of the day before, UTC."""
    due = first_due_ms(schedule(local_at="2026-03-30T09:00"), NOW)
    assert due == ms("2026-03-29T18:55Z")
    assert due < local_due_ms("2026-03-30T09:00", "Pacific/Kiritimati")


def test_cron_follows_the_wall_clock_over_a_clock_change() -> None:
    """Nine in Berlin is eight in UTC before the change, seven after."""
    daily = schedule(cron="0 9 * * *", time_zone="Europe/Berlin")
    first = first_due_ms(daily, NOW)
    assert first == ms("2026-03-29T07:00Z")
    assert next_due_ms(daily, first) == ms("2026-03-30T07:00Z")
    assert first_due_ms(daily, ms("2026-03-28T07:00Z")) == ms("2026-03-28T08:00Z")


def test_a_skipped_time_comes_and_a_repeated_one_comes_once() -> None:
    """Half past two, on the nights when the clocks change."""
    nightly = schedule(cron="30 2 * * *", time_zone="Europe/Berlin")
    assert next_due_ms(nightly, ms("2026-03-28T12:00Z")) == ms("2026-03-29T01:00Z")
    autumn = next_due_ms(nightly, ms("2026-10-24T12:00Z"))
    assert next_due_ms(nightly, autumn) - autumn >= 24 * HOUR_MS


def test_cron_ends() -> None:
    ends = schedule(cron="0 9 * * *", until="2026-03-29T12:00:00Z")
    assert next_due_ms(ends, NOW) == ms("2026-03-29T09:00Z")
    assert next_due_ms(ends, ms("2026-03-29T09:00Z")) == 0
    assert first_due_ms(ends, ms("2026-04-01T00:00Z")) == 0


@pytest.mark.parametrize(
    ("zone", "due"),
    [
        ("UTC", "2026-03-29T02:30Z"),
        ("America/New_York", "2026-03-29T06:30Z"),
        ("Asia/Kolkata", "2026-03-28T21:00Z"),
        ("Europe/Berlin", "2026-03-29T01:30Z"),  # skipped: by the offset before
        ("no zone", "2026-03-29T02:30Z"),
    ],
)
def test_a_local_time_is_that_of_the_zone(zone: str, due: str) -> None:
    assert local_due_ms("2026-03-29T02:30", zone) == ms(due)


def test_of_a_time_that_comes_twice_it_is_the_first() -> None:
    assert local_due_ms("2026-10-25T02:30", "Europe/Berlin") == ms("2026-10-25T00:30Z")


_zones = st.sampled_from(
    ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia", "Europe/Berlin"]
)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - timezones gives it
    st.one_of(st.none(), st.integers(0, 23)),
    _zones,
)
def test_the_best_hour_lies_in_the_day_that_begins(
    start: datetime, hour: int | None, zone: str
) -> None:
    """And is that hour: of the day in UTC as learned, or of the user's day by default."""
    from_ms = int(start.timestamp()) * 1_000
    due = best_due_ms(from_ms, hour, "10:00", zone)
    # A day of a zone may have 25 hours.
    assert from_ms <= due <= from_ms + 25 * HOUR_MS
    if hour is not None:
        assert datetime.fromtimestamp(due / 1_000, UTC).hour == hour
