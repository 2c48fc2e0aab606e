"""What push services' answers mean: one table for all vendors, read by their own codes first.

Sources:
https://www.rfc-editor.org/rfc/rfc8030 (statuses), https://www.rfc-editor.org/rfc/rfc8292#section-4.2,
https://mozilla-services.github.io/autopush-rs/errors.html (errno),
https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers
(reasons), https://learn.microsoft.com/windows/apps/design/shell/tiles-and-notifications/push-request-response-headers
(WNS headers). FCM documents no codes for Web Push; its rows are texts seen in answers.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from schemas.outcomes import Reason, Status, TokenAction
from schemas.packed import UNREADABLE
from schemas.pipeline import Answer
from sinks.retry_after import parse_retry_after

MAX_TEXT: Final = 200
"""Characters of the service's own text that an Answer keeps."""

WNS_THROTTLED_WAIT_S: Final = 900.0
MOZILLA_UNAVAILABLE_WAIT_S: Final = 120.0


class Vendor(StrEnum):
    """Whose push service it is; RFC8030 stands for any other."""

    MOZILLA = "mozilla"
    FCM = "fcm-webpush"
    APPLE = "apple"
    WNS = "wns"
    RFC8030 = "RFC8030"


VENDOR_HOSTS: Final[dict[str, Vendor]] = {
    "*.push.services.mozilla.com": Vendor.MOZILLA,
    "fcm.googleapis.com": Vendor.FCM,
    "*.push.apple.com": Vendor.APPLE,
    "*.notify.windows.com": Vendor.WNS,
}
"""The endpoints that browsers hand out, by host."""


class Meaning(NamedTuple):
    """One row. wait_s: before the next attempt when no Retry-After came."""

    status: Status
    reason: Reason
    token_action: TokenAction = TokenAction.KEEP
    wait_s: float | None = None


_SENT = Meaning(Status.SENT, Reason.ACCEPTED)
_FIX_REQUEST = Meaning(Status.REJECTED, Reason.BAD_REQUEST)
_FIX_CREDENTIALS = Meaning(Status.REJECTED, Reason.BAD_CREDENTIALS)
_TOO_LARGE = Meaning(Status.REJECTED, Reason.PAYLOAD_TOO_LARGE)
_SLOW_DOWN = Meaning(Status.RETRY, Reason.THROTTLED)
_COME_BACK = Meaning(Status.RETRY, Reason.PROVIDER_UNAVAILABLE)
_GONE = Meaning(Status.FAILED, Reason.TOKEN_UNREGISTERED, TokenAction.DELETE)
_EXPIRED = Meaning(Status.FAILED, Reason.TOKEN_EXPIRED, TokenAction.DELETE)
_NO_SUCH = Meaning(Status.FAILED, Reason.TOKEN_INVALID, TokenAction.DELETE)
# Suspect, not dead: when every subscription says so, our VAPID key changed, not they.
_OTHER_KEY = Meaning(Status.FAILED, Reason.TOKEN_WRONG_APP, TokenAction.SUSPECT)
_WNS_SLOW_DOWN = _SLOW_DOWN._replace(wait_s=WNS_THROTTLED_WAIT_S)
_MOZILLA_COME_BACK = _COME_BACK._replace(wait_s=MOZILLA_UNAVAILABLE_WAIT_S)
_UNLISTED = Meaning(Status.REJECTED, Reason.UNLISTED)

FCM_OTHER_KEY: Final = "do not correspond to the credentials used to create the subscriptions"

