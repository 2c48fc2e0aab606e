"""What FCM's answers mean: the error table of the HTTP v1 API.

Sources:
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode (codes, waits),
https://firebase.google.com/docs/cloud-messaging/error-codes (bodies, BadRequest or FcmError),
https://firebase.google.com/docs/cloud-messaging/scale-fcm (60 s after 429, 10 s after 5xx),
https://cloud.google.com/apis/design/errors (google.rpc.Status; the rows without an FcmError).
"""

from typing import Any, Final, NamedTuple

import msgspec

from schemas.outcomes import Reason, Status, TokenAction
from schemas.packed import UNREADABLE
from schemas.pipeline import Answer

FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
QUOTA_FAILURE: Final = "type.googleapis.com/google.rpc.QuotaFailure"

MAX_TEXT: Final = 200
"""Characters of the provider's own text that an Answer keeps."""

THROTTLED_WAIT_S: Final = 60.0
UNAVAILABLE_WAIT_S: Final = 10.0


class Meaning(NamedTuple):
    """One row. wait_s: before the next attempt when no Retry-After came."""

    status: Status
    reason: Reason
    token_action: TokenAction = TokenAction.KEEP
    wait_s: float | None = None


_FIX_CONFIG = Meaning(Status.REJECTED, Reason.BAD_CONFIG)
_FIX_REQUEST = Meaning(Status.REJECTED, Reason.BAD_REQUEST)
_FIX_CREDENTIALS = Meaning(Status.REJECTED, Reason.BAD_CREDENTIALS)
_SLOW_DOWN = Meaning(Status.RETRY, Reason.THROTTLED, wait_s=THROTTLED_WAIT_S)
_COME_BACK = Meaning(Status.RETRY, Reason.PROVIDER_UNAVAILABLE, wait_s=UNAVAILABLE_WAIT_S)

TOKEN_INVALID: Final = Meaning(Status.FAILED, Reason.TOKEN_INVALID, TokenAction.SUSPECT)
"""INVALID_ARGUMENT about the token. Suspect only: the same code blames payloads too."""
TOO_LARGE: Final = Meaning(Status.REJECTED, Reason.PAYLOAD_TOO_LARGE)
UNLISTED: Final = Meaning(Status.REJECTED, Reason.UNLISTED)
TOKEN_STILL_REFUSED: Final = _FIX_CREDENTIALS
"""401 again with an access token minted because of a 401: the credential itself is refused."""

BY_CODE: Final[dict[str, Meaning]] = {
    "INVALID_ARGUMENT": _FIX_REQUEST,  # unless it is about the token or the size, see _refine
    "THIRD_PARTY_AUTH_ERROR": _FIX_CREDENTIALS,
    "APNS_AUTH_ERROR": _FIX_CREDENTIALS,  # its former name, which the Admin SDKs still map
    # Suspect, not dead: when every token of an app says so, our project is wrong, not they.
    "SENDER_ID_MISMATCH": Meaning(
        Status.FAILED, Reason.TOKEN_WRONG_APP, token_action=TokenAction.SUSPECT
    ),
    "UNREGISTERED": Meaning(
        Status.FAILED, Reason.TOKEN_UNREGISTERED, token_action=TokenAction.DELETE
    ),
    "QUOTA_EXCEEDED": _SLOW_DOWN,
    "INTERNAL": _COME_BACK,
    "UNAVAILABLE": _COME_BACK,
}
"""By FcmError.errorCode. UNSPECIFIED_ERROR says nothing, so the HTTP status decides."""

BY_STATUS: Final[dict[int, Meaning]] = {
    400: _FIX_REQUEST,
    401: Meaning(Status.RETRY, Reason.CREDENTIAL_EXPIRED),  # OAuth: mint a new access token
    403: _FIX_CONFIG,  # IAM permission missing or API not enabled
    404: _FIX_CONFIG,  # no FcmError: the project or path is wrong, never the token
    429: _SLOW_DOWN,
    500: _COME_BACK,
    502: _COME_BACK,  # Google's front end, usually an HTML body
    503: _COME_BACK,
    504: Meaning(Status.UNKNOWN, Reason.PROVIDER_TIMEOUT),  # it may have been delivered
}
"""By HTTP status, when the body has no FcmError that says something."""

