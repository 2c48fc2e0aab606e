"""Builds FCM HTTP v1 requests: all but the token and the times is built once per content.

Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import secrets
from typing import Any, Final

import msgspec

from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Content, Delivery, Priority
from sinks.fcm_errors import MAX_TEXT
from sinks.fcm_limits import MAX_PAYLOAD_BYTES, MAX_TTL_S, check_limits, size_of, too_large
from sinks.fcm_schema import FieldError, check_message

MAX_CACHED: Final = 512
MAX_CACHED_CONTENT_BYTES: Final = 16_384

_TARGETS = ("token", "topic", "condition", "fid", "name")
_Key = tuple[bytes, Priority, str, bool]


class FcmMessages:
    """Builds request bodies and remembers the last MAX_CACHED contents.

    validate_only: ask FCM to check each message and deliver none.
    """

    def __init__(self, *, validate_only: bool = False, max_cached: int = MAX_CACHED) -> None:
        self._validate_only = validate_only
        self._max_cached = max_cached
        self._templates: dict[_Key, bytes | Answer] = {}
        # Stand-ins for what differs per delivery; random, so no content can hold one by design.
        mark = secrets.token_hex(16)
        self._token = f"{mark}-token"
        self._ttl = f"{mark}-ttl"
        self._expiration = f"{mark}-expiration"

    def build(self, delivery: Delivery, *, now_ms: int) -> bytes | Answer:
        """Give the request body as JSON, or REJECTED with the field that is wrong.

        The ttl is rounded down and never negative: 0 lets FCM deliver now or never.
        """
        expires = delivery.expires_at_ms
        key = (delivery.content, delivery.priority, delivery.collapse_key, expires > 0)
        template = self._templates.get(key)
        if template is None:
            template = self._remember(key)
        if isinstance(template, Answer):
            return template
        values = {b"token": msgspec.json.encode(delivery.token)}
        if expires:
            ttl_s = min(max((expires - now_ms) // 1000, 0), MAX_TTL_S)
            values[b"ttl"] = b"%d" % ttl_s
            values[b"expiration"] = b"%d" % (expires // 1000)
        return template % values

    def _remember(self, key: _Key) -> bytes | Answer:
        template = self._compile(key)
        if len(key[0]) <= MAX_CACHED_CONTENT_BYTES:
            if len(self._templates) >= self._max_cached:
                del self._templates[next(iter(self._templates))]
            self._templates[key] = template
        return template

    def _compile(self, key: _Key) -> bytes | Answer:
        """Give the body as a %-template for bytes, or the rejection."""
        content_bytes, priority, collapse_key, expires = key
        try:
            content = msgspec.msgpack.decode(content_bytes, type=Content)
            message = self._message(content, priority, collapse_key, expires=expires)
            body = self._encode(message)
        except FieldError as error:
            return _rejected(Reason.BAD_REQUEST, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
            # Not a Content, nested without end, or a value that JSON does not have.
            return _rejected(Reason.BAD_REQUEST, f"content: {error}")
        problem = too_large(message) if len(body) > MAX_PAYLOAD_BYTES else ""
        return _rejected(Reason.PAYLOAD_TOO_LARGE, problem) if problem else body

    def size_of(self, content: Content) -> tuple[int, int] | None:
        """Give the bytes that FCM's limit is about and the limit; None for what is unsendable."""
        try:
            message = self._message(content, Priority.NORMAL, "", expires=False)
        except FieldError:
            return None
        return size_of(message)[0], MAX_PAYLOAD_BYTES

    def _message(
        self, content: Content, priority: Priority, collapse_key: str, *, expires: bool
    ) -> dict[str, Any]:
        """Give the message with stand-ins for what differs. Raises FieldError."""
        override = check_message(_override_of(content))
        _refuse_target(override)
        uses_v2 = override.get("androidV2") is not None
        defaults = self._defaults(content, priority, collapse_key, v2=uses_v2, expires=expires)
        message = merge(defaults, override)
        check_limits(message, planned_ttl=f"{self._ttl}s")
        return message

    def _encode(self, message: dict[str, Any]) -> bytes:
        """Give the request as a %-template."""
        request: dict[str, Any] = {"message": message}
        if self._validate_only:
            request["validateOnly"] = True
        return (
            msgspec.json.encode(request)
            .replace(b"%", b"%%")
            .replace(b'"%b"' % self._token.encode(), b"%(token)b")
            .replace(self._ttl.encode(), b"%(ttl)b")
            .replace(self._expiration.encode(), b"%(expiration)b")
        )

    def _defaults(
        self, content: Content, priority: Priority, collapse_key: str, *, v2: bool, expires: bool
    ) -> dict[str, Any]:
        """Give the message that the content and the delivery ask for, without overrides."""
        message: dict[str, Any] = {"token": self._token}
        shown = {"title": content.title, "body": content.body, "image": content.image}
        shown = {name: text for name, text in shown.items() if text}
        if shown:
            message["notification"] = shown
        data = dict(content.data)
        webpush: dict[str, Any] = {}
        if content.url:
            # An Android click opens an activity, not a URL: the app reads it from data.
            data.setdefault("url", content.url)
            if content.url.startswith("https://"):  # WebpushFcmOptions.link requires HTTPS
                webpush["fcmOptions"] = {"link": content.url}
        if data:
            message["data"] = data
        # android and androidV2 exclude each other, and only the first has a priority.
        android = {} if v2 else {"priority": android_priority(priority, shown=bool(shown))}
        if collapse_key:
            android["collapseKey"] = collapse_key
        if expires:
            # A registration token may be an Android, Apple or web app: each has its own field.
            android["ttl"] = f"{self._ttl}s"
            message["apns"] = {"headers": {"apns-expiration": self._expiration}}
            webpush["headers"] = {"TTL": self._ttl}
        message["androidV2" if v2 else "android"] = android
        if webpush:
            message["webpush"] = webpush
        return message


def android_priority(priority: Priority, *, shown: bool) -> str:
    """HIGH wakes a dozing device at once; NORMAL waits for it to wake.

    Google recommends HIGH for what the user sees and should see promptly, and turns an app's
    HIGH into NORMAL when its messages show nothing. So bulk is NORMAL, and so is a silent message
    unless its sender called it urgent.
    Source: https://firebase.google.com/docs/cloud-messaging/android/message-priority
    """
    if priority in (Priority.CRITICAL, Priority.HIGH):
        return "HIGH"
    return "HIGH" if priority is Priority.NORMAL and shown else "NORMAL"


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one object over another: objects merge, other values replace, None removes."""
    merged = dict(base)
    for name, value in over.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def _override_of(content: Content) -> object:
    """Give the Message fields: bare, or under "message" as in FCM's own requests."""
    override = content.override
    return override["message"] if set(override) == {"message"} else override


def _refuse_target(override: dict[str, Any]) -> None:
    for name in _TARGETS:
        if name in override:
            raise FieldError(f"message.{name}", "the target is the device's token")


def _rejected(reason: Reason, detail: str) -> Answer:
    return Answer(Status.REJECTED, reason, provider_reason=detail[:MAX_TEXT])
