import csv
import json
from pathlib import Path

import pytest

from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer
from sinks.webpush_status import TABLE, Vendor, classify, matches_host, vendor_of

NOW_S = 1_800_000_000.5
NOW_MS = 1_800_000_000_500

SEEN_TEXT = {
    ("fcm-webpush", "403"): (
        "the VAPID credentials in the authorization header do not correspond to the credentials "
        "used to create the subscriptions."
    )
}

REASONS = {
    ("RFC8030", "400"): Reason.BAD_REQUEST,
    ("RFC8292", "401"): Reason.BAD_CREDENTIALS,
    ("RFC8292", "403"): Reason.TOKEN_WRONG_APP,
    ("RFC8030", "404"): Reason.TOKEN_EXPIRED,
    ("mozilla", "400"): Reason.BAD_REQUEST,
    ("mozilla", "401"): Reason.BAD_CREDENTIALS,
    ("mozilla", "404"): Reason.TOKEN_INVALID,
    ("fcm-webpush", "400"): Reason.BAD_CREDENTIALS,
    ("fcm-webpush", "403"): Reason.TOKEN_WRONG_APP,
    ("fcm-webpush", "404"): Reason.TOKEN_INVALID,
    ("apple", "400"): Reason.BAD_REQUEST,
    ("apple", "VapidPkHashMismatch"): Reason.TOKEN_WRONG_APP,
    ("apple", "IdleTimeout"): Reason.PROVIDER_UNAVAILABLE,
    ("apple", "403"): Reason.BAD_CREDENTIALS,
    ("apple", "404"): Reason.TOKEN_INVALID,
    ("apple", "405"): Reason.BAD_REQUEST,
    ("apple", "ExpiredToken"): Reason.TOKEN_EXPIRED,
    ("wns", "400"): Reason.BAD_REQUEST,
    ("wns", "403"): Reason.TOKEN_WRONG_APP,
    ("wns", "404"): Reason.TOKEN_INVALID,
    ("wns", "406"): Reason.THROTTLED,
    ("any", "201"): Reason.ACCEPTED,
    ("any", "202"): Reason.ACCEPTED,
    ("any", "410"): Reason.TOKEN_UNREGISTERED,
    ("any", "413"): Reason.PAYLOAD_TOO_LARGE,
    ("any", "429"): Reason.THROTTLED,
    ("any", "500"): Reason.PROVIDER_UNAVAILABLE,
    ("any", "502"): Reason.PROVIDER_UNAVAILABLE,
    ("any", "503"): Reason.PROVIDER_UNAVAILABLE,
}


def rows() -> list[tuple[str, int, str, str, str]]:
    """Give service, status, one code, retryable and action; a/b/c in the table is three rows."""
    path = Path(__file__).parents[2] / "data" / "webpush_status.csv"
    with path.open(newline="") as file:
        return [
            (row["service"], int(row["status"]), code, row["retryable"], row["subscription_action"])
            for row in csv.DictReader(file)
            for code in (row["code"].split("/") if ":" not in row["code"] else [row["code"]])
        ]


def vendor_named(service: str) -> Vendor:
    return Vendor(service) if service in list(Vendor) else Vendor.RFC8030


def said(service: str, status: int, code: str) -> tuple[dict[str, str], bytes]:
    """Give headers and body as the vendor writes them."""
    if service == "mozilla" and code:
        return {}, json.dumps({"code": status, "errno": int(code), "message": "words"}).encode()
    if service == "apple" and code:
        return {}, json.dumps({"reason": code}).encode()
    if service == "wns":
        name, _, value = code.partition(": ")
        return ({name.lower(): value or "words"} if name else {}), b""
    return {}, SEEN_TEXT.get((service, str(status)), code).encode()


