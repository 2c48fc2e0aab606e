import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse import ClickHouseWriter
from sinks.clickhouse_once import ExactlyOnceWriter
from tests.contract.clickhouse.outcome_log import TOPIC, record

PAGE = Path(__file__).parents[3] / "docs" / "analysts.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
APNS = {"platform": "apns", "priority": "high", "category": "news"}
STORY: list[dict[str, Any]] = [
    APNS
    | {"user_id": "u-7", "message_id": "m-1", "device_id": "d1", "latency_ms": 100}
    | {"variant": "a"},
    APNS | {"user_id": "u-7", "message_id": "m-1", "device_id": "d1", "status": "opened"},
    APNS | {"user_id": "u-7", "message_id": "m-1", "device_id": "d1", "status": "opened"},
    APNS
    | {"user_id": "u-8", "message_id": "m-1", "device_id": "d2", "latency_ms": 300}
    | {"variant": "b"},
    APNS
    | {"user_id": "u-9", "message_id": "m-1", "device_id": "d3", "status": "failed"}
    | {"reason": "token_unregistered", "provider_status": 410, "detail": "Unregistered"},
    {"user_id": "u-7", "message_id": "m-2", "status": "suppressed", "reason": "opted_out"}
    | {"category": "news"},
    APNS | {"user_id": "u-5", "message_id": "m-3", "sandbox": True, "latency_ms": 9},
]
WANTED = [
    [("m-1", "sent"), ("m-1", "opened"), ("m-1", "opened"), ("m-2", "suppressed")],
    [("u-7", "d1", "opened"), ("u-8", "d2", "sent"), ("u-9", "d3", "failed")],
    [("apns", 2, 1, 66.67)],
    [("", None), ("high", [100, 300, 300])],
    [("spring", 3, 1, 2, 1, 0, 50.0)],
    [("a", 1, 1), ("b", 1, 0)],
    [("opted_out", "news", 1, 1)],
    [("apns", "token_unregistered", 410, "Unregistered", 1, 0.0)],
    [("apns", "shop", 2, 1)],
]
PICK: list[Callable[[tuple[Any, ...]], tuple[Any, ...]]] = [
    lambda row: (row[1], row[2]),
    lambda row: (row[0], row[1], row[3]),
    tuple,
    lambda row: (row[0], row[1] if row[0] else None),
    tuple,
    tuple,
    tuple,
    tuple,
    tuple,
]


@pytest.fixture
def told(client: Client, connect_here: Callable[[], Client]) -> Client:
    """Write the story's outcomes, just now, a millisecond apart, and its devices twice."""
    now_ms = int(time.time() * 1000)
    writer = ClickHouseWriter(client_factory=connect_here)
    once = ExactlyOnceWriter(writer)
    once.assign(TOPIC, [0])
    once.write(
        [record(0, i, occurred_at_ms=now_ms - 100 + i, **each) for i, each in enumerate(STORY)]
    )
    for version, removed in ((1, None), (2, now_ms)):
        devices = {
            "tenant": ["acme"] * 3,
            "user_id": ["u-7", "u-8", "u-9"],
            "device_id": ["d1", "d2", "d3"],
            "platform": ["apns"] * 3,
            "app": ["shop"] * 3,
            "attributes": [{"model": "x"}] * 3,
            "registered_at": [now_ms] * 3,
            "removed_at": [None, None, removed],
            "version": [version] * 3,
        }
        assert writer.insert_rows("devices", devices) == writer.insert_rows("devices", devices) == 3
    users = {"tenant": ["acme"], "user_id": ["u-7"], "version": [1], "segments": [["vip"]]}
    assert writer.insert_rows("users", users) == 1
    return client


def test_every_query_of_the_page_is_run() -> None:
    """Each block of the page is checked below."""
    assert len(QUERIES) == len(WANTED) == len(PICK)


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_a_query_of_the_page_tells_the_story(told: Client, number: int) -> None:
    """Run as it stands in the page, it gives the figures that the rows mean."""
    rows = told.query(QUERIES[number]).result_rows
    assert [PICK[number](tuple(row)) for row in rows] == WANTED[number]


def test_the_page_names_every_column(client: Client) -> None:
    """A column that is added to outcomes must be explained."""
    columns = client.query(
        "SELECT name FROM system.columns WHERE table = 'outcomes' AND database = currentDatabase()"
    ).result_rows
    assert [row[0] for row in columns if f"`{row[0]}`" not in PAGE.read_text()] == []


def test_the_views_finish_the_merges(told: Client) -> None:
    """Figures of both views, from several inserts, agree with the rows."""
    minutes = told.query(
        "SELECT sum(sent), sum(opened), sum(failed), sum(suppressed), sum(outcomes) "
        "FROM delivery_per_minute"
    ).first_row
    assert minutes == (3, 2, 1, 1, 7)
    funnel = told.query(
        "SELECT targeted_users, sent_users, opened_users, failed_users, "
        "sent_deliveries FROM campaign_funnel WHERE NOT sandbox"
    ).first_row
    assert funnel == (3, 2, 1, 1, 2)
    assert told.query("SELECT count() FROM devices_current").first_row == (2,)
    assert told.query("SELECT segments FROM users_current").first_row == (["vip"],)


def test_registry_columns_are_checked(connect_here: Callable[[], Client]) -> None:
    """Missing keys and columns of unequal length are errors before anything is sent."""
    writer = ClickHouseWriter(client_factory=connect_here)
    with pytest.raises(ValueError, match="device_id"):
        writer.insert_rows("devices", {"tenant": ["a"], "user_id": ["u"], "version": [1]})
    with pytest.raises(ValueError, match="differ in length"):
        writer.insert_rows("users", {"tenant": ["a"], "user_id": ["u", "v"], "version": [1]})
    assert writer._client is None
