"""The APNs reason table, row by row against the facts."""

import csv
from pathlib import Path

import pytest

from operators.circuit import FAILURES
from sandbox.apns_scenarios import STATUS_OF
from schemas.outcomes import Reason, Status, TokenAction
from sinks.apns_reasons import (
    AFTER_SERVER_ERROR_S,
    AFTER_TOO_MANY_REQUESTS_S,
    VERDICTS,
    verdict,
)

FACTS = Path(__file__).parents[2] / "data" / "apns_reasons.csv"

with FACTS.open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))

ROW_IDS = [f"{row['status']}-{row['reason'] or 'accepted'}" for row in ROWS]

WAIT_S = {
    "yes_new_connection": 0.0,
    "yes_new_provider_token": 0.0,
    "yes_after_15m": 900.0,
    ("yes_after_delay", "TooManyProviderTokenUpdates"): 1200.0,
    ("yes_after_delay", "TooManyRequests"): 60.0,
}
TO_FIX = {Reason.BAD_REQUEST, Reason.BAD_CONFIG, Reason.BAD_CREDENTIALS}
FINAL = {
    "BadDeviceToken": (Status.FAILED, Reason.TOKEN_INVALID),
    "DeviceTokenNotForTopic": (Status.FAILED, Reason.TOKEN_WRONG_APP),
    "Forbidden": (Status.REJECTED, Reason.BAD_CONFIG),
    "ExpiredToken": (Status.FAILED, Reason.TOKEN_EXPIRED),
    "Unregistered": (Status.FAILED, Reason.TOKEN_UNREGISTERED),
    "PayloadTooLarge": (Status.REJECTED, Reason.PAYLOAD_TOO_LARGE),
    "ChannelNotRegistered": (Status.REJECTED, Reason.BAD_CONFIG),
}
TOKEN_ACTIONS = {
    "suspect_invalid": TokenAction.SUSPECT,
    "unlink_from_topic": TokenAction.SUSPECT,
    "invalidate_unless_registered_after_timestamp": TokenAction.DELETE,
}


@pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
def test_every_row(row: dict[str, str]) -> None:
    """A row's advice becomes its status, wait and token action."""
    found = verdict(int(row["status"]), row["reason"])
    advice = row["retryable"]
    if advice == "n/a":
        assert (found.status, found.reason) == (Status.SENT, Reason.ACCEPTED)
    elif advice.startswith("yes"):
        wait_s = WAIT_S.get(advice, WAIT_S.get((advice, row["reason"])))
        assert (found.status, found.retry_after_s) == (Status.RETRY, wait_s)
    elif advice.startswith("fix"):
        assert found.status is Status.REJECTED
        assert found.reason in TO_FIX
    else:
        assert (found.status, found.reason) == FINAL[row["reason"]]
    if not advice.startswith("yes"):
        assert found.retry_after_s is None
    assert found.token_action is TOKEN_ACTIONS.get(row["token_action"], TokenAction.KEEP)
    assert found.listed


def test_table_and_simulator_hold_the_same_rows() -> None:
    """Neither the table nor the simulator lacks a row or has one more."""
    rows = {(int(row["status"]), row["reason"]) for row in ROWS}
    assert set(VERDICTS) == rows
    assert {(status, reason) for reason, status in STATUS_OF.items()} == rows - {(200, "")}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "Brandnew"), (410, "Brandnew"), (400, "Unregistered"), (302, ""), (0, "")],
)
def test_unlisted_answers(status: int, reason: str) -> None:
    """What no row lists is rejected and touches no token, also a known reason elsewhere."""
    found = verdict(status, reason)
    assert (found.status, found.reason) == (Status.REJECTED, Reason.UNLISTED)
    assert (found.token_action, found.listed) == (TokenAction.KEEP, False)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (500, "Brandnew", (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, AFTER_SERVER_ERROR_S)),
        (502, "", (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 0.0)),
        (503, "", (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 0.0)),
        (504, "", (Status.UNKNOWN, Reason.PROVIDER_TIMEOUT, None)),
        (429, "", (Status.RETRY, Reason.THROTTLED, AFTER_TOO_MANY_REQUESTS_S)),
    ],
)
def test_what_is_only_not_now_ends_no_message(
    status: int, reason: str, expected: tuple[Status, Reason, float | None]
) -> None:
    """Such as a gateway's page before Apple's servers; it opens the circuit as Apple's own does."""
    found = verdict(status, reason)
    assert (found.status, found.reason, found.retry_after_s) == expected
    assert (found.token_action, found.listed) == (TokenAction.KEEP, False)
    assert status == 429 or found.reason in FAILURES


def test_two_words_are_one() -> None:
    """Apple's broadcast page prints Service Unavailable as two words."""
    assert verdict(503, "Service Unavailable") is verdict(503, "ServiceUnavailable")
