"""What the sandbox push service answers on command, in each vendor's own words."""

import json
from typing import Final, NamedTuple

from sandbox.http_server import Action, Response

FCM_OTHER_VAPID_KEY: Final = (
    "the VAPID credentials in the authorization header do not correspond to the credentials used "
    "to create the subscriptions."
)


class Row(NamedTuple):
    """One answer. code: the vendor's, "" when the status says it all."""

    service: str
    status: int
    code: str
    response: Response

    @property
    def name(self) -> str:
        """The scenario's name: service-status[-code]."""
        return f"{self.service}-{self.status}" + (f"-{self.code}" if self.code else "")


def _plain(service: str, status: int, text: str = "", code: str = "", **headers: str) -> Row:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Row(service, status, code, Response(status, named, text.encode()))


def _mozilla(status: int, errno: int, message: str, **headers: str) -> Row:
    body = {"code": status, "errno": errno, "error": "Error", "message": message}
    return _plain(
        "mozilla",
        status,
        json.dumps(body),
        str(errno),
        content_type="application/json",
        **headers,
    )


def _apple(status: int, reason: str) -> Row:
    body = json.dumps({"reason": reason})
    return _plain("apple", status, body, reason, content_type="application/json")


def _wns(status: int, state: str, *, code: str = "", **headers: str) -> Row:
    return _plain("wns", status, "", code, x_wns_status=state, **headers)


ROWS: Final = (
    _plain("RFC8030", 202),
    _plain("RFC8030", 400, "bad request"),
    _plain("RFC8030", 401, "vapid authentication required"),
    _plain("RFC8030", 403, "other vapid key than at subscribe"),
    _plain("RFC8030", 404, "subscription expired"),
    _plain("RFC8030", 410, "subscription removed"),
    _plain("RFC8030", 413, "too large"),
    _plain("RFC8030", 429, "slow down", retry_after="30"),
    _plain("any", 500, "server error"),
    _plain("any", 503, "unavailable", retry_after="5"),
    _mozilla(400, 110, "Invalid encryption headers"),
    _mozilla(400, 111, "Missing TTL value"),
    _mozilla(400, 113, "Invalid topic"),
    _mozilla(400, 114, "Invalid TTL value"),
    _mozilla(401, 109, "Invalid VAPID authorization"),
    _mozilla(404, 102, "Invalid token"),
    _mozilla(410, 103, "No such user", cache_control="max-age=86400"),
    _mozilla(410, 105, "User deleted during request", cache_control="max-age=86400"),
    _mozilla(410, 106, "No such subscription", cache_control="max-age=86400"),
    _mozilla(413, 104, "Data payload too large"),
    _mozilla(502, 901, "Bridge authentication failed"),
    _mozilla(502, 902, "Bridge connection failed"),
    _mozilla(502, 903, "Bridge timed out"),
    _mozilla(503, 201, "Try again later", retry_after="120"),
    _mozilla(503, 202, "Try again later"),
    _plain("fcm-webpush", 400, "UnauthorizedRegistration", "UnauthorizedRegistration"),
    _plain("fcm-webpush", 403, FCM_OTHER_VAPID_KEY),
    _plain("fcm-webpush", 404, "A valid push subscription endpoint should be specified"),
    _plain("fcm-webpush", 410, "NotRegistered", "NotRegistered"),
    _plain("fcm-webpush", 413, "Payload too large"),
    _plain("fcm-webpush", 429, "Too many requests", retry_after="10"),
    _apple(400, "BadTtl"),
    _apple(400, "BadUrgency"),
    _apple(400, "BadWebPushRequest"),
    _apple(400, "BadWebPushTopic"),
    _apple(400, "VapidPkHashMismatch"),
    _apple(400, "IdleTimeout"),
    _apple(403, "BadAuthorizationHeader"),
    _apple(403, "BadJwtToken"),
    _apple(403, "BadVapidPublicKey"),
    _apple(404, "BadPath"),
    _apple(405, "MethodNotAllowed"),
    _apple(410, "Unregistered"),
    _apple(410, "ExpiredToken"),
    _apple(413, "PayloadTooLarge"),
    _apple(429, "TooManyRequests"),
    _apple(500, "InternalServerError"),
    _apple(503, "ServiceUnavailable"),
    _apple(503, "Shutdown"),
    _wns(
        400,
        "dropped",
        x_wns_error_description="Ttl value conflicts with X-WNS-Cache-Policy",
    ),
    _wns(403, "dropped"),
    _wns(404, "dropped"),
    _wns(406, "appthrottled", code="appthrottled", retry_after="900"),
    _wns(410, "dropped"),
    _wns(413, "dropped"),
    _wns(429, "appthrottled", retry_after="600"),
    _plain("unlisted", 418, "I have never seen this before"),
)
"""Refusals, and 202. The reasons and codes are those of the table in sinks/webpush_status.py."""

MISBEHAVIOURS: Final = {
    "hang": Response(action=Action.HANG),
    "reset": Response(action=Action.RESET),
    "close": Response(action=Action.CLOSE),
}

GOAWAY: Final = "goaway"
"""Accepts, then announces the end of the connection."""

RETRY_ONCE: Final = "retry-once"
"""The first request gets 503 with Retry-After: 1, the next is accepted."""

SCENARIOS: Final = {row.name: row.response for row in ROWS} | MISBEHAVIOURS
"""By name, those that need no memory; goaway and retry-once come on top."""

NAMES: Final = frozenset({*SCENARIOS, GOAWAY, RETRY_ONCE})
