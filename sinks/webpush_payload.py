"""What a Web Push message says, and the headers that say how to deliver it (RFC 8030 §5)."""

import base64
import hashlib
import re
from typing import Any, Final, NamedTuple

import msgspec

from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Content, Delivery, Priority
from sinks.webpush_status import MAX_TEXT, Vendor

MAX_PLAINTEXT_BYTES: Final = 3993
"""So that the encrypted body is at most 4096 bytes, which every service must take.
Source: RFC 8291 §4."""
DEFAULT_TTL_S: Final = 4 * 7 * 24 * 3600
MAX_TTL_S: Final = 2_592_000
"""30 days; Mozilla stores nothing longer. Source: autopush-rs, MAX_NOTIFICATION_TTL."""

URGENCIES: Final = frozenset({"very-low", "low", "normal", "high"})
URGENCY_OF: Final = {
    Priority.CRITICAL: "high",
    Priority.HIGH: "high",
    Priority.NORMAL: "normal",
    Priority.LOW: "low",
}

MAX_CACHED: Final = 512
MAX_CACHED_CONTENT_BYTES: Final = 16_384

MEMBER: Final = "clarion"
"""Of the payload: what Clarion's service worker reads."""
_MEMBER_BYTES: Final = b'"clarion":'

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


class Built(NamedTuple):
    """What all devices of one content share. urgency: "" leaves it to the priority."""

    plaintext: bytes
    urgency: str


class WebPushPayloads:
    """Builds payloads and remembers those of the last max_cached contents."""

    def __init__(self, *, max_cached: int = MAX_CACHED) -> None:
        self._max_cached = max_cached
        self._built: dict[bytes, Built | Answer] = {}

    def build(self, content_bytes: bytes) -> Built | Answer:
        """Give the payload of a packed Content, or REJECTED with what is wrong."""
        built = self._built.get(content_bytes)
        if built is None:
            built = _build(content_bytes)
            if len(content_bytes) <= MAX_CACHED_CONTENT_BYTES:
                if len(self._built) >= self._max_cached:
                    del self._built[next(iter(self._built))]
                self._built[content_bytes] = built
        return built


def _build(content_bytes: bytes) -> Built | Answer:
    """JSON for the service worker: title, body, image, url and data, as far as they are given.

    override.payload: members that replace or join these; a null takes one out.
    override.urgency: one of URGENCIES.
    """
    try:
        content = msgspec.msgpack.decode(content_bytes, type=Content)
        payload = _merge(content)
        urgency = _urgency(content)
        plaintext = msgspec.json.encode(payload)
    except _FieldError as error:
        return _rejected(Reason.BAD_REQUEST, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        # Not a Content, nested without end, or a value that JSON does not have.
        return _rejected(Reason.BAD_REQUEST, f"content: {error}")
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        return _rejected(
            Reason.PAYLOAD_TOO_LARGE,
            f"the payload is {len(plaintext)} bytes, over {MAX_PLAINTEXT_BYTES}",
        )
    return Built(plaintext, urgency)


def with_message(plaintext: bytes, delivery: Delivery) -> bytes:
    """Add which message it is, so that the service worker can report what became of it.

    Left out where it would not fit, or where the content says it itself.
    """
    ids = {"message_id": delivery.message_id, "delivery_id": delivery.delivery_id}
    if delivery.campaign_id:
        ids["campaign_id"] = delivery.campaign_id
    member = msgspec.json.encode({MEMBER: ids})
    whole = plaintext[:-1] + b"," + member[1:] if len(plaintext) > 2 else member
    if len(whole) > MAX_PLAINTEXT_BYTES or _MEMBER_BYTES in plaintext:
        return plaintext
    return whole


def size_of(content: Content) -> tuple[int, int] | None:
    """Give the plaintext's bytes and how many there may be; None for what is not sendable anyway.

    Raises what JSON encoding does.
    """
    try:
        return len(msgspec.json.encode(_merge(content))), MAX_PLAINTEXT_BYTES
    except _FieldError:
        return None


def headers_for(delivery: Delivery, *, urgency: str, vendor: Vendor, now_ms: int) -> dict[str, str]:
    """Give the delivery's headers, all but Authorization.

    urgency: the content's own wish or "".
    """
    ttl_s = ttl(delivery.expires_at_ms, now_ms)
    if vendor is Vendor.APPLE:
        ttl_s = max(ttl_s, 1)  # Apple's BadTtl: "not a positive number"
    headers = {
        "ttl": str(ttl_s),
        "urgency": urgency or URGENCY_OF[delivery.priority],
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
    }
    if delivery.collapse_key:
        headers["topic"] = topic(delivery.collapse_key)
    if vendor is Vendor.WNS:
        # WNS refuses a TTL that contradicts its own header.
        headers["x-wns-cache-policy"] = "cache" if ttl_s else "no-cache"
    return headers


def ttl(expires_at_ms: int, now_ms: int) -> int:
    """Seconds a push service may keep the message: 0 delivers now or never."""
    if not expires_at_ms:
        return DEFAULT_TTL_S
    return min(max((expires_at_ms - now_ms) // 1000, 0), MAX_TTL_S)


def topic(collapse_key: str) -> str:
    """Fit a collapse key to RFC 8030 §5.4: 32 characters of base64url, hashed when it is not."""
    if _TOPIC.fullmatch(collapse_key):
        return collapse_key
    digest = hashlib.sha256(collapse_key.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode()


class _FieldError(ValueError):
    pass


def _merge(content: Content) -> dict[str, Any]:
    payload: dict[str, Any] = {
        name: value
        for name in ("title", "body", "image", "url", "data")
        if (value := getattr(content, name))
    }
    extra = content.override.get("payload", {})
    if not isinstance(extra, dict):
        raise _FieldError("override.payload: must be an object")
    unknown = content.override.keys() - {"payload", "urgency"}
    if unknown:
        raise _FieldError(f"override.{min(unknown)}: Web Push knows only payload and urgency")
    payload |= extra
    return {name: value for name, value in payload.items() if value is not None}


def _urgency(content: Content) -> str:
    urgency = content.override.get("urgency", "")
    if urgency and urgency not in URGENCIES:
        raise _FieldError(f"override.urgency: must be one of {', '.join(sorted(URGENCIES))}")
    return str(urgency)


def _rejected(reason: Reason, text: str) -> Answer:
    return Answer(Status.REJECTED, reason, provider_reason=text[:MAX_TEXT])
