"""What is read of a message for people, from rows as the flow writes them."""

from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse import ClickHouseWriter
from sinks.clickhouse_once import ExactlyOnceWriter
from sinks.outcome_counts import TO_SEND, Had, OutcomeCounts
from sinks.outcome_history import MAX_ROWS, Group, OutcomeHistory
from tests.contract.clickhouse.outcome_log import MONTH_END_MS, TOPIC, record

SENT: dict[str, Any] = {
    "message_id": "m-1", "user_id": "u-1", "device_id": "d1", "delivery_id": "x", "attempt": 1,
    "platform": "apns", "detail": "fine", "provider_status": 200, "latency_ms": 12,
}  # fmt: skip
NIGHT: dict[str, Any] = {"status": "deferred", "reason": "quiet_hours", "detail": "until morning"}


@pytest.fixture
def write(client: Client, connect_here: Callable[[], Client]) -> Callable[..., OutcomeHistory]:
    """Write outcomes, a second apart over the end of a month, and give the reader."""

    def write(*outcomes: dict[str, Any]) -> OutcomeHistory:
        once = ExactlyOnceWriter(ClickHouseWriter(client_factory=connect_here))
        once.assign(TOPIC, [0])
        first_ms = MONTH_END_MS - 1_000
        once.write(
            [record(0, i, occurred_at_ms=first_ms + 1_000 * i, **o) for i, o in enumerate(outcomes)]
        )
        return OutcomeHistory(client)

    return write


def test_a_users_decisions_come_in_time_order(write: Callable[..., OutcomeHistory]) -> None:
    """Those about the message as a whole among them, those about others not."""
    history = write(
        {"message_id": "m-1", "user_id": "", "status": "deferred", "reason": "scheduled"},
        {"message_id": "m-1", "user_id": "u-1", **NIGHT},
        SENT,
        {"message_id": "m-1", "user_id": "u-2", **NIGHT},
        {"message_id": "m-2", "user_id": "u-1", **NIGHT},
        {"message_id": "m-1", "user_id": "u-1", "tenant": "other", **NIGHT},
    )
    found = history.decisions("acme", "m-1", ["", "u-1"])
    assert not found.is_cut
    assert [(d.user_id, d.reason) for d in found.decisions] == [
        ("", "scheduled"),
        ("u-1", "quiet_hours"),
        ("u-1", "accepted"),
    ]
    last = found.decisions[-1]
    assert last.occurred_at_ms == MONTH_END_MS + 1_000
    assert (last.attempt, last.provider_status, last.detail, last.latency_ms) == (
        1,
        200,
        "fine",
        12,
    )
    assert history.tenants("m-1") == ["acme", "other"]


def test_a_messages_users_are_counted(write: Callable[..., OutcomeHistory]) -> None:
    """By status, reason and platform, most first, each with a user to look at."""
    history = write(
        SENT, {**SENT, "device_id": "d2"}, {"message_id": "m-1", "user_id": "u-2", **NIGHT}
    )
    assert history.groups("acme", "m-1") == [
        Group("acme", "sent", "accepted", "apns", 2, 1, "u-1"),
        Group("acme", "deferred", "quiet_hours", "", 1, 1, "u-2"),
    ]
    assert history.users("acme", "m-1") == 2


def test_what_is_long_is_cut_and_says_so(write: Callable[..., OutcomeHistory]) -> None:
    """A message that was held a thousand times is no reason to run out of memory."""
    history = write(*[{"message_id": "m-1", "user_id": "u-1", **NIGHT}] * (MAX_ROWS + 1))
    found = history.decisions("acme", "m-1", ["u-1"])
    assert found.is_cut
    assert len(found.decisions) == MAX_ROWS


def test_hostile_ids_are_only_ids(write: Callable[..., OutcomeHistory]) -> None:
    """They travel as parameters."""
    history = write(SENT)
    hostile = "' OR 1=1 --\\"
    assert history.decisions(hostile, hostile, [hostile]).decisions == []
    assert history.tenants(hostile) == history.groups(hostile, hostile) == []


def test_decisions_and_deliveries_of_many_messages_are_counted(
    write: Callable[..., OutcomeHistory], client: Client
) -> None:
    """Attempts are one delivery, feedback is none, and other messages and times are left out."""
    news = {"category": "news", "message_id": "m-1"}
    retry = {**SENT, **news, "status": "retry", "reason": "throttled"}
    write(
        {**news, **NIGHT, "user_id": "u-1"},
        retry,
        {**SENT, **news},
        {**SENT, **news, "status": "opened", "reason": "feedback"},
        {**SENT, **news, "delivery_id": "y", "message_id": "m-2"},
        {**news, **NIGHT, "message_id": "m-3", "user_id": "u-1"},
        {**SENT, **news, "delivery_id": "late"},
    )
    first_ms = MONTH_END_MS - 1_000
    counts = OutcomeCounts(client, "acme", since_ms=first_ms, until_ms=first_ms + 6_000)
    assert counts.of_messages(["m-1", "m-2"]) == {
        ("news", "deferred", "quiet_hours"): 1,
        ("news", TO_SEND, ""): 2,
    }
    assert counts.of_messages([]) == {}


def test_what_users_had_before_is_told_once_a_message(
    write: Callable[..., OutcomeHistory], client: Client
) -> None:
    """At the time of the first attempt; critical messages and those before the window not."""
    news = {"category": "news", "type": "t"}
    write(
        {**SENT, **news, "message_id": "old"},
        {**SENT, **news},
        {**SENT, **news, "attempt": 2},
        {**SENT, **news, "message_id": "urgent", "priority": "critical"},
        {**SENT, **news, "message_id": "other", "user_id": "u-2"},
        {**SENT, **news, "message_id": "now"},
    )
    first_ms = MONTH_END_MS - 1_000
    since_ms = first_ms + 5_000
    counts = OutcomeCounts(client, "acme", since_ms=since_ms, until_ms=since_ms + 1)
    assert counts.had_before(["u-1"], 4_000) == [Had("u-1", "m-1", "news", "t", first_ms + 1_000)]
