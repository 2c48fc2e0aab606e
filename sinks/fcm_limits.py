"""What FCM refuses beyond its schema: reserved data keys, ttl, exclusive fields, size."""

from operator import itemgetter
from typing import Any, Final

import msgspec

from sinks.fcm_schema import FieldError

MAX_PAYLOAD_BYTES: Final = 4096
"""Keys and values together. Source: https://firebase.google.com/docs/cloud-messaging/error-codes"""
MAX_TTL_S: Final = 2_419_200
"""Four weeks, the longest that FCM stores a message. Source: AndroidConfig.ttl."""

_RESERVED = frozenset({"from", "gcm", "message_type"})
_RESERVED_PREFIXES = ("google.", "gcm.")


def check_limits(message: dict[str, Any], *, planned_ttl: str) -> None:
    """Check a complete message that fits the schema.

    planned_ttl: an android.ttl to accept unread, as it is filled in later.
    Raises FieldError for a field that is wrong.
    Sources: Message.data, AndroidConfig.ttl, Message.androidV2, WebpushFcmOptions.link in the
    discovery document, and INVALID_ARGUMENT in the table of error codes.
    """
    if "android" in message and "androidV2" in message:
        raise FieldError("message.androidV2", "excludes message.android")
    for path in (("data",), ("android", "data"), ("androidV2", "data"), ("webpush", "data")):
        _check_data_keys(_at(message, *path), ".".join(("message", *path)))
    for name in ("android", "androidV2"):
        ttl = _at(message, name).get("ttl")
        if ttl is not None and ttl != planned_ttl and float(ttl[:-1]) > MAX_TTL_S:
            raise FieldError(f"message.{name}.ttl", f"must be at most {MAX_TTL_S}s")
    link = _at(message, "webpush", "fcmOptions").get("link", "https://")
    if not link.startswith("https://"):
        raise FieldError("message.webpush.fcmOptions.link", "must be an https:// URL")


def too_large(message: dict[str, Any]) -> str:
    """Name the largest field of what is over the limit as one platform gets it, "" if none is."""
    size_bytes, largest = size_of(message)
    if size_bytes <= MAX_PAYLOAD_BYTES:
        return ""
    return f"{largest}: the payload is {size_bytes} bytes, over {MAX_PAYLOAD_BYTES}"


def size_of(message: dict[str, Any]) -> tuple[int, str]:
    """Give the bytes that the limit is about, of the platform that gets most, and what has most.

    Google publishes the limit but not its arithmetic; this counts UTF-8 bytes of keys and values,
    and FCM's answer stays the last word. A message whose JSON is within the limit needs no check.
    """
    sizes = []
    views = [_view(message, name) for name in ("android", "androidV2", "webpush")]
    for view in (*views, {"message.apns.payload": _at(message, "apns", "payload")}):
        weights = {path: _weight(part) for path, part in view.items()}
        sizes.append((sum(weights.values()), max(weights, key=weights.__getitem__)))
    return max(sizes, key=itemgetter(0))


def _check_data_keys(data: dict[str, Any], path: str) -> None:
    for key in data:
        if key in _RESERVED or key.startswith(_RESERVED_PREFIXES):
            raise FieldError(f"{path}.{key}", "FCM reserves this key")


def _view(message: dict[str, Any], platform: str) -> dict[str, Any]:
    """Give data and notification by path: a platform's data replaces, its notification overlays."""
    own = _at(message, platform)
    shown = _at(own, "notification") or _at(own, "remoteNotification", "notification")
    at = f"message.{platform}."
    return {
        (at if "data" in own else "message.") + "data": own.get("data", message.get("data", {})),
        (at if shown else "message.") + "notification": _at(message, "notification") | shown,
    }


def _at(message: dict[str, Any], *names: str) -> dict[str, Any]:
    """Give the object at this path, empty when it is not there."""
    found: Any = message
    for name in names:
        found = found.get(name, {})
    return found if isinstance(found, dict) else {}


def _weight(value: object) -> int:
    """UTF-8 bytes of all keys and values."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(len(key.encode()) + _weight(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(_weight(item) for item in value)
    return len(msgspec.json.encode(value))
