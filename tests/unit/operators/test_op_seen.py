"""What an outcome says of the state it was decided from."""

import pytest

from operators.admit import admit
from operators.pace import held_delivery
from operators.schedule import schedule
from operators.seen import MAX_TEXT_CHARS
from schemas.outcomes import Reason
from schemas.pipeline import Outcome
from state.profiles import Choice, Profile, QuietHours
from tests.unit.operators.builders import (
    NOW_MS,
    delivery,
    device,
    joined,
    only,
    profile,
    tenant,
    work,
)

HOUR_MS = 3_600_000
NIGHT = QuietHours(0, 6 * 60)
BERLIN = "Europe/Berlin"


def detail_of(user: Profile | None, **changes: object) -> str:
    """Give what is said of the one user who does not get it."""
    piece = joined(work("u1", **changes), user)
    (outcome,) = only(Outcome, admit([piece], NOW_MS)[1])
    return outcome.detail


@pytest.mark.parametrize(
    ("user", "detail"),
    [
        (None, ""),
        (Profile("u1", 1), "none known"),
        (profile(opted_out_all=True), "everything is opted out"),
        (Profile("u1", 1, opted_out_all=True), "everything is opted out"),
        (profile(opted_out_categories=("news",)), "no to category news"),
        (profile(opted_out_platforms=("fcm",)), "fcm is opted out"),
        (
            profile(
                "u1",
                device("a"),
                device("b", platform="apns"),
                opted_out_platforms=("apns",),
                choices=(Choice(allow=False, type="test.event", platform="fcm"),),
            ),
            "no to type test.event on fcm; apns is opted out",
        ),
        (profile(muted_until_ms=NOW_MS + HOUR_MS), "until 2026-02-02T03:40:00Z"),
        (
            profile(quiet_hours=NIGHT, time_zone=BERLIN),
            "until 2026-02-02T05:00:00Z, 00:00-06:00 Europe/Berlin (the user's)",
        ),
    ],
)
def test_a_refusal_says_what_it_saw(user: Profile | None, detail: str) -> None:
    """Which word of the user's, which window, until when; no more than is needed."""
    assert detail_of(user) == detail


def test_the_tenants_night_is_called_so() -> None:
    """With its days, where it has some."""
    window = {"start": "00:00", "end": "06:00", "days": ["mon", "sun"]}
    said = detail_of(profile(), of=tenant(quiet_hours=window, time_zone=BERLIN))
    assert said.endswith("00:00-06:00 mon,sun Europe/Berlin (the tenant's)")


def test_what_expires_in_the_night_says_both_times() -> None:
    """So nobody needs to compute them."""
    said = detail_of(profile(quiet_hours=NIGHT), expires_at_ms=NOW_MS + HOUR_MS)
    assert said.startswith("expires 2026-02-02T03:40:00Z, held until 2026-02-02T06:00:00Z")


def test_a_device_that_is_not_there_is_told_among_how_many() -> None:
    """Another registration may have taken its place."""
    said = detail_of(profile("u1", device("a"), device("b")), devices=("c",))
    assert said == "not among the user's 2 devices"


def test_what_waits_says_until_when() -> None:
    """Schedules and rates alike."""
    later_ms = NOW_MS + HOUR_MS
    (scheduled,) = only(Outcome, schedule([work("u1", send_at_ms=later_ms)], NOW_MS)[1])
    (paced,) = only(Outcome, held_delivery(delivery(), later_ms, NOW_MS, Reason.TENANT_RATE))
    assert scheduled.detail == paced.detail == "until 2026-02-02T03:40:00Z"


def test_a_time_beyond_all_calendars_is_no_error() -> None:
    """Who writes nonsense into a topic stops no flow."""
    (held,) = only(Outcome, schedule([work("u1", send_at_ms=2**62)], NOW_MS)[1])
    assert held.detail == f"until {2**62} ms"


def test_many_windows_are_cut() -> None:
    """A detail stays small."""
    windows = tuple(QuietHours(n, 1_439, BERLIN, 127) for n in range(1, 11))
    user = profile(quiet_hours=NIGHT, more_quiet_hours=windows)
    assert len(detail_of(user)) <= MAX_TEXT_CHARS + 40
