"""APNs payloads and headers."""

from typing import Any

import msgspec
import pytest

from schemas.outcomes import Reason
from schemas.pipeline import Content, Delivery, Platform, Priority
from sinks.apns_payload import (
    PUSH_TYPES,
    Payload,
    Unsendable,
    build_payload,
    collapse_id,
    own_headers,
    shared_headers,
)


def build(content: Content) -> Payload | Unsendable:
    """Build from a struct."""
    return build_payload(msgspec.msgpack.encode(content))


def built(content: Content) -> tuple[Payload, dict[str, Any]]:
    """Build and read the JSON back."""
    payload = build(content)
    assert isinstance(payload, Payload), payload
    return payload, msgspec.json.decode(payload.body)


def refused(content: Content) -> Unsendable:
    """Build what cannot be built."""
    payload = build(content)
    assert isinstance(payload, Unsendable), payload
    return payload


def delivery(**changes: Any) -> Delivery:
    """Make a delivery that differs from a plain one in these fields."""
    fields: dict[str, Any] = {
        "delivery_id": "6f1c9d5e-0d0b-4f6d-9f3e-2f4cf6f6a111",
        "message_id": "m",
        "tenant": "t",
        "app": "a",
        "user_id": "u",
        "device_id": "d",
        "platform": Platform.APNS,
        "priority": Priority.NORMAL,
        "category": "c",
        "type": "x",
        "token": "ab" * 32,
        "content": b"",
        "accepted_at_ms": 1,
        "created_at_ms": 1,
        "registered_at_ms": 1,
    }
    return Delivery(**fields | changes)


def test_alert() -> None:
    """Title and body are the alert; url and data are custom keys; nothing else is there."""
    content = Content(title="Größe", body="b", url="https://x", data={"k": "v"})
    payload, body = built(content)
    assert body == {
        "aps": {"alert": {"title": "Größe", "body": "b"}},
        "url": "https://x",
        "data": {"k": "v"},
    }
    assert "Größe".encode() in payload.body
    assert shared_headers(payload, topic="com.x", priority=Priority.NORMAL) == {
        "apns-topic": "com.x",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "content-type": "application/json",
    }


def test_image_is_mutable() -> None:
    """An image lets the app's extension change the notification."""
    _, body = built(Content(title="t", image="https://x/i.png"))
    assert body == {
        "aps": {"alert": {"title": "t"}, "mutable-content": 1},
        "image": "https://x/i.png",
    }


def test_overrides_are_merged() -> None:
    """What aps and payload hold is laid over what Clarion builds, objects key by key."""
    override = {
        "aps": {"sound": "ping", "alert": {"subtitle": "s", "body": "B"}, "badge": 3},
        "payload": {"x": [1], "data": {"k2": "w"}},
    }
    _, body = built(Content(title="t", body="b", data={"k": "v"}, override=override))
    assert body == {
        "aps": {"alert": {"title": "t", "body": "B", "subtitle": "s"}, "sound": "ping", "badge": 3},
        "data": {"k": "v", "k2": "w"},
        "x": [1],
    }


@pytest.mark.parametrize(
    ("push_type", "topic"),
    [
        ("alert", "com.x"),
        ("background", "com.x"),
        ("voip", "com.x.voip"),
        ("complication", "com.x.complication"),
        ("fileprovider", "com.x.pushkit.fileprovider"),
        ("mdm", "com.x"),
        ("liveactivity", "com.x.push-type.liveactivity"),
        ("location", "com.x.location-query"),
        ("pushtotalk", "com.x.voip-ptt"),
        ("widgets", "com.x.push-type.widgets"),
        ("controls", "com.x.push-type.controls"),
    ],
)
def test_topics(push_type: str, topic: str) -> None:
    """Each push type has its topic."""
    payload, _ = built(Content(override={"push_type": push_type}))
    headers = shared_headers(payload, topic="com.x", priority=Priority.HIGH)
    assert (headers["apns-topic"], headers["apns-push-type"]) == (topic, push_type)


def test_all_push_types_are_covered() -> None:
    """Eleven push types are known."""
    assert len(PUSH_TYPES) == 11


def test_background_is_silent() -> None:
    """A background push carries no alert and has priority 5 at any urgency."""
    payload, body = built(Content(title="t", override={"push_type": "background"}))
    assert body == {"aps": {"content-available": 1}}
    for priority in Priority:
        headers = shared_headers(payload, topic="x", priority=priority)
        assert headers["apns-priority"] == "5"


