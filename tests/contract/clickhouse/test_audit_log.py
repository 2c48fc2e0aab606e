"""The audit log in ClickHouse: written as the registry writes it, read for people."""

from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from operators.registry_rows import AuditRow, columns_of
from schemas.audit import AuditEntry
from sinks.audit_log import AuditFilter, AuditLog, Place
from sinks.clickhouse import ClickHouseWriter

NOW_MS = 1_796_000_040_000


def row(number: int, at_ms: int = NOW_MS, **more: Any) -> AuditRow:
    said = {"audit_id": f"a{number}", "at": "2026-11-30T00:00:00Z", "tenant": "acme",
            "actor_kind": "key", "actor": "k1", "action": "PUT /v1/users/{user_id}",
            "target": f"u{number}", "status": 200, **more}  # fmt: skip
    return AuditRow.of(AuditEntry.model_validate(said), at_ms)


@pytest.fixture
def write(client: Client, connect_here: Callable[[], Client]) -> Callable[..., AuditLog]:
    """Write rows as the registry does, and give the reader."""

    def write(*rows: AuditRow) -> AuditLog:
        writer = ClickHouseWriter(client_factory=connect_here)
        writer.insert_rows("audit", columns_of(AuditRow, rows))
        writer.close()
        return AuditLog(client)

    return write


def test_entries_come_newest_first_and_by_page(write: Callable[..., AuditLog]) -> None:
    """Also many of one millisecond; no entry is missed or shown twice."""
    log = write(*(row(n, NOW_MS + n // 10) for n in range(95)), row(99, tenant="rival"))
    found: list[str] = []
    after: Place | None = None
    while page := log.entries("acme", AuditFilter(), limit=7, after=after):
        found += [one.audit_id for one in page]
        after = page[-1].at_ms, page[-1].audit_id
    assert found == sorted((f"a{n}" for n in range(95)), key=lambda i: (int(i[1:]) // 10, i))[::-1]


def test_a_replayed_entry_is_one(write: Callable[..., AuditLog], client: Client) -> None:
    """Before the parts are merged, and after."""
    rows = [row(n) for n in range(5)]
    write(*rows)
    log = write(*rows)
    assert len(log.entries("acme", AuditFilter(), limit=50)) == 5
    client.command("OPTIMIZE TABLE audit FINAL")
    assert client.query("SELECT count() FROM audit").first_row == (5,)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (AuditFilter(from_ms=NOW_MS + 1), {"a1", "a2", "a3"}),
        (AuditFilter(to_ms=NOW_MS + 1), {"a0"}),
        (AuditFilter(actor="k2"), {"a1"}),
        (AuditFilter(action="DELETE "), {"a2"}),
        (AuditFilter(target="u3"), {"a3"}),
        (AuditFilter(status_class=4), {"a3"}),
        (AuditFilter(actor="k1", status_class=2), {"a0", "a2"}),
        (AuditFilter(actor="' OR 1 = 1 --"), set()),
    ],
)
def test_filters(write: Callable[..., AuditLog], which: AuditFilter, found: set[str]) -> None:
    """Each leaves out what does not fit."""
    log = write(
        row(0),
        row(1, NOW_MS + 1, actor="k2"),
        row(2, NOW_MS + 2, action="DELETE /v1/users/{user_id}"),
        row(3, NOW_MS + 3, status=403),
    )
    assert {one.audit_id for one in log.entries("acme", which, limit=50)} == found


def test_an_entry_is_shown_as_it_was_written(write: Callable[..., AuditLog]) -> None:
    """Every field of it."""
    said = {"address": "10.0.0.1", "user_agent": "curl", "request_id": "r", "before": "aa",
            "after": "bb", "count": 2**53}  # fmt: skip
    (one,) = write(row(1, **said)).entries("acme", AuditFilter(), limit=2)
    assert one._asdict() == {
        "at_ms": NOW_MS, "audit_id": "a1", "actor_kind": "key", "actor": "k1",
        "action": "PUT /v1/users/{user_id}", "target": "u1", "status": 200, **said,
    }  # fmt: skip


def test_the_table_keeps_25_months(client: Client) -> None:
    """As its retention says."""
    (told,) = client.query("SHOW CREATE TABLE audit").first_row
    assert "toIntervalMonth(25)" in told
