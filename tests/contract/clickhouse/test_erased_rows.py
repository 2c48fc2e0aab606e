"""A user's rows in ClickHouse are found and removed; what is others', or from later, stays."""

from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from operators.registry_rows import DeviceRow, UserEventRow, UserRow, columns_of
from sinks.clickhouse import ClickHouseWriter
from sinks.clickhouse_once import ExactlyOnceWriter
from sinks.clickhouse_views import find_drift
from sinks.erased_rows import TABLES, ErasedRows, Whom
from state.profiles import Device, Platform, Profile
from tests.contract.clickhouse.outcome_log import MONTH_END_MS, TOPIC, record

AT = MONTH_END_MS
TOKEN = "ab" * 32


@pytest.fixture
def write(client: Client, connect_here: Callable[[], Client]) -> Callable[..., None]:
    """Write rows for users as of a time."""
    client.command("TRUNCATE TABLE user_events SYNC")
    offsets = iter(range(1_000))

    def write(at_ms: int, *users: str, tenant: str = "acme", created_ms: int = 0) -> None:
        writer = ClickHouseWriter(client_factory=connect_here)
        once = ExactlyOnceWriter(writer)
        once.assign(TOPIC, [0])
        once.write(
            [
                record(0, next(offsets), occurred_at_ms=at_ms, created_at_ms=created_ms or at_ms,
                       user_id=user, tenant=tenant, campaign_id="c")
                for user in users
            ]
        )  # fmt: skip
        phone = Device("phone", Platform.APNS, "ios", TOKEN, at_ms)
        rows: list[tuple[type[Any], list[Any]]] = [
            (DeviceRow, [DeviceRow.registered(tenant, user, phone, "") for user in users]),
            (UserRow, [UserRow.of(tenant, u, Profile(u, 1, updated_at_ms=at_ms), at_ms)
                       for u in users]),
            (UserEventRow, [UserEventRow(tenant, u, f"{u}-{at_ms}", "order", at_ms, 1.0, {})
                            for u in users]),
        ]  # fmt: skip
        for table, (kind, made) in zip(("devices", "users", "user_events"), rows, strict=True):
            writer.insert_rows(table, columns_of(kind, made))
        writer.close()

    return write


def left(client: Client) -> dict[str, list[tuple[str, str]]]:
    """Give (tenant, user) of all rows by table."""
    return {
        table: client.query(
            f"SELECT tenant, user_id FROM {table} ORDER BY tenant, user_id"  # noqa: S608 - our own
        ).result_rows
        for table in TABLES
    }


def test_all_rows_of_the_user_go_and_no_others(write: Callable[..., None], client: Client) -> None:
    """Of every table; another tenant's user of the same name stays."""
    write(AT, "anna", "eve")
    write(AT, "anna", tenant="rival")
    found = ErasedRows(client).sweep(Whom("acme", "anna"))
    assert found == dict.fromkeys(TABLES, 1)
    assert left(client) == {table: [("acme", "eve"), ("rival", "anna")] for table in TABLES}


def test_again_removes_nothing(write: Callable[..., None], client: Client) -> None:
    """And asks for no rewriting of parts."""
    write(AT, "anna")
    rows = ErasedRows(client)
    rows.sweep(Whom("acme", "anna"))
    assert rows.sweep(Whom("acme", "anna")) == dict.fromkeys(TABLES, 0)


def test_what_is_from_later_stays(write: Callable[..., None], client: Client) -> None:
    """Who registered again is a new user; what is told late about old messages goes."""
    write(AT, "anna")
    write(AT + 5_000, "anna")
    write(AT + 6_000, "anna", created_ms=AT - 1)
    found = ErasedRows(client).sweep(Whom("acme", "anna", AT + 1))
    assert (found["outcomes"], found["user_events"]) == (2, 1)
    rows = client.query("SELECT occurred_at FROM outcomes").result_rows
    assert [int(at.timestamp() * 1_000) for (at,) in rows] == [AT + 5_000]
    for view in ("devices_current", "users_current"):
        found_there = client.query(f"SELECT user_id FROM {view}")  # noqa: S608 - our own
        assert found_there.result_rows == [("anna",)]


def test_devices_that_the_new_user_has_not_go_whenever_they_were_removed(
    write: Callable[..., None], client: Client, connect_here: Callable[[], Client]
) -> None:
    """Their tombstones come after the erasure, and hold the id too."""
    write(AT, "anna")
    tablet = DeviceRow.gone(
        "acme", "anna", "tablet", token="", reason="unregistered", at_ms=AT + 900
    )
    writer = ClickHouseWriter(client_factory=connect_here)
    writer.insert_rows("devices", columns_of(DeviceRow, [tablet]))
    writer.close()
    write(AT + 5_000, "anna")
    rows = ErasedRows(client)
    assert sorted(rows.devices(Whom("acme", "anna", AT + 901))) == ["phone", "tablet"]
    assert rows.devices(Whom("acme", "anna", AT + 900)) == ["phone"]
    rows.sweep(Whom("acme", "anna", AT + 1))
    assert rows.devices(Whom("acme", "anna", AT + 901)) == ["phone"]


def test_sums_stay_as_they_were(write: Callable[..., None], client: Client) -> None:
    """They hold no ids, and what happened has happened; find_drift tells what was erased."""
    write(AT, "anna", "eve")
    before = client.query("SELECT sent_users, outcomes FROM campaign_funnel").result_rows
    ErasedRows(client).sweep(Whom("acme", "anna"))
    assert client.query("SELECT sent_users, outcomes FROM campaign_funnel").result_rows == before
    assert {(one.expected, one.found) for one in find_drift(client)} == {(1, 2)}


def test_an_id_is_no_sql(write: Callable[..., None], client: Client) -> None:
    """It is sent beside the statement."""
    write(AT, "eve")
    ErasedRows(client).sweep(Whom("acme", "x'OR(1=1)--"))
    assert left(client) == {table: [("acme", "eve")] for table in TABLES}