TABLE: Final[dict[tuple[Vendor, int, str], Meaning]] = {
    (Vendor.RFC8030, 201, ""): _SENT,
    (Vendor.RFC8030, 202, ""): _SENT,  # asynchronous, with a receipt
    (Vendor.RFC8030, 400, ""): _FIX_REQUEST,
    (Vendor.RFC8030, 401, ""): _FIX_CREDENTIALS,
    (Vendor.RFC8030, 403, ""): _OTHER_KEY,
    (Vendor.RFC8030, 404, ""): _EXPIRED,
    (Vendor.RFC8030, 410, ""): _GONE,
    (Vendor.RFC8030, 413, ""): _TOO_LARGE,
    (Vendor.RFC8030, 429, ""): _SLOW_DOWN,
    (Vendor.RFC8030, 500, ""): _COME_BACK,
    (Vendor.RFC8030, 502, ""): _COME_BACK,
    (Vendor.RFC8030, 503, ""): _COME_BACK,
    # A gateway gave up waiting: the message may have been accepted behind it.
    (Vendor.RFC8030, 504, ""): Meaning(Status.UNKNOWN, Reason.PROVIDER_TIMEOUT),
    # Mozilla (autopush): errno in a JSON body.
    (Vendor.MOZILLA, 400, "110"): _FIX_REQUEST,
    (Vendor.MOZILLA, 400, "111"): _FIX_REQUEST,
    (Vendor.MOZILLA, 400, "113"): _FIX_REQUEST,
    (Vendor.MOZILLA, 400, "114"): _FIX_REQUEST,
    (Vendor.MOZILLA, 401, "109"): _FIX_CREDENTIALS,  # any VAPID fault: never the subscription
    (Vendor.MOZILLA, 404, "102"): _NO_SUCH,
    (Vendor.MOZILLA, 410, "103"): _GONE,
    (Vendor.MOZILLA, 410, "105"): _GONE,
    (Vendor.MOZILLA, 410, "106"): _GONE,
    (Vendor.MOZILLA, 413, "104"): _TOO_LARGE,
    (Vendor.MOZILLA, 502, "901"): _COME_BACK,  # its bridge to another push service
    (Vendor.MOZILLA, 502, "902"): _COME_BACK,
    (Vendor.MOZILLA, 502, "903"): _COME_BACK,
    (Vendor.MOZILLA, 503, "201"): _MOZILLA_COME_BACK,
    (Vendor.MOZILLA, 503, "202"): _MOZILLA_COME_BACK,
    # FCM: plain text.
    (Vendor.FCM, 400, "UnauthorizedRegistration"): _FIX_CREDENTIALS,
    (Vendor.FCM, 403, FCM_OTHER_KEY): _OTHER_KEY,
    (Vendor.FCM, 404, ""): _NO_SUCH,
    (Vendor.FCM, 410, "NotRegistered"): _GONE,
    # Apple: reason in a JSON body.
    (Vendor.APPLE, 400, "BadTtl"): _FIX_REQUEST,
    (Vendor.APPLE, 400, "BadUrgency"): _FIX_REQUEST,
    (Vendor.APPLE, 400, "BadWebPushRequest"): _FIX_REQUEST,
    (Vendor.APPLE, 400, "BadWebPushTopic"): _FIX_REQUEST,
    (Vendor.APPLE, 400, "VapidPkHashMismatch"): _OTHER_KEY,
    (Vendor.APPLE, 400, "IdleTimeout"): _COME_BACK,
    (Vendor.APPLE, 403, "BadAuthorizationHeader"): _FIX_CREDENTIALS,
    (Vendor.APPLE, 403, "BadJwtToken"): _FIX_CREDENTIALS,
    (Vendor.APPLE, 403, "BadVapidPublicKey"): _FIX_CREDENTIALS,
    (Vendor.APPLE, 404, "BadPath"): _NO_SUCH,
    (Vendor.APPLE, 405, "MethodNotAllowed"): _FIX_REQUEST,
    (Vendor.APPLE, 410, "Unregistered"): _GONE,
    (Vendor.APPLE, 410, "ExpiredToken"): _EXPIRED,
    (Vendor.APPLE, 413, "PayloadTooLarge"): _TOO_LARGE,
    (Vendor.APPLE, 429, "TooManyRequests"): _SLOW_DOWN,
    (Vendor.APPLE, 500, "InternalServerError"): _COME_BACK,
    (Vendor.APPLE, 503, "ServiceUnavailable"): _COME_BACK,
    (Vendor.APPLE, 503, "Shutdown"): _COME_BACK,
    # WNS: empty bodies, everything is in X-WNS-* headers, and the status decides.
    (Vendor.WNS, 400, ""): _FIX_REQUEST,
    (Vendor.WNS, 403, ""): _OTHER_KEY,
    (Vendor.WNS, 404, ""): _NO_SUCH,
    (Vendor.WNS, 406, ""): _WNS_SLOW_DOWN,  # appthrottled
    (Vendor.WNS, 429, ""): _WNS_SLOW_DOWN,
}
"""By vendor, HTTP status and the vendor's code; no code means whatever it says."""

