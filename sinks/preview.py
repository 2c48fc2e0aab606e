"""What a sink would send for a delivery, made by the sinks' own builders; nothing is sent."""

from typing import Any, NamedTuple

import msgspec

from schemas.pipeline import Answer, Content, Delivery, Platform
from sinks.apns_payload import Unsendable, build_payload, own_headers, shared_headers
from sinks.fcm_message import FcmMessages
from sinks.sizes import size_of
from sinks.webpush_payload import WebPushPayloads, headers_for
from sinks.webpush_status import Vendor


class Preview(NamedTuple):
    """A request. headers: but the authorization; none of FCM's tell anything. payload: the JSON.

    size_bytes, limit_bytes: as the platform counts, 0 when it is not sendable for another reason.
    problem: why the sink would not send it, "" when it would.
    """

    headers: dict[str, str]
    payload: Any
    size_bytes: int
    limit_bytes: int
    problem: str


def preview(delivery: Delivery, *, topic: str, now_ms: int) -> Preview:
    """Build the request. topic: the app's, of APNs."""
    content = msgspec.msgpack.decode(delivery.content, type=Content)
    size = size_of(delivery.platform, content) or (0, 0)
    headers, body, problem = _OF[delivery.platform](delivery, topic, now_ms)
    return Preview(headers, msgspec.json.decode(body) if body else None, *size, problem)


_Built = tuple[dict[str, str], bytes, str]


def _apns(delivery: Delivery, topic: str, _now_ms: int) -> _Built:
    built = build_payload(delivery.content)
    if isinstance(built, Unsendable):
        return {}, b"", f"{built.reason}: {built.detail}"
    headers = shared_headers(built, topic=topic, priority=delivery.priority)
    return headers | own_headers(delivery), built.body, ""


def _fcm(delivery: Delivery, _topic: str, now_ms: int) -> _Built:
    built = FcmMessages().build(delivery, now_ms=now_ms)
    if isinstance(built, Answer):
        return {}, b"", f"{built.reason}: {built.provider_reason}"
    return {}, built, ""


def _webpush(delivery: Delivery, _topic: str, now_ms: int) -> _Built:
    built = WebPushPayloads().build(delivery.content)
    if isinstance(built, Answer):
        return {}, b"", f"{built.reason}: {built.provider_reason}"
    headers = headers_for(
        delivery, urgency=built.urgency, vendor=Vendor.RFC8030, now_ms=now_ms
    )  # fmt: skip
    return headers, built.plaintext, ""


_OF = {Platform.APNS: _apns, Platform.FCM: _fcm, Platform.WEBPUSH: _webpush}
