import csv
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.outcomes import Reason, Status, TokenAction
from sinks.fcm_errors import BAD_REQUEST, BY_CODE, BY_STATUS, FCM_ERROR, classify

TABLE = Path(__file__).parents[2] / "data" / "fcm_errors.csv"
ROWS = list(csv.DictReader(TABLE.read_text().splitlines()))
REQUESTED_AT_MS = 1_769_846_400_000


def error_body(status: str, *details: dict[str, Any], message: str = "Words.") -> bytes:
    error = {"code": 0, "message": message, "status": status, "details": list(details)}
    return json.dumps({"error": error}).encode()


def fcm(code: str) -> dict[str, Any]:
    return {"@type": FCM_ERROR, "errorCode": code}


def violations(*fields: str) -> dict[str, Any]:
    found = [{"field": field, "description": "wrong"} for field in fields]
    return {"@type": BAD_REQUEST, "fieldViolations": found}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['http_status']}-{r['error_code']}")
def test_every_row_of_the_table(row: dict[str, str]) -> None:
    """Status, reason, token action and wait are as the table of FCM's codes says."""
    details = [fcm(row["error_code"])] if row["error_code"] else []
    body = error_body(row["grpc_status"], *details)
    answer = classify(int(row["http_status"]), body, requested_at_ms=REQUESTED_AT_MS)
    assert (answer.status, answer.reason, answer.token_action) == (
        row["status"],
        row["reason"],
        row["our_token_action"],
    )
    assert answer.retry_after_s == (float(row["wait_s"]) if row["wait_s"] else None)
    assert answer.provider_status == int(row["http_status"])
    assert answer.provider_reason.startswith(row["error_code"] or row["grpc_status"])


def test_the_table_in_code_has_no_row_that_the_facts_lack() -> None:
    """Code and facts list the same codes and statuses."""
    codes = {row["error_code"] for row in ROWS} - {"", "UNSPECIFIED_ERROR"}
    assert codes == set(BY_CODE)
    assert {int(row["http_status"]) for row in ROWS} == set(BY_STATUS)


def test_an_accepted_message_gives_its_name() -> None:
    """200 is SENT, and provider_id is FCM's message name."""
    answer = classify(200, b'{"name": "projects/p/messages/1"}')
    assert (answer.status, answer.provider_id) == (Status.SENT, "projects/p/messages/1")


def test_an_accepted_message_without_its_body_is_sent() -> None:
    """The status was read; only the name was lost on the way."""
    assert classify(200, b"").status is Status.SENT


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b"{}", b'{"name": 1}', b"null"])
def test_a_200_that_is_not_fcms_is_unknown(body: bytes) -> None:
    """Without a message name nobody can say whether it was sent."""
    assert classify(200, body).status is Status.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        error_body("INVALID_ARGUMENT", violations("message.token")),
        error_body("INVALID_ARGUMENT", fcm("INVALID_ARGUMENT"), violations("message.token")),
        error_body(
            "INVALID_ARGUMENT",
            fcm("INVALID_ARGUMENT"),
            message="The registration token is not a valid FCM registration token",
        ),
    ],
)
def test_a_malformed_token_is_suspect(body: bytes) -> None:
    """INVALID_ARGUMENT about the token fails the message and never deletes the token."""
    answer = classify(400, body)
    assert (answer.status, answer.reason) == (Status.FAILED, Reason.TOKEN_INVALID)
    assert answer.token_action is TokenAction.SUSPECT


def test_a_field_violation_keeps_the_token_and_names_the_field() -> None:
    """A wrong payload is the content's defect, even when the token is named beside it."""
    body = error_body("INVALID_ARGUMENT", violations("message.data[0].value", "message.token"))
    answer = classify(400, body)
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.BAD_REQUEST)
    assert answer.token_action is TokenAction.KEEP
    assert "message.data[0].value" in answer.provider_reason


def test_too_big_is_a_reason_of_its_own() -> None:
    """FCM says only in words that the payload is over its limit."""
    body = error_body(
        "INVALID_ARGUMENT", fcm("INVALID_ARGUMENT"), message="Android message is too big"
    )
    assert classify(400, body).reason is Reason.PAYLOAD_TOO_LARGE


def test_a_dead_token_died_at_the_request() -> None:
    """FCM gives no timestamp, so the time of the request stands in; others have none."""
    dead = classify(
        404, error_body("NOT_FOUND", fcm("UNREGISTERED")), requested_at_ms=REQUESTED_AT_MS
    )
    wrong_project = classify(404, error_body("NOT_FOUND"), requested_at_ms=REQUESTED_AT_MS)
    assert dead.token_invalid_at_ms == REQUESTED_AT_MS
    assert wrong_project.token_invalid_at_ms == 0


def test_retry_after_replaces_the_tables_wait() -> None:
    """The provider's wish wins, and only a retry carries a wait."""
    throttled = error_body("RESOURCE_EXHAUSTED", fcm("QUOTA_EXCEEDED"))
    assert classify(429, throttled, 7.0).retry_after_s == 7.0
    assert classify(404, error_body("NOT_FOUND", fcm("UNREGISTERED")), 7.0).retry_after_s is None


def test_the_reason_beats_the_status() -> None:
    """UNREGISTERED under an unexpected HTTP status is still a dead token."""
    assert classify(400, error_body("", fcm("UNREGISTERED"))).token_action is TokenAction.DELETE


def test_a_new_code_is_unlisted_unless_the_status_speaks_for_itself() -> None:
    """An unknown 4xx code keeps its text and the token; an unknown 5xx code is tried again."""
    answer = classify(409, error_body("ABORTED", fcm("BRAND_NEW"), message="x" * 500))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.UNLISTED)
    assert answer.provider_reason.startswith("BRAND_NEW")
    assert len(answer.provider_reason) == 200
    assert classify(503, error_body("UNAVAILABLE", fcm("BRAND_NEW"))).status is Status.RETRY


def test_the_quota_that_ran_out_is_named() -> None:
    """QuotaFailure tells project, device and topic rates apart."""
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": "device", "description": "Device message rate exceeded"}],
    }
    body = error_body("RESOURCE_EXHAUSTED", fcm("QUOTA_EXCEEDED"), quota)
    assert "Device message rate exceeded" in classify(429, body).provider_reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><title>502 Server Error</title></html>",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b'{"error": "no object"}',
        b'{"error": {"details": "no list", "message": 5, "status": null}}',
        b'{"error": {"details": [null, 1, {"@type": 3}]}}',
        error_body("", {"@type": FCM_ERROR}, {"@type": BAD_REQUEST, "fieldViolations": [1]}),
        b'{"error": {"message": "cut o',
    ],
)
@pytest.mark.parametrize("status", [400, 404, 418, 502])
def test_any_body_is_survived(status: int, body: bytes) -> None:
    """Whatever the body holds, the status decides, no token dies and the text is bounded."""
    answer = classify(status, body)
    expected = {400: Status.REJECTED, 404: Status.REJECTED, 418: Status.REJECTED}
    assert answer.status is expected.get(status, Status.RETRY)
    assert answer.token_action is TokenAction.KEEP
    assert len(answer.provider_reason) <= 200
