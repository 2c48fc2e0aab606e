"""Quiet hours against a model that walks through the night minute by minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.quiet_hours import Nights, minutes_of, zone_of
from state.profiles import QuietHours
from tests.unit.operators.builders import UNTIMED

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
ZONES = [BERLIN, NEW_YORK, "UTC", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]
CHANGES = {  # the nights of 2026 in which clocks change, and two plain days
    BERLIN: ["2026-03-29", "2026-10-25", "2026-07-01"],
    NEW_YORK: ["2026-03-08", "2026-11-01", "2026-01-15"],
}
MINUTE = timedelta(minutes=1)


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """Epoch milliseconds of a local time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp() * 1_000)


def until(now: int, zone: str, start: str, end: str) -> int:
    return Nights(now).quiet_until_ms(zone, (QuietHours(minutes_of(start), minutes_of(end)),))


def local_minute(moment: datetime, zone: str) -> int:
    local = moment.astimezone(ZoneInfo(zone))
    return local.hour * 60 + local.minute


def is_quiet(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def model(now_ms: int, zone: str, start: int, end: int) -> int:
    """Walk on until the wall clock reads the end; over a gap, as if it had not been moved yet."""
    moment = datetime.fromtimestamp(now_ms / 1_000, UTC)
    minute = local_minute(moment, zone)
    if not is_quiet(minute, start, end):
        return 0
    moment = moment.replace(second=0, microsecond=0)
    while True:
        moment += MINUTE
        before, minute = minute, local_minute(moment, zone)
        skipped = (minute - before - 1) % 1_440
        if 0 < skipped <= 60 and before < end < minute:
            moment += (end - before - 1) * MINUTE
            return int(moment.timestamp() * 1_000)
        if minute == end:
            return int(moment.timestamp() * 1_000)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-07-01T21:59:59", None),
        ("2026-07-01T22:00", "2026-07-02T07:00"),
        ("2026-07-01T23:59", "2026-07-02T07:00"),
        ("2026-07-02T00:00", "2026-07-02T07:00"),
        ("2026-07-02T06:59:59", "2026-07-02T07:00"),
        ("2026-07-02T07:00", None),
    ],
)
@pytest.mark.parametrize("zone", ZONES)
def test_a_window_over_midnight_in_every_zone(now: str, expected: str | None, zone: str) -> None:
    """Start included, end not, by the user's own clock."""
    found = until(at(now, zone), zone, "22:00", "07:00")
    assert found == (at(expected, zone) if expected else 0)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("11:59", None),
        ("12:00", "2026-07-01T14:00"),
        ("13:59", "2026-07-01T14:00"),
        ("14:00", None),
    ],
)
def test_a_window_by_day(now: str, expected: str | None) -> None:
    """It need not be night."""
    found = until(at(f"2026-07-01T{now}"), "UTC", "12:00", "14:00")
    assert found == (at(expected) if expected else 0)


def test_a_window_that_ends_at_midnight() -> None:
    """00:00 is the end of the day."""
    now = at("2026-07-01T23:30")
    assert until(now, "UTC", "22:00", "00:00") == at("2026-07-02T00:00")


def test_the_spring_night_is_an_hour_shorter() -> None:
    """22:00 to 07:00 in Berlin takes eight hours on 29 March 2026."""
    start = at("2026-03-28T22:00", BERLIN)
    assert until(start, BERLIN, "22:00", "07:00") - start == 8 * 3_600_000


def test_the_autumn_night_is_an_hour_longer() -> None:
    """And ten hours in New York on 1 November 2026."""
    start = at("2026-10-31T22:00", NEW_YORK)
    assert until(start, NEW_YORK, "22:00", "07:00") - start == 10 * 3_600_000


def test_an_end_that_spring_skips_comes_by_the_old_clock() -> None:
    """02:30 does not exist in Berlin on 29 March: the wait ends at 03:30, when it is day."""
    now = at("2026-03-29T01:00", BERLIN)
    assert until(now, BERLIN, "22:00", "02:30") == at("2026-03-29T03:30", BERLIN)


@pytest.mark.parametrize(
    ("now", "fold", "expected_fold"), [("02:10", 0, 0), ("02:10", 1, 1), ("01:00", 0, 0)]
)
def test_an_end_that_autumn_repeats_is_the_next_one(
    now: str, fold: int, expected_fold: int
) -> None:
    """02:30 comes twice in Berlin on 25 October."""
    now_ms = at(f"2026-10-25T{now}", BERLIN, fold)
    expected = at("2026-10-25T02:30", BERLIN, expected_fold)
    assert until(now_ms, BERLIN, "22:00", "02:30") == expected


@UNTIMED
@given(
    zone=st.sampled_from([BERLIN, NEW_YORK]),
    day=st.integers(0, 2),
    offset_s=st.integers(-20 * 3_600, 20 * 3_600),
    start=st.integers(0, 1_439),
    length=st.integers(1, 1_439),
)
def test_as_the_model_says_around_clock_changes(
    zone: str, day: int, offset_s: int, start: int, length: int
) -> None:
    """Any window, any moment of the nights in which clocks change."""
    now_ms = at(f"{CHANGES[zone][day]}T02:00") + offset_s * 1_000
    end = (start + length) % 1_440
    found = Nights(now_ms).quiet_until_ms(zone, (QuietHours(start, end),))
    assert found == model(now_ms, zone, start, end)


