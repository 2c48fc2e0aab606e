"""admit: who gets the message now, and why the others do not."""

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.admit import admit
from operators.decode import Decode
from operators.fan_out import fan_out
from operators.quiet_hours import Nights
from operators.work import Work
from schemas.outcomes import Status
from schemas.pipeline import Chunk, Outcome, Platform, Priority, Timer
from schemas.tenant import Tenant
from state.profiles import Choice, Profile, QuietHours
from tests.unit.operators.builders import (
    NOW_MS,
    UNTIMED,
    device,
    joined,
    messages,
    only,
    profile,
    said,
    tenant,
    work,
)

# NOW_MS is 02:40 in UTC, 03:40 in Berlin, 21:40 in New York and 08:10 in Kolkata.
NIGHT = QuietHours(22 * 60, 7 * 60)
SEVEN_UTC_MS = NOW_MS + (4 * 60 + 20) * 60_000
SIX_UTC_MS = SEVEN_UTC_MS - 3_600_000  # seven o'clock in Berlin


def admitted(piece: Work, now_ms: int = NOW_MS) -> tuple[list[str], list[object]]:
    (back,), outs = admit([piece], now_ms)
    assert back is piece
    return [p.user_id for p, _ in piece.recipients], outs


def asleep(user_id: str = "u1", **changes: object) -> Profile:
    return profile(user_id, **{"quiet_hours": NIGHT, **changes})


def test_a_known_user_with_a_device_gets_it() -> None:
    """On all devices."""
    user = profile("u1", device("a"), device("b"))
    piece = joined(work("u1"), user)
    assert admitted(piece) == (["u1"], [])
    assert piece.recipients == [(user, user.devices)]


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (None, "unknown_user"),
        (Profile("u1", 1), "no_device"),
        (profile(opted_out_all=True), "opted_out"),
        (profile(opted_out_categories=("news",)), "opted_out"),
        (profile(opted_out_platforms=("fcm",)), "opted_out"),
    ],
)
def test_who_does_not_get_it_is_told_why(user: Profile | None, reason: str) -> None:
    """One outcome each."""
    users, outs = admitted(joined(work("u1"), user))
    assert (users, said(outs)) == ([], [("u1", "suppressed", reason)])


def test_an_opt_out_of_another_category_does_not_matter() -> None:
    """Each category is its own choice."""
    assert admitted(joined(work("u1"), profile(opted_out_categories=("ads",))))[0] == ["u1"]


def test_only_the_opted_out_platform_stays_silent() -> None:
    """The other devices get it."""
    web = device("w", platform=Platform.WEBPUSH)
    user = profile("u1", device("a"), web, opted_out_platforms=("webpush",))
    piece = joined(work("u1"), user)
    admitted(piece)
    assert [d.device_id for d in piece.recipients[0][1]] == ["a"]


def test_a_named_device_is_the_only_one() -> None:
    """The user's others stay silent."""
    piece = joined(work("u1", devices=("b",)), profile("u1", device("a"), device("b")))
    admitted(piece)
    assert [d.device_id for d in piece.recipients[0][1]] == ["b"]


def test_only_the_devices_of_a_group_get_what_is_for_it() -> None:
    """Its users' other devices do not, nor does who has left it since."""
    user = profile("u1", device("phone"), device("tv", groups=("tv", "old")))
    piece = joined(work("u1", "u2", device_group="tv"), user, profile("u2", device("phone")))
    _, outs = admit([piece], NOW_MS)
    assert [[d.device_id for d in devices] for _, devices in piece.recipients] == [["tv"]]
    assert said(outs) == [("u2", "suppressed", "no_device")]


def test_a_named_device_that_is_not_there_is_told_by_its_id() -> None:
    """Two of one user are two outcomes."""
    piece = work("u1", "u1", devices=("x", "y"))
    outcomes = only(Outcome, admitted(joined(piece, profile(), profile()))[1])
    assert [(o.device_id, o.reason.value) for o in outcomes] == [
        ("x", "no_device"),
        ("y", "no_device"),
    ]
    assert len({o.outcome_id for o in outcomes}) == 2


def test_at_night_a_user_is_held_until_morning() -> None:
    """In a timer for a chunk, with an outcome for the user."""
    users, outs = admitted(joined(work("u1"), asleep()))
    (timer,) = only(Timer, outs)
    assert users == []
    assert said(outs) == [("u1", "deferred", "quiet_hours")]
    assert (timer.due_at_ms, timer.topic) == (SEVEN_UTC_MS, "chunks.normal")