def answer(
    vendor: Vendor, status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    return classify(vendor, status, headers or {}, body, requested_at_s=NOW_S)


@pytest.mark.parametrize(("service", "status", "code", "retryable", "action"), rows())
def test_every_row_of_the_table(
    service: str, status: int, code: str, retryable: str, action: str
) -> None:
    """Each listed answer gets the outcome that its row asks for, and keeps the vendor's words."""
    headers, body = said(service, status, code)
    result = answer(vendor_named(service), status, headers, body)
    expected = next(
        REASONS[key]
        for key in ((service, code), (service, str(status)), ("any", str(status)))
        if key in REASONS
    )
    assert result.reason is expected
    assert result.provider_status == status
    assert (result.status is Status.RETRY) == (retryable == "yes")
    assert (result.status is Status.SENT) == (retryable == "n/a")
    assert (result.token_action is TokenAction.DELETE) == (action == "delete")
    assert result.token_invalid_at_ms == (NOW_MS if action == "delete" else 0)
    if action == "delete":
        assert result.status is Status.FAILED
    if result.reason is Reason.TOKEN_WRONG_APP:
        assert result.token_action is TokenAction.SUSPECT
    if code and code != "X-WNS-Error-Description" and result.status is not Status.SENT:
        assert code.rpartition(": ")[2] in result.provider_reason


def test_every_row_of_the_code_is_in_the_table() -> None:
    """Nothing is classified that the table of facts does not list, but for the gateway's 504."""
    listed = {(vendor_named(service), status) for service, status, *_ in rows()}
    ours = {(vendor, status) for vendor, status, _ in TABLE}
    assert ours - listed <= {(Vendor.RFC8030, 502), (Vendor.RFC8030, 504)}


def test_a_gateway_timeout_is_unknown() -> None:
    """Behind a 504 the message may have been accepted."""
    result = answer(Vendor.FCM, 504)
    assert (result.status, result.reason) == (Status.UNKNOWN, Reason.PROVIDER_TIMEOUT)


@pytest.mark.parametrize(
    ("vendor", "status", "body"),
    [
        (Vendor.MOZILLA, 400, b'{"errno": 199, "message": "words"}'),
        (Vendor.APPLE, 400, b'{"reason": "BadNewReason"}'),
        (Vendor.APPLE, 403, b'{"reason": "BadNewReason"}'),
        (Vendor.RFC8030, 418, b"words"),
        (Vendor.RFC8030, 302, b"words"),
    ],
)
def test_the_unlisted_is_rejected_with_its_text(vendor: Vendor, status: int, body: bytes) -> None:
    """A reason that no table lists never touches the subscription and keeps its words."""
    result = answer(vendor, status, body=body)
    assert (result.status, result.reason) == (Status.REJECTED, Reason.UNLISTED)
    assert result.token_action is TokenAction.KEEP
    assert "words" in result.provider_reason or "BadNewReason" in result.provider_reason


@pytest.mark.parametrize("status", [404, 410, 413, 429, 500, 503])
def test_a_clear_status_needs_no_known_reason(status: int) -> None:
    """Beside a status with one meaning an unknown reason changes nothing."""
    named = answer(Vendor.APPLE, status, body=b'{"reason": "BadNewReason"}')
    assert named.reason is answer(Vendor.APPLE, status).reason is not Reason.UNLISTED


@pytest.mark.parametrize(
    ("vendor", "status", "headers", "body", "wait_s"),
    [
        (Vendor.WNS, 406, {}, b"", 900.0),
        (Vendor.WNS, 429, {}, b"", 900.0),
        (Vendor.WNS, 406, {"retry-after": "60"}, b"", 60.0),
        (Vendor.MOZILLA, 503, {}, b'{"errno": 201}', 120.0),
        (Vendor.MOZILLA, 503, {"retry-after": "0"}, b'{"errno": 201}', 0.0),
        (Vendor.FCM, 429, {}, b"", None),
        (Vendor.FCM, 429, {"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, b"", 29.5),
        (Vendor.FCM, 410, {"retry-after": "5"}, b"", None),
    ],
)
def test_waits(
    vendor: Vendor, status: int, headers: dict[str, str], body: bytes, wait_s: float | None
) -> None:
    """Retry-After wins over the vendor's usual wait, and means something for a retry only."""
    assert answer(vendor, status, headers, body).retry_after_s == wait_s


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_success_is_sent(status: int) -> None:
    """To call an accepted message refused would lose it or send it twice."""
    result = answer(Vendor.RFC8030, status, {"location": "https://push.example/m/1"})
    assert result == Answer(Status.SENT, Reason.ACCEPTED, status, "", "https://push.example/m/1")
    assert answer(Vendor.APPLE, 201, {"apns-id": "42"}).provider_id == "42"


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({}, b'{"errno": 109}', Reason.BAD_CREDENTIALS),
        ({}, b'{"reason": "VapidPkHashMismatch"}', Reason.TOKEN_WRONG_APP),
        ({}, b"UnauthorizedRegistration", Reason.BAD_CREDENTIALS),
        ({"x-wns-error-description": "Ttl"}, b"", Reason.BAD_REQUEST),
    ],
)
def test_an_unknown_host_is_read_by_its_dialect(
    headers: dict[str, str], body: bytes, reason: Reason
) -> None:
    """A self-hosted autopush or a proxy answers in a vendor's words."""
    status = 401 if b"errno" in body else 400
    assert answer(Vendor.RFC8030, status, headers, body).reason is reason


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b'{"errno": "106"}', b'{"reason": 5}', b"\xff\xfe{", b"{" * 500, b"null"]
)
@pytest.mark.parametrize("vendor", list(Vendor))
def test_bodies_of_any_shape_are_survived(vendor: Vendor, body: bytes) -> None:
    """What does not parse is text; the status decides."""
    assert answer(vendor, 410, body=body).reason is Reason.TOKEN_UNREGISTERED


def test_texts_are_cut() -> None:
    """At most 200 characters of what a service says are kept."""
    assert len(answer(Vendor.RFC8030, 400, body="ä".encode() * 5000).provider_reason) == 200


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("updates.push.services.mozilla.com", Vendor.MOZILLA),
        ("fcm.googleapis.com", Vendor.FCM),
        ("web.push.apple.com", Vendor.APPLE),
        ("wns2-par02p.notify.windows.com", Vendor.WNS),
        ("push.example.com", Vendor.RFC8030),
        ("fcm.googleapis.com.example.com", Vendor.RFC8030),
        ("evilpush.apple.com", Vendor.RFC8030),
    ],
)
def test_the_vendor_is_told_by_the_host(host: str, vendor: Vendor) -> None:
    """Suffixes match whole labels only."""
    assert vendor_of(host) is vendor


def test_host_patterns() -> None:
    """A pattern is a name, or a suffix after "*."."""
    assert matches_host("a.b.example", "*.b.example")
    assert not matches_host("b.example", "*.b.example")
    assert matches_host("b.example", "b.example")
    assert not matches_host("a.b.example", "b.example")