def test_mdm_has_no_aps() -> None:
    """An MDM push is what the override says, without aps."""
    override = {"push_type": "mdm", "payload": {"mdm": "magic"}}
    assert built(Content(override=override))[1] == {"mdm": "magic"}


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        (Priority.CRITICAL, "10"),
        (Priority.HIGH, "10"),
        (Priority.NORMAL, "10"),
        (Priority.LOW, "5"),
    ],
)
def test_priorities(priority: Priority, expected: str) -> None:
    """Bulk may wait for the device's power budget; the override decides over both."""
    payload, _ = built(Content(title="t"))
    assert shared_headers(payload, topic="x", priority=priority)["apns-priority"] == expected
    forced, _ = built(Content(title="t", override={"priority": 1}))
    assert shared_headers(forced, topic="x", priority=priority)["apns-priority"] == "1"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"sound": "x"}, "sound"),
        ({"push_type": "email"}, "email"),
        ({"push_type": ["alert"]}, "push_type"),
        ({"priority": 7}, "7"),
        ({"priority": True}, "True"),
        ({"priority": "10"}, "'10'"),
        ({"aps": []}, "aps"),
        ({"payload": 1}, "payload"),
        ({"payload": {"aps": {}}}, "override.aps"),
        ({"push_type": "background", "priority": 10}, "5"),
        ({"payload": {"a": msgspec.msgpack.Ext(1, b"x")}}, "Ext"),
    ],
)
def test_bad_overrides_are_named(override: dict[str, Any], named: str) -> None:
    """A wrong override is refused with words that name it."""
    problem = refused(Content(title="t", override=override))
    assert problem.reason is Reason.BAD_REQUEST
    assert named in problem.detail


def test_undecodable_content() -> None:
    """Bytes that are no content are refused, not raised."""
    deep = msgspec.msgpack.encode(["", "", "", "", {}, {"aps": {"x": []}}])
    nested = deep[:-1] + b"\x91" * 100_000 + b"\x90"
    for raw in (b"", b"\xff", msgspec.msgpack.encode(["t", 7]), nested):
        problem = build_payload(raw)
        assert isinstance(problem, Unsendable)
        assert problem.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize(("push_type", "limit"), [("alert", 4096), ("voip", 5120)])
def test_size_limits(push_type: str, limit: int) -> None:
    """The limit itself is sent; one byte more is refused with both numbers."""
    override = {"push_type": push_type}
    frame_bytes = len(built(Content(title="", body="x", override=override))[0].body) - 1
    fits = built(Content(body="x" * (limit - frame_bytes), override=override))[0]
    assert len(fits.body) == limit
    problem = refused(Content(body="x" * (limit - frame_bytes + 1), override=override))
    assert problem.reason is Reason.PAYLOAD_TOO_LARGE
    assert f"{limit + 1} bytes" in problem.detail
    assert str(limit) in problem.detail


def test_built_once_per_content() -> None:
    """All deliveries of one content share one body."""
    raw = msgspec.msgpack.encode(Content(title="campaign"))
    assert build_payload(raw) is build_payload(bytes(bytearray(raw)))


def test_own_headers() -> None:
    """No expiry means no expiration header, so Apple stores it; an expiry is in seconds."""
    assert own_headers(delivery()) == {"apns-id": "6f1c9d5e-0d0b-4f6d-9f3e-2f4cf6f6a111"}
    headers = own_headers(delivery(expires_at_ms=1_800_000_000_999, collapse_key="score"))
    assert headers["apns-expiration"] == "1800000000"
    assert headers["apns-collapse-id"] == "score"


@pytest.mark.parametrize("key", ["x" * 65, "ключ", "a\nb", " a", "ü" * 32, "a\ud800"])
def test_awkward_collapse_keys_are_hashed(key: str) -> None:
    """Keys that are too long or not header-safe become 64 hex digits, the same ones each time."""
    hashed = collapse_id(key)
    assert len(hashed) == 64
    assert set(hashed) <= set("0123456789abcdef")
    assert hashed == collapse_id(key)
    assert hashed != collapse_id(key + "x")


def test_plain_collapse_keys_stay() -> None:
    """64 printable characters are sent as they are."""
    assert collapse_id("x" * 64) == "x" * 64
    assert collapse_id("match 7/goal") == "match 7/goal"