def test_the_morning_chunk_is_admitted() -> None:
    """Read back at its time, with its device, it goes on as held."""
    piece = work("u1", "u2", devices=("a", "d-u2"))
    user = asleep("u1", devices=(device("a"), device("b")))
    (timer,) = only(Timer, admitted(joined(piece, user, profile("u2")))[1])
    (back,), _ = Decode({"acme": tenant()})(messages(timer.topic, timer.value), timer.due_at_ms)
    assert (back.users, back.devices, back.held) == (("u1",), ("a",), True)
    assert admitted(joined(back, user), timer.due_at_ms) == (["u1"], [])


def test_who_is_awake_gets_it_while_others_sleep() -> None:
    """One user's night is not another's."""
    users, outs = admitted(joined(work("a", "b"), profile("a"), asleep("b")))
    assert users == ["a"]
    assert said(outs) == [("b", "deferred", "quiet_hours")]


def test_users_held_to_the_same_end_share_a_timer() -> None:
    """One chunk per end of night."""
    berlin = {"time_zone": "Europe/Berlin"}
    sleepers = (asleep("a"), asleep("b", **berlin), asleep("c"), asleep("d", **berlin))
    _, outs = admitted(joined(work("a", "b", "c", "d"), *sleepers))
    held = {
        timer.due_at_ms: msgspec.msgpack.decode(timer.value, type=Chunk).users
        for timer in only(Timer, outs)
    }
    assert held == {SEVEN_UTC_MS: ("a", "c"), SIX_UTC_MS: ("b", "d")}


def test_chunks_held_to_different_ends_have_different_timers() -> None:
    """No timer replaces another."""
    sleepers = (asleep("a"), asleep("b", time_zone="Europe/Berlin"))
    timers = only(Timer, admitted(joined(work("a", "b"), *sleepers))[1])
    assert len({t.timer_id for t in timers}) == len({t.key for t in timers}) == 2


@pytest.mark.parametrize(
    ("category", "users", "outcomes"),
    [
        ("news", [], [("u1", "deferred", "quiet_hours")]),
        ("ads", [], [("u1", "suppressed", "quiet_hours")]),
        ("alerts", ["u1"], []),
    ],
)
def test_the_category_says_what_night_means(
    category: str, users: list[str], outcomes: list[tuple[str, str, str]]
) -> None:
    """Defer, drop or ignore."""
    found, outs = admitted(joined(work("u1", category=category), asleep()))
    assert (found, said(outs)) == (users, outcomes)


@pytest.mark.parametrize("category", ["news", "ads"])
def test_a_critical_message_passes_through_the_night(category: str) -> None:
    """Whatever its category says."""
    piece = work("u1", category=category, priority=Priority.CRITICAL)
    assert admitted(joined(piece, asleep())) == (["u1"], [])


def test_a_critical_message_respects_an_opt_out() -> None:
    """Only quiet hours are passed."""
    piece = work("u1", priority=Priority.CRITICAL)
    assert admitted(joined(piece, profile(opted_out_all=True)))[0] == []


def test_what_expires_before_morning_ends_now() -> None:
    """No timer waits for nothing."""
    piece = work("u1", expires_at_ms=SEVEN_UTC_MS)
    _, outs = admitted(joined(piece, asleep()))
    assert said(outs) == [("u1", "expired", "ttl_expired")]
    assert only(Timer, outs) == []


def test_what_expires_after_morning_waits() -> None:
    """A millisecond is enough."""
    piece = work("u1", expires_at_ms=SEVEN_UTC_MS + 1)
    assert said(admitted(joined(piece, asleep()))[1]) == [("u1", "deferred", "quiet_hours")]


@pytest.mark.parametrize(
    ("user", "of", "is_asleep"),
    [
        (profile(), tenant(), False),
        (profile(), tenant(quiet_hours={"start": "22:00", "end": "07:00"}), True),
        (
            profile(time_zone="Asia/Kolkata"),
            tenant(quiet_hours={"start": "22:00", "end": "07:00"}),
            False,
        ),
        (asleep(time_zone="Asia/Kolkata"), tenant(), False),
        (asleep(), tenant(time_zone="Asia/Kolkata"), False),
        (asleep(time_zone="UTC"), tenant(time_zone="Asia/Kolkata"), True),
        (
            asleep(quiet_hours=QuietHours(12 * 60, 13 * 60)),
            tenant(quiet_hours={"start": "22:00", "end": "07:00"}),
            False,
        ),
        (
            asleep(
                quiet_hours=QuietHours(22 * 60, 7 * 60, "Europe/Berlin"), time_zone="Asia/Kolkata"
            ),
            tenant(),
            True,
        ),
    ],
    ids=[
        "no night known",
        "the tenant's night",
        "the tenant's night in the user's zone",
        "the user's night and zone",
        "the user's night in the tenant's zone",
        "the user's zone before the tenant's",
        "the user's night before the tenant's",
        "the night's own zone before the user's",
    ],
)
def test_whose_night_and_whose_zone(user: Profile, of: Tenant, *, is_asleep: bool) -> None:
    """What the user said goes before what the tenant assumes."""
    assert bool(admitted(joined(work("u1", of=of), user))[1]) is is_asleep


