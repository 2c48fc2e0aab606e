"""registration: what each message of the registry's topics means."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import schemas
from operators.registration import (
    SKEW_MS,
    Change,
    PreferenceChange,
    Registration,
    Removal,
    UserChange,
    decode_registrations,
    with_change,
)
from schemas.outcomes import Reason
from schemas.pipeline import DeadLetter, Platform, TokenDeath
from schemas.registry import UserPreferences, UserProfile
from state.profiles import Choice, Device, Profile, QuietHours
from tests.unit.operators.builders import NOW_MS, device, keyed, messages, profile

TOKEN = "t"
EXAMPLES = Path(next(iter(schemas.__path__))) / "v1" / "examples"


def example(kind: str, name: str, **changes: Any) -> bytes:
    document = json.loads((EXAMPLES / kind / f"{name}.json").read_text("utf-8"))
    return json.dumps({**document, **changes}).encode()


def change(topic: str, raw: bytes | None, key: bytes = b"") -> Change:
    (message,) = messages(topic, raw)
    (found,), letters = decode_registrations([keyed(message, key)], NOW_MS)
    assert letters == []
    return found


def test_a_device_registers() -> None:
    """With all that is needed to reach it."""
    found = change("devices", example("device_registration", "apns"))
    assert isinstance(found, Registration)
    assert (found.tenant, found.user_id, found.app_version) == ("acme", "u-1041", "5.2.1")
    assert found.device == Device(
        "d-77",
        Platform.APNS,
        "ios",
        "a4c123b1612dd272d1371c17149d439536b3216fdaeeb975729fae923d5a4fd1",
        1_767_338_100_000,
        "production",
        "de-DE",
        app_version="5.2.1",
        os_version="iOS 19.2",
    )


def test_a_browser_registers_with_its_keys() -> None:
    """They encrypt what it gets."""
    found = change("devices", example("device_registration", "webpush"))
    assert isinstance(found, Registration)
    assert found.device.token.startswith("https://")
    assert found.device.p256dh
    assert found.device.auth


@pytest.mark.parametrize(
    ("topic", "kind", "name"),
    [
        ("devices", "device_registration", "fcm"),
        ("users", "user_profile", "full"),
        ("preferences", "user_preferences", "nothing"),
    ],
)
def test_nothing_happened_after_kafka_took_the_record(topic: str, kind: str, name: str) -> None:
    """An app's clock may be ahead; what follows must count all the same."""
    ahead = {"registered_at" if topic == "devices" else "updated_at": "2999-01-01T00:00:00Z"}
    found = change(topic, example(kind, name, **ahead))
    at_ms = found.device.registered_at_ms if isinstance(found, Registration) else found.at_ms
    assert at_ms == NOW_MS


def test_a_device_tombstone_removes_whatever_token_it_has() -> None:
    """As of the record's time."""
    assert change("devices", None, b"acme/u1/d%2F1") == Removal(
        "acme", "u1", "d/1", "", NOW_MS, "unregistered"
    )


def test_a_dead_token_removes_that_token_only() -> None:
    """As of the provider's time."""
    death = TokenDeath("acme", "u1", "d1", Platform.FCM, "t", 5, Reason.TOKEN_EXPIRED)
    assert change("tokens.dead", msgspec.msgpack.encode(death)) == Removal(
        "acme", "u1", "d1", "t", 5, "token_expired"
    )


def test_a_user_record_and_its_tombstone() -> None:
    """The one by its own time, the other by the record's."""
    found = change("users", example("user_profile", "minimal"))
    assert isinstance(found, UserChange)
    assert found.profile is not None
    assert change("users", None, b"acme/u1") == UserChange("acme", "u1", None, NOW_MS)


def test_preferences_and_their_tombstone() -> None:
    """As for users."""
    found = change("preferences", example("user_preferences", "quiet_nights"))
    assert isinstance(found, PreferenceChange)
    assert found.at_ms == 1_767_599_940_000
    assert change("preferences", None, b"acme/u1") == PreferenceChange("acme", "u1", None, NOW_MS)


