import json
from typing import Any

import msgspec
import pytest

from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Content, Delivery, Platform, Priority
from sinks.webpush_payload import (
    DEFAULT_TTL_S,
    MAX_PLAINTEXT_BYTES,
    Built,
    WebPushPayloads,
    headers_for,
    topic,
    ttl,
    with_message,
)
from sinks.webpush_status import Vendor

NOW_MS = 1_800_000_000_000


def pack(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(Content(**fields))


def built(content: bytes) -> Built:
    result = WebPushPayloads().build(content)
    assert isinstance(result, Built)
    return result


def refused(content: bytes) -> Answer:
    result = WebPushPayloads().build(content)
    assert isinstance(result, Answer)
    assert result.status is Status.REJECTED
    return result


def delivery(**changes: Any) -> Delivery:
    base = Delivery(
        "id", "m", "t", "a", "u", "d", Platform.WEBPUSH, Priority.NORMAL, "c", "x", "", b"", 0, 0, 0
    )
    return msgspec.structs.replace(base, **changes)


def headers(vendor: Vendor = Vendor.RFC8030, urgency: str = "", **changes: Any) -> dict[str, str]:
    return headers_for(delivery(**changes), urgency=urgency, vendor=vendor, now_ms=NOW_MS)


def test_the_payload_holds_what_is_given() -> None:
    """Title, body, image, url and data become JSON members; empty ones are left out."""
    full = built(pack(title="Täst", body="b", image="i", url="u", data={"k": "v"}))
    assert json.loads(full.plaintext) == {
        "title": "Täst",
        "body": "b",
        "image": "i",
        "url": "u",
        "data": {"k": "v"},
    }
    assert built(pack(title="t")) == Built(b'{"title":"t"}', "")


def test_the_override_adds_replaces_and_removes() -> None:
    """Members of override.payload win; null takes one out; urgency is the content's."""
    override = {"payload": {"icon": "i.png", "title": "new", "url": None}, "urgency": "very-low"}
    result = built(pack(title="old", url="u", override=override))
    assert json.loads(result.plaintext) == {"title": "new", "icon": "i.png"}
    assert result.urgency == "very-low"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (pack(override={"payload": [1]}), "override.payload"),
        (pack(override={"urgency": "urgent"}), "override.urgency"),
        (pack(override={"urgency": ["high"]}), "content"),
        (pack(override={"ttl": 5}), "override.ttl"),
        (pack(override={"payload": {"x": b"\xff"}, 5: 6}), "content"),
        (b"\xff\xff", "content"),
        (msgspec.msgpack.encode([1, 2]), "content"),
    ],
)
def test_a_wrong_field_is_named(content: bytes, text: str) -> None:
    """Content that cannot be sent is refused without a request, naming the field."""
    answer = refused(content)
    assert answer.reason is Reason.BAD_REQUEST
    assert text in answer.provider_reason


def test_the_limit_is_3993_bytes() -> None:
    """The longest payload fits, one byte more is refused with its size."""
    room = 3993 - len('{"body":""}')
    assert len(built(pack(body="x" * room)).plaintext) == 3993
    answer = refused(pack(body="x" * (room + 1)))
    assert answer.reason is Reason.PAYLOAD_TOO_LARGE
    assert "3994" in answer.provider_reason


def test_payloads_are_built_once_per_content() -> None:
    """The same content bytes give the same object, until newer ones push it out."""
    payloads = WebPushPayloads(max_cached=2)
    first = payloads.build(pack(title="1"))
    assert payloads.build(pack(title="1")) is first
    payloads.build(pack(title="2"))
    payloads.build(pack(title="3"))
    assert payloads.build(pack(title="1")) is not first
    assert payloads.build(pack(title="1")) == first


@pytest.mark.parametrize(
    ("expires_at_ms", "ttl_s"),
    [
        (0, DEFAULT_TTL_S),
        (NOW_MS + 60_999, 60),
        (NOW_MS, 0),
        (NOW_MS - 5_000, 0),
        (NOW_MS + 10**12, 2_592_000),
    ],
)
def test_ttl_is_what_is_left(expires_at_ms: int, ttl_s: int) -> None:
    """Four weeks without an expiry; never negative; at most 30 days."""
    assert ttl(expires_at_ms, NOW_MS) == ttl_s
    assert headers(expires_at_ms=expires_at_ms)["ttl"] == str(ttl_s)


@pytest.mark.parametrize(
    ("priority", "urgency"),
    [
        (Priority.CRITICAL, "high"),
        (Priority.HIGH, "high"),
        (Priority.NORMAL, "normal"),
        (Priority.LOW, "low"),
    ],
)
def test_urgency_follows_the_priority(priority: Priority, urgency: str) -> None:
    """Unless the content asks for another."""
    assert headers(priority=priority)["urgency"] == urgency
    assert headers(priority=priority, urgency="very-low")["urgency"] == "very-low"


@pytest.mark.parametrize("key", ["order-42", "a" * 32, "A_b-9"])
def test_a_fitting_collapse_key_is_the_topic(key: str) -> None:
    """Up to 32 characters of base64url travel as they are."""
    assert topic(key) == key
    assert headers(collapse_key=key)["topic"] == key


@pytest.mark.parametrize("key", ["a" * 33, "order 42", "order:42", "ordré", "\ud800", "x\n"])
def test_other_collapse_keys_are_hashed(key: str) -> None:
    """Anything else becomes 32 base64url characters, the same each time and one per key."""
    hashed = topic(key)
    assert len(hashed) == 32
    assert topic(hashed) == hashed == topic(key)
    assert topic(key + "x") != hashed


def test_the_headers_of_a_plain_delivery() -> None:
    """No collapse key, no Topic; the encoding is always aes128gcm."""
    assert headers() == {
        "ttl": str(DEFAULT_TTL_S),
        "urgency": "normal",
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
    }


def test_wns_wants_its_cache_policy() -> None:
    """WNS refuses a TTL that contradicts X-WNS-Cache-Policy."""
    assert headers(Vendor.WNS)["x-wns-cache-policy"] == "cache"
    assert headers(Vendor.WNS, expires_at_ms=1)["x-wns-cache-policy"] == "no-cache"


def test_apple_wants_a_positive_ttl() -> None:
    """A TTL of 0 is BadTtl at Apple."""
    assert headers(Vendor.APPLE, expires_at_ms=1)["ttl"] == "1"


def test_the_worker_learns_which_message_it_is() -> None:
    """The ids are a member beside the others, also of an empty payload."""
    sent = delivery(message_id='m"1', delivery_id="d-1", campaign_id="spring")
    ids = {"message_id": 'm"1', "delivery_id": "d-1", "campaign_id": "spring"}
    found = with_message(b'{"title":"t"}', sent)
    assert json.loads(found) == {"title": "t", "clarion": ids}
    assert json.loads(with_message(b"{}", sent)) == {"clarion": ids}


def test_the_ids_never_make_a_payload_too_large() -> None:
    """What fits without them is sent without them; content that names them itself wins."""
    full = msgspec.json.encode({"body": "x" * (MAX_PLAINTEXT_BYTES - 20)})
    assert len(full) <= MAX_PLAINTEXT_BYTES
    assert with_message(full, delivery()) == full
    own = b'{"clarion":{"message_id":"mine"}}'
    assert with_message(own, delivery()) == own