_SPEAKS_FOR_ITSELF = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses that mean "not now" whatever new code stands in the body."""


class _Error(msgspec.Struct):
    """error of google.rpc.Status as JSON, as much as could be read of it."""

    message: str = ""
    status: str = ""
    code: str = ""
    fields: tuple[str, ...] = ()
    quota: str = ""


def classify(
    http_status: int,
    body: bytes,
    retry_after_s: float | None = None,
    *,
    requested_at_ms: int = 0,
) -> Answer:
    """Say what FCM's response means.

    retry_after_s: from the Retry-After header. requested_at_ms: becomes the time of death of an
    unregistered token, as FCM gives none. Never raises, whatever the body holds.
    """
    if http_status == 200:
        return _accepted(body)
    error = _parse(body)
    meaning = _look_up(http_status, error)
    wait_s = retry_after_s if retry_after_s is not None else meaning.wait_s
    dead = meaning.token_action is TokenAction.DELETE
    return Answer(
        status=meaning.status,
        reason=meaning.reason,
        provider_status=http_status,
        provider_reason=_describe(error, body),
        retry_after_s=wait_s if meaning.status is Status.RETRY else None,
        token_action=meaning.token_action,
        token_invalid_at_ms=requested_at_ms if dead else 0,
    )


def _accepted(body: bytes) -> Answer:
    """200 is SENT, with no name when the body was lost on the way, unless it is not FCM's."""
    try:
        name = msgspec.json.decode(body)["name"] if body else ""
    except (*UNREADABLE, LookupError, TypeError):
        name = None
    if isinstance(name, str):
        return Answer(Status.SENT, Reason.ACCEPTED, provider_status=200, provider_id=name)
    # Some proxy's page: nobody can tell whether it was sent.
    return Answer(Status.UNKNOWN, Reason.UNLISTED, provider_status=200, provider_reason=_text(body))


def _look_up(http_status: int, error: _Error) -> Meaning:
    if error.code and error.code != "UNSPECIFIED_ERROR":
        meaning = BY_CODE.get(error.code)
        if meaning is None and http_status not in _SPEAKS_FOR_ITSELF:
            return UNLISTED
    else:
        meaning = None
    meaning = meaning or BY_STATUS.get(http_status, UNLISTED)
    return _refine(error) if meaning is _FIX_REQUEST else meaning


def _refine(error: _Error) -> Meaning:
    """Tell what INVALID_ARGUMENT is about: field violations first, then the message."""
    if error.fields:
        return TOKEN_INVALID if set(error.fields) <= _TOKEN_FIELDS else _FIX_REQUEST
    message = error.message.lower()
    if error.code == "INVALID_ARGUMENT" and "registration token" in message:
        return TOKEN_INVALID
    return TOO_LARGE if "too big" in message else _FIX_REQUEST


_TOKEN_FIELDS = frozenset({"message.token", "message.fid"})


def _parse(body: bytes) -> _Error:
    """Read the error defensively: a front end may send HTML, an array or half of a body."""
    try:
        parsed = msgspec.json.decode(body)
    except UNREADABLE:
        return _Error()
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict):
        return _Error()
    details = [d for d in _list(error.get("details")) if isinstance(d, dict)]
    return _Error(
        message=_str(error.get("message")),
        status=_str(error.get("status")),
        code=next((_str(d.get("errorCode")) for d in details if d.get("@type") == FCM_ERROR), ""),
        fields=tuple(_violations(details, BAD_REQUEST, "fieldViolations", "field")),
        quota="; ".join(_violations(details, QUOTA_FAILURE, "violations", "description")),
    )


def _violations(details: list[dict[str, Any]], kind: str, key: str, name: str) -> list[str]:
    lists = [_list(d.get(key)) for d in details if d.get("@type") == kind]
    found = [_str(v.get(name)) for violations in lists for v in violations if isinstance(v, dict)]
    return [text for text in found if text]


def _describe(error: _Error, body: bytes) -> str:
    """One line for the outcome: the code, the field, the message; else the raw body."""
    parts = [error.code or error.status, ",".join(error.fields), error.message, error.quota]
    line = ": ".join(part for part in parts if part)
    return line[:MAX_TEXT] if line else _text(body)


def _text(body: bytes) -> str:
    return " ".join(body[: 4 * MAX_TEXT].decode("utf-8", "replace").split())[:MAX_TEXT]


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