@pytest.mark.parametrize(
    ("topic", "raw", "key"),
    [
        ("devices", b"{}", b""),
        ("devices", b"", b"acme/u1/d1"),
        ("devices", None, b"acme/u1"),
        ("devices", None, None),
        ("devices", None, b"a%3Ab/u1/d1"),
        ("devices", None, b"acme/u%201/d1"),
        ("users", None, b"acme/u1/d1"),
        ("users", None, b"%7Bacme%7D/u1"),
        ("users", b"\xff", b""),
        ("users", example("user_profile", "minimal", user_id="u\x00"), b""),
        ("users", example("user_profile", "minimal", attributes={"a": "\x00"}), b""),
        ("preferences", None, b"acme/"),
        ("preferences", None, b"acme/%ff"),
        ("preferences", b"{" * 70_000, b""),
        ("tokens.dead", b"\xc1", b""),
        ("tokens.dead", None, b""),
        (
            "tokens.dead",
            msgspec.msgpack.encode(
                TokenDeath("acme", "u", "d", Platform.FCM, "", 5, Reason.FEEDBACK)
            ),
            b"",
        ),
    ],
)
def test_what_is_none_becomes_a_dead_letter(
    topic: str, raw: bytes | None, key: bytes | None
) -> None:
    """Also a key that no tenant or user could have: the stores would stop the flow over it."""
    good = messages(topic, raw)[0]
    changes, (letter,) = decode_registrations([keyed(good, key)], NOW_MS)  # type: ignore[arg-type]
    assert changes == []
    assert isinstance(letter, DeadLetter)
    assert (letter.topic, letter.offset, letter.raw) == (topic, 0, raw or b"")
    assert letter.key == (key or b"")
    assert letter.error


def test_one_bad_message_does_not_stop_the_others() -> None:
    """The rest of the batch goes on."""
    good = example("user_profile", "minimal")
    changes, letters = decode_registrations(messages("users", good, b"?", good), NOW_MS)
    assert (len(changes), len(letters)) == (2, 1)


def register(device_id: str = "d1", at_ms: int = 10, token: str = TOKEN) -> Registration:
    made = device(device_id, token=token, registered_at_ms=at_ms)
    return Registration("acme", "u1", made, "1.0")


def user(at_ms: int, **said: Any) -> UserChange:
    made = UserProfile(tenant="acme", user_id="u1", updated_at="2026-01-01T00:00:00Z", **said)
    return UserChange("acme", "u1", made, at_ms)


def prefer(at_ms: int, **said: Any) -> PreferenceChange:
    made = UserPreferences(tenant="acme", user_id="u1", updated_at="2026-01-01T00:00:00Z", **said)
    return PreferenceChange("acme", "u1", made, at_ms)


def after(*changes: Change, first: Profile | None = None) -> Profile | None:
    for one in changes:
        first = with_change(first, one)
    return first


def tokens(found: Profile | None) -> list[tuple[str, str]]:
    return [(d.device_id, d.token) for d in found.devices] if found else []


def test_a_registration_makes_a_user() -> None:
    """A device may come before its user's record."""
    found = after(register())
    assert found is not None
    assert (found.user_id, tokens(found)) == ("u1", [("d1", "t")])


def test_devices_of_a_user_add_up() -> None:
    """Each has its token."""
    found = after(register("a", token="ta"), register("b", token="tb"))
    assert tokens(found) == [("a", "ta"), ("b", "tb")]


@pytest.mark.parametrize(("at_ms", "kept"), [(9, "t"), (10, "new"), (11, "new")])
def test_the_newest_registration_wins(at_ms: int, kept: str) -> None:
    """An older one changes nothing; at the same time the last one counts."""
    assert tokens(after(register(), register(at_ms=at_ms, token="new"))) == [("d1", kept)]


