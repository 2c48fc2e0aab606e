"""What an APNs request says: payload and headers, from a delivery's content.

Source: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
and https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from schemas.merging import merged
from schemas.outcomes import Reason
from schemas.pipeline import Content, Delivery, Priority

MAX_PAYLOAD_BYTES = 4096
MAX_COLLAPSE_ID_BYTES = 64
CACHED_CONTENTS = 1024
"""Contents kept built: a campaign has one a locale; single messages pass through."""

PRIORITIES = frozenset({10, 5, 1})
OVERRIDES = frozenset({"push_type", "priority", "aps", "payload"})


class PushType(msgspec.Struct, frozen=True):
    """A push type and its rules. suffix: added to the bundle id to make the topic."""

    name: str
    suffix: str = ""
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    only_priority: int | None = None
    needs_aps: bool = True


PUSH_TYPES: Mapping[str, PushType] = {
    kind.name: kind
    for kind in (
        PushType("alert"),
        PushType("background", only_priority=5),
        PushType("voip", ".voip", max_payload_bytes=5120),
        PushType("complication", ".complication"),
        PushType("fileprovider", ".pushkit.fileprovider"),
        # The topic is the MDM certificate's own, and the payload {"mdm": ...}; no aps.
        PushType("mdm", needs_aps=False),
        PushType("liveactivity", ".push-type.liveactivity"),
        PushType("location", ".location-query"),
        PushType("pushtotalk", ".voip-ptt"),
        PushType("widgets", ".push-type.widgets"),
        PushType("controls", ".push-type.controls"),
    )
}


class Payload(msgspec.Struct, frozen=True):
    """A built request body. priority: the override's, or None to follow the delivery's."""

    body: bytes
    push_type: PushType
    priority: int | None


class Unsendable(msgspec.Struct, frozen=True):
    """Content that no request is made of. detail: for the producer, in plain words."""

    reason: Reason
    detail: str


@lru_cache(maxsize=CACHED_CONTENTS)
def build_payload(content: bytes) -> Payload | Unsendable:
    """Build the request body from msgpack of Content, once per content. Never raises.

    title and body become aps.alert; url and data become custom keys of these names, and so does
    image, with mutable-content so that the app's extension can fetch it. The override's keys:

    push_type: alert (default), background, voip, complication, fileprovider, mdm, liveactivity,
        location, pushtotalk, widgets or controls. background carries no alert.
    priority: 10, 5 or 1. Default: 5 for low deliveries and background, else 10.
    aps: merged into aps, objects key by key.
    payload: merged into the root, objects key by key.
    """
    try:
        decoded = msgspec.msgpack.decode(content, type=Content)
        return _build(decoded)
    except msgspec.MsgspecError as error:
        return Unsendable(Reason.BAD_REQUEST, f"content: {error}")
    except (TypeError, ValueError, RecursionError) as error:  # what JSON cannot say, or too deep
        return Unsendable(Reason.BAD_REQUEST, f"override: {error}")


def size_of(content: Content) -> tuple[int, int] | None:
    """Give the payload's bytes and how many there may be; None for what is not sendable anyway.

    Raises what JSON encoding does.
    """
    made = _body(content)
    return (
        None if isinstance(made, Unsendable) else (len(made.body), made.push_type.max_payload_bytes)
    )


def _build(content: Content) -> Payload | Unsendable:
    made = _body(content)
    if isinstance(made, Payload) and len(made.body) > made.push_type.max_payload_bytes:
        kind = made.push_type
        text = f"payload has {len(made.body)} bytes, {kind.name} allows {kind.max_payload_bytes}"
        return Unsendable(Reason.PAYLOAD_TOO_LARGE, text)
    return made


def _body(content: Content) -> Payload | Unsendable:
    """Build the payload, of whatever size."""
    override = content.override
    defect = _defect(override)
    if defect:
        return Unsendable(Reason.BAD_REQUEST, defect)
    kind = PUSH_TYPES[override.get("push_type", "alert")]
    priority = override.get("priority", kind.only_priority)
    if kind.only_priority is not None and priority != kind.only_priority:
        text = f"override.priority of a {kind.name} push must be {kind.only_priority}"
        return Unsendable(Reason.BAD_REQUEST, text)
    root: dict[str, Any] = {}
    aps = merged(_aps(content, kind), override.get("aps", {}))
    if aps or kind.needs_aps:
        root["aps"] = aps
    for key in ("image", "url", "data"):
        value = getattr(content, key)
        if value:
            root[key] = value
    body = msgspec.json.encode(merged(root, override.get("payload", {})))
    return Payload(body, kind, priority)


def _defect(override: Mapping[str, Any]) -> str:
    """Say what is wrong with an override, or nothing."""
    unknown = sorted(set(override) - OVERRIDES)
    if unknown:
        return f"override has unknown keys {unknown}; known are {sorted(OVERRIDES)}"
    push_type = override.get("push_type", "alert")
    if not isinstance(push_type, str) or push_type not in PUSH_TYPES:
        return f"override.push_type {push_type!r} is none of {sorted(PUSH_TYPES)}"
    priority = override.get("priority", 10)
    if type(priority) is not int or priority not in PRIORITIES:
        return f"override.priority {priority!r} is none of 10, 5, 1"
    for key in ("aps", "payload"):
        if not isinstance(override.get(key, {}), dict):
            return f"override.{key} is not an object"
    if "aps" in override.get("payload", {}):
        return "override.payload has aps: use override.aps"
    return ""


def _aps(content: Content, kind: PushType) -> dict[str, Any]:
    if kind.name == "background":
        return {"content-available": 1}
    aps: dict[str, Any] = {}
    alert = {key: text for key, text in (("title", content.title), ("body", content.body)) if text}
    if alert:
        aps["alert"] = alert
    if content.image:
        aps["mutable-content"] = 1
    if kind.name in ("widgets", "controls"):
        aps["content-changed"] = True
    return aps


def shared_headers(payload: Payload, *, topic: str, priority: Priority) -> dict[str, str]:
    """Build the headers that all deliveries of one content, app and priority have in common."""
    default = 5 if priority is Priority.LOW else 10
    return {
        "apns-topic": topic + payload.push_type.suffix,
        "apns-push-type": payload.push_type.name,
        "apns-priority": str(payload.priority or default),
        "content-type": "application/json",
    }


def own_headers(delivery: Delivery) -> dict[str, str]:
    """Build the headers of one delivery.

    apns-expiration is left out when the message never expires: APNs then stores it for a device
    that is off, as Apple's policy has it (up to 30 days). The value 0 would mean the contrary:
    one try, and lost for a device that is off.
    """
    headers = {"apns-id": delivery.delivery_id}
    if delivery.expires_at_ms:
        headers["apns-expiration"] = str(max(1, delivery.expires_at_ms // 1000))
    if delivery.collapse_key:
        headers["apns-collapse-id"] = collapse_id(delivery.collapse_key)
    return headers


def collapse_id(key: str) -> str:
    """Give a header-safe id of at most 64 bytes.

    Printable ASCII keys that fit are sent as they are; others become the hex SHA-256 of their
    UTF-8 bytes (64 characters), so equal keys still collapse.
    """
    plain = key.isascii() and key.isprintable() and key == key.strip()
    if plain and len(key) <= MAX_COLLAPSE_ID_BYTES:
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
