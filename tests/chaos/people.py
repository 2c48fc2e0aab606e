"""Devices and events of the chaos runs: each event is for one user, each user has one device."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from sandbox import fcm_tokens
from sandbox.keys import KEY_ID, PROJECT_ID, TEAM_ID, TOPIC, SandboxKeys
from sandbox.webpush_subscriptions import make_subscription
from schemas.pipeline import Platform, Priority
from schemas.registry import registry_key
from schemas.stream import Record
from schemas.topics import DEVICES, EVENTS

TENANT = "acme"
APPS = {Platform.APNS: "ios", Platform.FCM: "android", Platform.WEBPUSH: "web"}
# Encryption makes Web Push the dearest; the mix keeps all three busy for about as long.
PLATFORM_MIX = (Platform.APNS,) * 4 + (Platform.FCM,) * 4 + (Platform.WEBPUSH,) * 2
PRIORITY_MIX = (
    (Priority.CRITICAL,) + (Priority.HIGH,) * 3 + (Priority.NORMAL,) * 8 + (Priority.LOW,) * 8
)
_encode = msgspec.json.Encoder().encode


def tenant(keys: SandboxKeys) -> dict[str, Any]:
    """Give the tenant of the chaos runs: patient retries, so that faults alone end nothing."""
    directory = keys.directory
    return {
        "name": TENANT,
        "shards": 16,
        "apps": {
            "ios": {"platform": "apns", "team_id": TEAM_ID, "key_id": KEY_ID, "topic": TOPIC,
                    "private_key": {"file": str(directory / "apns.p8")}},
            "android": {"platform": "fcm", "project_id": PROJECT_ID,
                        "service_account": {"file": str(directory / "fcm.json")}},
            "web": {"platform": "webpush", "subject": "mailto:push@example.com",
                    "private_key": {"file": str(directory / "vapid.pem")},
                    "allowed_hosts": ["127.0.0.1"]},
        },
        "categories": {
            "news": {"quiet_hours": "ignore", "default_ttl_s": "1d",
                     "caps": [{"limit": 5, "window_s": "1d"}]},
        },
        "retry": {"max_attempts": 20, "base_s": 0.5, "cap_s": 5, "max_elapsed_s": "1h"},
    }  # fmt: skip


def platform_of(number: int) -> Platform:
    """Give the platform of a user's device."""
    return PLATFORM_MIX[number % len(PLATFORM_MIX)]


def priority_of(number: int) -> Priority:
    """Give the priority of a user's event; all platforms get all priorities."""
    return PRIORITY_MIX[number // len(PLATFORM_MIX) % len(PRIORITY_MIX)]


def token_of(number: int, origin: str) -> dict[str, str]:
    """Give what a device's registration says of its token."""
    platform = platform_of(number)
    if platform is Platform.APNS:
        return {"token": hashlib.sha256(b"chaos %d" % number).hexdigest()}
    if platform is Platform.FCM:
        return {"token": fcm_tokens.live_token(number)}
    subscription = make_subscription(f"chaos {number}")
    return {
        "token": origin + subscription.path,
        "p256dh": subscription.p256dh,
        "auth": subscription.auth,
    }


def seen_as(number: int) -> str:
    """Name a user's device as its simulator does, see sandbox/misbehave."""
    token = token_of(number, "")["token"]
    return f"/3/device/{token}" if platform_of(number) is Platform.APNS else token


def registrations(count: int, origin: str, *, start: int = 0) -> Iterator[Record]:
    """Give the devices of users start to start + count. origin: of the Web Push simulator."""
    at = _now()
    for number in range(start, start + count):
        platform = platform_of(number)
        said = {
            "tenant": TENANT,
            "user_id": f"u{number}",
            "device_id": f"d{number}",
            "platform": platform,
            "app": APPS[platform],
            "registered_at": at,
            **token_of(number, origin),
        }
        yield Record(DEVICES, registry_key(TENANT, f"u{number}", f"d{number}"), _encode(said))


def events(count: int, *, start: int = 0, **more: Any) -> Iterator[Record]:
    """Give one event for each of the users start to start + count."""
    for number in range(start, start + count):
        yield event(number, priority_of(number), **more)


def event(number: int, priority: Priority, **more: Any) -> Record:
    """Give one event for one user."""
    key = f"{TENANT}-{number}"
    said = {
        "id": f"e{number}",
        "tenant": TENANT,
        "type": "chaos",
        "category": "news",
        "priority": priority,
        "audience": {"users": [f"u{number}"]},
        "content": {"title": "News", "body": f"Number {number}"},
        "idempotency_key": key,
        "collapse_key": f"k{number}",
        **more,
    }
    return Record(EVENTS[priority], key.encode(), _encode(said))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
