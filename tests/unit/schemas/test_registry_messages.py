"""Rules of the registry and feedback messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import export
from schemas.decode import BadMessageError, decode
from schemas.feedback import Feedback, FeedbackKind
from schemas.outcomes import Status
from schemas.registry import (
    DeviceRegistration,
    UserPreferences,
    UserProfile,
    registry_key,
    split_registry_key,
)

EXAMPLES = Path(export.__file__).parent / "v1/examples"


def device(kind: str, **changes: Any) -> bytes:
    example = json.loads((EXAMPLES / f"device_registration/{kind}.json").read_text("utf-8"))
    return json.dumps({**example, **changes}).encode()


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("apns", {"token": "xyz"}, "token: an APNs token"),
        ("apns", {"token": "ab" * 31}, "token: an APNs token"),
        ("apns", {"token": "ü" * 64}, "token: an APNs token"),
        ("apns", {"p256dh": "AA"}, "p256dh, auth: belong to webpush devices only"),
        ("apns", {"environment": "dev"}, "environment: must be 'production' or 'sandbox'"),
        ("fcm", {"token": "short"}, "token: an FCM token"),
        ("fcm", {"token": "a b" * 20}, "token: an FCM token"),
        ("webpush", {"token": "http://push.example/x"}, "token: a Web Push endpoint"),
        ("webpush", {"token": "https://push.example/a b"}, "token: a Web Push endpoint"),
        ("webpush", {"p256dh": None}, "p256dh: give the subscription's public key"),
        ("webpush", {"p256dh": "A" * 87}, "p256dh: give the subscription's public key"),
        ("webpush", {"auth": "AAAA"}, "auth: give the subscription's secret"),
        ("webpush", {"platform": "sms"}, "platform: must be 'apns', 'fcm' or 'webpush'"),
        ("fcm", {"registered_at": None}, "registered_at: write a time"),
    ],
)
def test_device_fault_is_named(kind: str, changes: dict[str, Any], expected: str) -> None:
    """A token that its platform could not have given is refused at the door."""
    with pytest.raises(BadMessageError) as caught:
        decode(DeviceRegistration, device(kind, **changes))
    assert str(caught.value).startswith(expected)


def test_padded_web_push_keys_are_taken() -> None:
    """Browsers' libraries pad base64url or not; both are the same key."""
    found = decode(DeviceRegistration, device("webpush", auth="BTBZMqHH6r4Tts7J_aSIgg=="))
    assert found.auth == "BTBZMqHH6r4Tts7J_aSIgg=="


USER = {"tenant": "acme", "user_id": "u", "updated_at": "2026-01-05T08:00:00Z"}


@pytest.mark.parametrize(
    ("model", "changes", "expected"),
    [
        (UserProfile, {"time_zone": "Mars/Phobos"}, "time_zone: use an IANA time zone"),
        (UserProfile, {"time_zone": "../etc/passwd"}, "time_zone: "),
        (UserProfile, {"country": "de"}, "country: use a two-letter country code"),
        (UserProfile, {"locale": "german language"}, "locale: use a language tag"),
        (UserProfile, {"segments": ["a b"]}, "segments.0: "),
        (UserProfile, {"segments": ["everyone"]}, "segments: 'everyone' holds all users"),
        (UserProfile, {"attributes": {"a": "x" * 5000}}, "attributes: more than 4096"),
        (UserProfile, {"updated_at": "now"}, "updated_at: write a time"),
        (UserPreferences, {"opt_out_all": "yes"}, "opt_out_all: must be a valid boolean"),
        (UserPreferences, {"opted_out_channels": ["sms"]}, "opted_out_channels.0: must be"),
        (
            UserPreferences,
            {"quiet_hours": {"start": "24:00", "end": "07:00"}},
            "quiet_hours.0.start: use a 24-hour time",
        ),
        (
            UserPreferences,
            {"quiet_hours": {"start": "07:00", "end": "07:00"}},
            "quiet_hours.0: start and end are the same",
        ),
        (
            UserPreferences,
            {"quiet_hours": {"start": 1320, "end": "07:00"}},
            "quiet_hours.0.start: write a 24-hour time in quotes",
        ),
    ],
)
def test_user_fault_is_named(
    model: type[UserProfile | UserPreferences], changes: dict[str, Any], expected: str
) -> None:
    """Profiles and preferences name the field at fault."""
    with pytest.raises(BadMessageError) as caught:
        decode(model, json.dumps({**USER, **changes}).encode())
    assert str(caught.value).startswith(expected)


def test_message_over_64_kib_is_refused_unread() -> None:
    """The registry's memory is bounded by what it reads."""
    with pytest.raises(BadMessageError, match="send at most 65536"):
        decode(UserProfile, b" " * 70_000)


@pytest.mark.parametrize("parts", [("acme", "u/1", "d 1"), ("acme", "ü@x.de"), ("a", "%", "/")])
def test_record_key_comes_apart_again(parts: tuple[str, ...]) -> None:
    """A tombstone has only its key: it must say whom it forgets, whatever the ids."""
    assert split_registry_key(registry_key(*parts), parts=len(parts)) == parts


@pytest.mark.parametrize("key", [None, b"", b"acme", b"acme//d", b"a/b/c/d", b"a/b/%ff", b"\xff"])
def test_bad_record_key_is_explained(key: bytes | None) -> None:
    """A key that names nobody goes to the dead letters with a reason."""
    with pytest.raises(BadMessageError, match="the record key must be tenant/user/device"):
        split_registry_key(key, parts=3)


def test_feedback_kinds_are_outcome_statuses() -> None:
    """Feedback becomes an outcome row without a translation table."""
    assert {kind.value for kind in FeedbackKind} <= {status.value for status in Status}


def test_feedback_time_is_epoch_milliseconds() -> None:
    """occurred_at counts in any offset."""
    raw = (EXAMPLES / "feedback/clicked.json").read_bytes()
    assert decode(Feedback, raw).occurred_at_ms == 1767956400000