@UNTIMED
@given(
    st.sampled_from(ZONES),
    st.integers(0, 366 * 86_400),
    st.integers(0, 1_439),
    st.integers(1, 1_380),
)
def test_a_night_ends_after_now_and_not_in_itself(
    zone: str, second: int, start: int, length: int
) -> None:
    """Nobody is held for ever: the end lies ahead, at most the window and an hour away."""
    now_ms = at("2026-01-01") + second * 1_000
    windows = (QuietHours(start, (start + length) % 1_440),)
    found = Nights(now_ms).quiet_until_ms(zone, windows)
    assert found == 0 or now_ms < found <= now_ms + (length + 60) * 60_000
    assert found == 0 or not Nights(found).quiet_until_ms(zone, windows)


MON, FRI, SAT, SUN = 1, 1 << 4, 1 << 5, 1 << 6
WEEKNIGHT = QuietHours(22 * 60, 7 * 60, days=MON | FRI)
WEEKEND = QuietHours(0, 12 * 60, days=SAT | SUN)
SIESTA = QuietHours(13 * 60, 15 * 60)


@pytest.mark.parametrize(
    ("now", "windows", "expected"),
    [
        # 2026-07-03 is a Friday.
        ("2026-07-03T23:00", (WEEKNIGHT,), "2026-07-04T07:00"),
        ("2026-07-04T06:59", (WEEKNIGHT,), "2026-07-04T07:00"),
        ("2026-07-04T23:00", (WEEKNIGHT,), None),
        ("2026-07-06T06:00", (WEEKNIGHT,), None),
        ("2026-07-07T06:00", (WEEKNIGHT,), "2026-07-07T07:00"),
        ("2026-07-03T14:00", (WEEKNIGHT, SIESTA), "2026-07-03T15:00"),
        ("2026-07-03T23:00", (WEEKNIGHT, WEEKEND), "2026-07-04T12:00"),
        ("2026-07-03T23:00", (WEEKEND, WEEKNIGHT), "2026-07-04T12:00"),
        ("2026-07-04T12:00", (WEEKNIGHT, WEEKEND, SIESTA), None),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", NEW_YORK])
def test_several_windows_on_their_days(
    now: str, windows: tuple[QuietHours, ...], expected: str | None, zone: str
) -> None:
    """A window's day is that on which it begins; windows that overlap are one."""
    found = Nights(at(now, zone)).quiet_until_ms(zone, windows)
    assert found == (at(expected, zone) if expected else 0)


def test_a_window_may_have_a_zone_of_its_own() -> None:
    """Beside one that goes by the user's."""
    windows = (QuietHours(22 * 60, 7 * 60, BERLIN), QuietHours(7 * 60, 8 * 60))
    found = Nights(at("2026-07-01T04:30")).quiet_until_ms("UTC", windows)
    assert found == at("2026-07-01T07:00", BERLIN)


def test_windows_that_never_end_are_looked_at_again() -> None:
    """Day and night quiet: the wait is bounded, a little more than a week."""
    always = (QuietHours(0, 12 * 60), QuietHours(12 * 60, 0))
    now_ms = at("2026-07-01T04:30")
    days = (Nights(now_ms).quiet_until_ms("UTC", always) - now_ms) / 86_400_000
    assert 7 < days < 9


@UNTIMED
@given(
    st.integers(0, 14 * 1_440),
    st.lists(
        st.tuples(st.integers(0, 1_439), st.integers(1, 700), st.integers(0, 127)),
        min_size=1,
        max_size=3,
    ),
)
def test_several_windows_as_a_walk_by_minutes_says(
    minute: int, said: list[tuple[int, int, int]]
) -> None:
    """In UTC: the first minute that no window holds."""
    start = datetime(2026, 6, 29, tzinfo=UTC)  # a Monday
    windows = tuple(QuietHours(s, (s + n) % 1_440, days=d) for s, n, d in said)

    def holds(moment: int) -> bool:
        return any(
            (moment - s) % 1_440 < n and (not d or d >> ((moment - s) // 1_440 % 7) & 1)
            for s, n, d in said
        )

    now_ms = int(start.timestamp() * 1_000) + minute * 60_000
    found = Nights(now_ms).quiet_until_ms("UTC", windows)
    end = minute
    while holds(end) and end < minute + 7 * 1_440:
        end += 1
    if end < minute + 7 * 1_440:
        assert found == (now_ms + (end - minute) * 60_000 if end > minute else 0)
    else:
        assert found >= now_ms + 7 * 86_400_000


@pytest.mark.parametrize("name", ["Mars/Olympus", "America", "../etc/passwd", ""])
def test_an_unknown_zone_is_utc(name: str) -> None:
    """A machine without the newest zones still delivers."""
    assert zone_of(name) == ZoneInfo("UTC")


def test_minutes_of_a_clock_time() -> None:
    """After midnight."""
    assert [minutes_of(t) for t in ("00:00", "07:05", "23:59")] == [0, 425, 1_439]