@pytest.mark.parametrize(
    ("token", "at_ms", "stays"),
    [("t", 10, False), ("t", 11, False), ("t", 9, True), ("other", 99, True)],
)
def test_a_dead_token_removes_a_device_registered_no_later(
    token: str, at_ms: int, *, stays: bool
) -> None:
    """Same token, registered no later than the provider's 410 says."""
    found = after(register(), Removal("acme", "u1", "d1", token, at_ms, "x"))
    assert bool(tokens(found)) is stays


def test_unregistering_is_the_last_word() -> None:
    """Who logs out gets nothing more."""
    found = after(register(at_ms=NOW_MS + 60_000), Removal("acme", "u1", "d1", "", NOW_MS, "x"))
    assert tokens(found) == []


def test_a_removal_leaves_other_devices() -> None:
    """And does nothing to a user who is not known."""
    removal = Removal("acme", "u1", "a", "", 99, "x")
    assert tokens(after(register("a"), register("b"), removal)) == [("b", "t")]
    assert after(removal) is None


def test_a_user_record_replaces_what_was_said() -> None:
    """All of it; devices and preferences stay."""
    first = user(1, locale="de", time_zone="Europe/Berlin", segments=("a",), attributes={"x": 1})
    found = after(register(), prefer(1, opt_out_all=True), first, user(2, country="DE"))
    assert found is not None
    assert (found.locale, found.time_zone, found.segments) == ("", "", ())
    assert (found.country, found.attributes, found.updated_at_ms) == ("DE", {}, 2)
    assert (tokens(found), found.opted_out_all) == ([("d1", "t")], True)


def test_an_older_user_record_changes_nothing() -> None:
    """The newest counts."""
    found = after(user(2, locale="de"), user(1, locale="fr"))
    assert found == after(user(2, locale="de"))


def test_preferences_replace_what_was_said() -> None:
    """Quiet hours in minutes, with their own zone."""
    night = {"start": "22:30", "end": "07:05", "time_zone": "Europe/Berlin"}
    found = after(
        prefer(1, opted_out_categories=("news",), opted_out_channels=("fcm",)),
        prefer(2, quiet_hours=night),
    )
    assert found is not None
    assert (found.opted_out_categories, found.opted_out_platforms) == ((), ())
    assert found.quiet_hours == QuietHours(22 * 60 + 30, 7 * 60 + 5, "Europe/Berlin")


def test_all_that_a_user_may_say_is_kept() -> None:
    """Windows by their days, choices, and a mute."""
    found = after(
        prefer(
            2,
            muted_until="2026-07-01T00:00:00Z",
            choices=(
                {"type": "alert", "allow": True},
                {"category": "news", "channel": "webpush", "allow": False},
            ),
            quiet_hours=(
                {"start": "22:00", "end": "07:00", "days": ["mon", "sun"]},
                {"start": "12:00", "end": "13:00"},
            ),
        )
    )
    assert found is not None
    assert found.muted_until_ms == 1_782_864_000_000
    assert found.choices == (
        Choice(allow=True, type="alert"),
        Choice(allow=False, category="news", platform="webpush"),
    )
    assert found.quiet_hours == QuietHours(22 * 60, 7 * 60, days=0b1000001)
    assert found.more_quiet_hours == (QuietHours(12 * 60, 13 * 60),)


def test_older_preferences_change_nothing() -> None:
    """An opt-out is not undone by what was said before it."""
    found = after(prefer(2, opt_out_all=True), prefer(1))
    assert found is not None
    assert found.opted_out_all


def test_preferences_and_user_have_times_of_their_own() -> None:
    """A newer user record does not make preferences old."""
    found = after(user(9), prefer(2, opt_out_all=True))
    assert found is not None
    assert found.opted_out_all


