"""FCM's answers as FCM words them, and the scenarios that lead to them.

Source: https://firebase.google.com/docs/cloud-messaging/error-codes
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from sandbox.http_server import Action, Response

JSON_TYPE: Final = "application/json; charset=UTF-8"
HTML_TYPE: Final = "text/html; charset=UTF-8"
FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
QUOTA_FAILURE: Final = "type.googleapis.com/google.rpc.QuotaFailure"

_GRPC_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
SLOW_S: Final = 0.5


def answer(body: Mapping[str, Any], status: int = 200, **headers: str) -> Response:
    """Give a JSON response. headers: with underscores for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    encoded = json.dumps(body, indent=2).encode()
    return Response(status, {"content-type": JSON_TYPE, **named}, encoded)


def error(
    status: int, message: str, details: list[dict[str, Any]] | None = None, **headers: str
) -> Response:
    """Give a google.rpc.Status response."""
    body: dict[str, Any] = {"code": status, "message": message, "status": _GRPC_STATUS[status]}
    if details:
        body["details"] = details
    return answer({"error": body}, status, **headers)


def fcm_error(status: int, code: str, message: str, **headers: str) -> Response:
    """Give an error with FCM's own code in its details."""
    return error(status, message, [{"@type": FCM_ERROR, "errorCode": code}], **headers)


def field_violation(field: str, description: str) -> Response:
    """Give the 400 for a field that is wrong."""
    violation = {"field": field, "description": description}
    return error(400, description, [{"@type": BAD_REQUEST, "fieldViolations": [violation]}])


def unauthenticated(reason: str) -> Response:
    """Give the 401 for a missing, expired or unknown access token."""
    return error(
        401,
        "Request had invalid authentication credentials. "
        "Expected OAuth 2 access token, login cookie or other valid authentication credential.",
        [{"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com"}],
        www_authenticate='Bearer realm="https://accounts.google.com/", error="invalid_token"',
    )


def html(status: int, title: str) -> Response:
    """Give what Google's front end says when no API was reached."""
    page = f"<!DOCTYPE html><html lang=en><title>Error {status} ({title})!!1</title><p>{title}"
    return Response(status, {"content-type": HTML_TYPE}, page.encode())


_QUOTA_MESSAGE = "Quota exceeded for quota metric 'Send requests'."
_QUOTA_DETAILS: list[dict[str, Any]] = [
    {"@type": FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"},
    {
        "@type": QUOTA_FAILURE,
        "violations": [{"subject": "project:sandbox", "description": "Send requests per minute"}],
    },
]
BAD_TOKEN: Final = fcm_error(
    400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token"
)
TOO_BIG: Final = fcm_error(400, "INVALID_ARGUMENT", "Android message is too big")

SCENARIOS: Final[dict[str, Response]] = {
    "UNREGISTERED": fcm_error(404, "UNREGISTERED", "Requested entity was not found."),
    "INVALID_TOKEN": BAD_TOKEN,
    "INVALID_TOKEN_FIELD": field_violation("message.token", "Invalid registration token"),
    "INVALID_FIELD": field_violation(
        "message.data[0].value", "Invalid value at 'message.data[0].value' (TYPE_STRING), 12"
    ),
    "INVALID_ARGUMENT": fcm_error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "TOO_BIG": TOO_BIG,
    "THIRD_PARTY_AUTH_ERROR": fcm_error(
        401, "THIRD_PARTY_AUTH_ERROR", "Auth error from APNS or Web Push Service"
    ),
    "APNS_AUTH_ERROR": fcm_error(401, "APNS_AUTH_ERROR", "Auth error from APNS"),
    "UNAUTHENTICATED": unauthenticated("ACCESS_TOKEN_EXPIRED"),
    "SENDER_ID_MISMATCH": fcm_error(403, "SENDER_ID_MISMATCH", "SenderId mismatch"),
    "PERMISSION_DENIED": error(403, "The caller does not have permission"),
    "NOT_FOUND": error(404, "Requested entity was not found."),
    "QUOTA_EXCEEDED": error(429, _QUOTA_MESSAGE, _QUOTA_DETAILS),
    "QUOTA_EXCEEDED_RETRY_AFTER": error(429, _QUOTA_MESSAGE, _QUOTA_DETAILS, retry_after="7"),
    "INTERNAL": fcm_error(500, "INTERNAL", "Internal error encountered."),
    "UNAVAILABLE": fcm_error(503, "UNAVAILABLE", "The service is currently unavailable."),
    "UNAVAILABLE_RETRY_AFTER": fcm_error(
        503, "UNAVAILABLE", "The service is currently unavailable.", retry_after="3"
    ),
    "BAD_GATEWAY": html(502, "Server Error"),
    "DEADLINE_EXCEEDED": error(504, "Deadline exceeded."),
    "UNSPECIFIED_ERROR": fcm_error(503, "UNSPECIFIED_ERROR", "Unknown error."),
    "UNLISTED": fcm_error(409, "SOMETHING_NEW", "A code that no table lists."),
    "RESET": Response(action=Action.RESET),
    "CLOSE": Response(action=Action.CLOSE),
    "HANG": Response(action=Action.HANG),
}
"""What a token made by scenario_token() answers. Four more accept: LIVE; SLOW, after SLOW_S;
GOAWAY, with a graceful GOAWAY behind it; UNAVAILABLE_ONCE, after one 503."""

ACCEPTING: Final = frozenset({"LIVE", "SLOW", "GOAWAY", "UNAVAILABLE_ONCE"})