MUTED = {"muted_until_ms": NOW_MS + 1}


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({}, ""),
        (MUTED, "mute"),
        ({"quiet_hours": NIGHT}, "quiet hours"),
        ({"quiet_hours": NIGHT, **MUTED}, "mute, quiet hours"),
        ({"muted_until_ms": NOW_MS}, ""),
    ],
)
def test_a_critical_message_goes_past_mute_and_night_and_says_so(
    changes: dict[str, object], passed: str
) -> None:
    """In the delivery, and so in the outcome."""
    piece = joined(work("u1", priority=Priority.CRITICAL), profile("u1", **changes))
    assert admitted(piece) == (["u1"], [])
    fan_out([piece], NOW_MS)
    assert [d.bypassed for d in piece.deliveries] == [passed]


def test_a_muted_user_gets_nothing_else() -> None:
    """Until then; not even on the morning after."""
    piece = joined(work("u1", "u2"), profile("u1", **MUTED), profile("u2", muted_until_ms=NOW_MS))
    users, outs = admitted(piece)
    assert (users, said(outs)) == (["u2"], [("u1", "suppressed", "muted")])


def test_a_choice_may_be_about_one_channel() -> None:
    """The other devices get it."""
    web = device("w", platform=Platform.WEBPUSH)
    refused = (Choice(allow=False, category="news", platform="webpush"),)
    piece = joined(work("u1"), profile("u1", device("a"), web, choices=refused))
    admitted(piece)
    assert [d.device_id for d in piece.recipients[0][1]] == ["a"]


def test_who_has_not_said_yes_gets_nothing_of_what_needs_it() -> None:
    """With a reason of its own."""
    of = tenant(categories={"news": {"consent": "opt_in"}})
    yes = (Choice(allow=True, category="news"),)
    piece = joined(work("u1", "u2", of=of), profile("u1"), profile("u2", choices=yes))
    users, outs = admitted(piece)
    assert (users, said(outs)) == (["u2"], [("u1", "suppressed", "not_opted_in")])


@UNTIMED
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", ""]),
            st.one_of(
                st.none(),
                st.tuples(st.integers(0, 1_439), st.integers(0, 1_439)).filter(
                    lambda pair: pair[0] != pair[1]
                ),
            ),
            st.sampled_from(["ok", "no device", "opted out", "unknown"]),
        ),
        max_size=12,
    ),
    st.integers(0, 3 * 86_400),
)
def test_every_user_ends_in_one_place_with_one_reason(people: list[tuple], later_s: int) -> None:
    """Recipient or outcome, never both; the held ones are in one chunk each, for their morning."""
    now_ms = NOW_MS + later_s * 1_000
    users = [f"u{n}" for n in range(len(people))]
    profiles: list[Profile | None] = []
    mornings: defaultdict[int, list[str]] = defaultdict(list)
    for user, (zone, night, state) in zip(users, people, strict=True):
        made = profile(user, time_zone=zone, quiet_hours=QuietHours(*night) if night else None)
        if state == "ok" and night:
            until = Nights(now_ms).quiet_until_ms(zone or "UTC", (QuietHours(*night),))
            mornings[until] += [user] if until else []
        if state == "no device":
            made = msgspec.structs.replace(made, devices=())
        if state == "opted out":
            made = msgspec.structs.replace(made, opted_out_all=True)
        profiles.append(None if state == "unknown" else made)
    mornings.pop(0, None)
    got, outs = admitted(joined(work(*users), *profiles), now_ms)
    outcomes = only(Outcome, outs)
    assert sorted(got + [o.user_id for o in outcomes]) == sorted(users)
    held = {
        t.due_at_ms: list(msgspec.msgpack.decode(t.value, type=Chunk).users)
        for t in only(Timer, outs)
    }
    assert held == mornings
    deferred = {o.user_id for o in outcomes if o.status is Status.DEFERRED}
    assert deferred == {user for group in mornings.values() for user in group}