def test_forgotten_preferences_are_the_defaults() -> None:
    """Nothing is opted out of."""
    everything = {
        "opt_out_all": True,
        "opted_out_categories": ("news",),
        "opted_out_channels": ("fcm",),
        "muted_until": "2026-07-01T00:00:00Z",
        "choices": ({"type": "alert", "allow": True},),
        "quiet_hours": ({"start": "22:00", "end": "07:00"}, {"start": "12:00", "end": "13:00"}),
    }
    devices_only = after(register(), user(1, locale="de"))
    found = after(
        register(),
        user(1, locale="de"),
        prefer(1, **everything),
        PreferenceChange("acme", "u1", None, 2),
    )
    assert found is not None
    assert devices_only is not None
    assert found == msgspec.structs.replace(devices_only, preferences_at_ms=2)


def test_a_user_tombstone_forgets_everything() -> None:
    """Devices too."""
    assert after(register(), user(9), UserChange("acme", "u1", None, 1)) is None


def test_what_is_surely_from_after_a_user_tombstone_stays() -> None:
    """A device's record lies on another topic, and may be read before."""
    later_ms = SKEW_MS + 100
    gone = UserChange("acme", "u1", None, 50)
    before = (register(), user(9, locale="de"), prefer(9, opt_out_all=True))
    found = after(*before, register("d2", later_ms), gone)
    assert tokens(found) == [("d2", TOKEN)]
    assert found is not None
    assert (found.locale, found.opted_out_all, found.updated_at_ms) == ("", False, 0)
    found = after(*before, prefer(later_ms, topics=("a",)), gone)
    assert found is not None
    assert (found.devices, found.topics, found.locale) == ((), ("a",), "")
    assert after(*before, register("d2", SKEW_MS + 50), gone) is None


def test_a_tombstone_of_a_dead_token_says_nothing() -> None:
    """Its report is forgotten with the user; a key that no device can have is a dead letter."""
    assert decode_registrations(
        [keyed(messages("tokens.dead", None)[0], b"acme/u1/d1")], NOW_MS
    ) == ([], [])
    changes, (letter,) = decode_registrations(
        [keyed(messages("tokens.dead", None)[0], b"x")], NOW_MS
    )
    assert not changes
    assert "tenant/user/device" in letter.error


def test_forgotten_preferences_of_a_forgotten_user_make_no_user() -> None:
    """Whichever tombstone comes first."""
    gone = UserChange("acme", "u1", None, 1), PreferenceChange("acme", "u1", None, 1)
    assert after(register(), *gone) is None
    assert after(register(), *reversed(gone)) is None


@pytest.mark.parametrize(
    "one",
    [
        register(),
        Removal("acme", "u1", "d1", "t", 10, "x"),
        user(5, locale="de"),
        prefer(5, opt_out_all=True),
        UserChange("acme", "u1", None, 1),
        PreferenceChange("acme", "u1", None, 9),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_change_made_twice_is_made_once(one: Change) -> None:
    """On any profile."""
    for first in (None, profile("u1", device("d1", token="t", registered_at_ms=3))):
        once = after(one, first=first)
        assert after(one, first=once) == once


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "{a: b}"},
        {"tenant": ""},
        {"user_id": "a b"},
        {"device_id": ""},
        {"invalid_at_ms": -1},
        {"invalid_at_ms": 2**63 - 1},
    ],
)
def test_a_death_that_no_store_could_take_is_a_dead_letter(changes: dict[str, Any]) -> None:
    """It would stop the flow at every start."""
    death = TokenDeath("acme", "u1", "d1", Platform.FCM, "t", 5, Reason.TOKEN_EXPIRED)
    raw = msgspec.msgpack.encode(msgspec.structs.replace(death, **changes))
    found, (letter,) = decode_registrations(messages("tokens.dead", raw), 1)
    assert found == []
    assert letter.error


@pytest.mark.parametrize("raw", [b"\x98\xa1\xff", b"\x98" + b"\xa0" * 8 + b"\x91" * 100_000])
def test_a_death_that_cannot_be_read_is_a_dead_letter(raw: bytes) -> None:
    """Text that is no UTF-8, nesting without end."""
    found, (letter,) = decode_registrations(messages("tokens.dead", raw), 1)
    assert (found, len(letter.error) < 400) == ([], True)