_SPEAKS_FOR_ITSELF: Final = frozenset({404, 410, 413, 429, 500, 502, 503, 504})
"""Statuses that mean one thing whatever new code stands beside them."""


class Said(NamedTuple):
    """What a service said. code: its own, as the table spells it, "" when it gave none."""

    vendor: Vendor
    code: str = ""
    text: str = ""


def vendor_of(host: str) -> Vendor:
    """Tell the vendor by the endpoint's host (lower case, without port)."""
    for pattern, vendor in VENDOR_HOSTS.items():
        if matches_host(host, pattern):
            return vendor
    return Vendor.RFC8030


def matches_host(host: str, pattern: str) -> bool:
    """Say whether the host is the pattern, or ends in it when it starts with "*."."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def classify(
    vendor: Vendor,
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    requested_at_s: float,
) -> Answer:
    """Say what a push service's response means.

    headers: lower-case names. requested_at_s: seconds since the epoch; becomes the time of death
    of an ended subscription, as no service gives one. Never raises, whatever the body holds.
    """
    if 200 <= http_status < 300:
        # Any 2xx: to call an accepted message refused would lose it or send it twice.
        return Answer(
            Status.SENT,
            Reason.ACCEPTED,
            provider_status=http_status,
            provider_id=headers.get("location") or headers.get("apns-id") or "",
        )
    said = read(vendor, headers, body)
    meaning = _look_up(http_status, said)
    wait_s = parse_retry_after(headers.get("retry-after"), requested_at_s)
    dead = meaning.token_action is TokenAction.DELETE
    return Answer(
        status=meaning.status,
        reason=meaning.reason,
        provider_status=http_status,
        provider_reason=said.text[:MAX_TEXT],
        retry_after_s=(meaning.wait_s if wait_s is None else wait_s)
        if meaning.status is Status.RETRY
        else None,
        token_action=meaning.token_action,
        token_invalid_at_ms=int(requested_at_s * 1000) if dead else 0,
    )


def _look_up(http_status: int, said: Said) -> Meaning:
    found = TABLE.get((said.vendor, http_status, said.code))
    if found is not None:
        return found
    if said.code and http_status not in _SPEAKS_FOR_ITSELF:
        return _UNLISTED
    found = TABLE.get((said.vendor, http_status, "")) or TABLE.get(
        (Vendor.RFC8030, http_status, "")
    )
    if found is None:
        return _COME_BACK if http_status >= 500 else _UNLISTED
    return found


def read(vendor: Vendor, headers: Mapping[str, str], body: bytes) -> Said:
    """Find the code and the text of an answer.

    A service at an unknown host that speaks a vendor's dialect is read as that vendor's:
    self-hosted autopush, proxies, the sandbox.
    """
    wns_text = " ".join(
        headers[name]
        for name in ("x-wns-status", "x-wns-notificationstatus", "x-wns-error-description")
        if name in headers
    )
    if vendor is Vendor.WNS or (vendor is Vendor.RFC8030 and wns_text):
        return Said(Vendor.WNS, "", wns_text or _text(body))
    if vendor in {Vendor.MOZILLA, Vendor.RFC8030} and (error := _json(body)):
        errno = error.get("errno")
        if isinstance(errno, int):
            return Said(Vendor.MOZILLA, str(errno), f"{errno} {error.get('message', '')}".strip())
    if vendor in {Vendor.APPLE, Vendor.RFC8030} and (error := _json(body)):
        reason = error.get("reason")
        if isinstance(reason, str):
            return Said(Vendor.APPLE, reason, reason)
    text = _text(body)
    if vendor in {Vendor.FCM, Vendor.RFC8030}:
        for code in ("UnauthorizedRegistration", "NotRegistered", FCM_OTHER_KEY):
            if code in text:
                return Said(Vendor.FCM, code, text)
    return Said(vendor, "", text)


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = msgspec.json.decode(body)
    except UNREADABLE:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _text(body: bytes) -> str:
    return " ".join(body[: 4 * MAX_TEXT].decode("utf-8", "replace").split())[:MAX_TEXT]
