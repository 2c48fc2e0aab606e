"""GET /v1/audit, and what other routes leave there."""

from typing import Any

import pytest

from api.web.door import Door
from operators.registry_rows import AuditRow, columns_of
from schemas.audit import AuditEntry
from sinks.clickhouse import ClickHouseWriter
from tests.contract.api.door_stand import NOW_MS, AsCaller


def write(door: Door, *said: dict[str, Any]) -> None:
    """Write entries as the registry does, a second apart."""
    base = {"at": "2026-11-30T00:00:00Z", "tenant": "acme", "action": "PUT /v1/x", "status": 200}
    rows = [
        AuditRow.of(
            AuditEntry.model_validate({**base, "audit_id": f"a{n}", **one}), NOW_MS + 1_000 * n
        )
        for n, one in enumerate(said)
    ]
    with door.clickhouse() as client:
        ClickHouseWriter(client_factory=lambda: client).insert_rows(
            "audit", columns_of(AuditRow, rows)
        )


async def test_entries_come_newest_first_and_by_page(as_caller: AsCaller, door: Door) -> None:
    """Another tenant's are not among them; the last page says so."""
    write(door, *({"tenant": "rival" if n == 2 else "acme"} for n in range(5)))
    client = as_caller("operator")
    first = (await client.get("/v1/audit", params={"limit": 3})).json()
    query = {"limit": "3", "cursor": first["next_cursor"]}
    second = (await client.get("/v1/audit", params=query)).json()
    found = [one["audit_id"] for page in (first, second) for one in page["items"]]
    assert found == ["a4", "a3", "a1", "a0"]
    assert second["next_cursor"] is None
    rival = await as_caller("admin", tenant="rival").get("/v1/audit", params=query)
    assert rival.status_code == 422


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"from": "2026-11-30T00:53:21Z"}, ["a2", "a1"]),
        ({"to": "2026-11-30T00:53:21Z"}, ["a0"]),
        ({"actor": "k2"}, ["a1"]),
        ({"action": "DELETE"}, ["a2"]),
        ({"target": "u1"}, ["a0"]),
        ({"status": "4xx"}, ["a2"]),
    ],
)
async def test_filters(
    as_caller: AsCaller, door: Door, query: dict[str, str], found: list[str]
) -> None:
    """Each leaves out what does not fit."""
    write(door, {"target": "u1"}, {"actor": "k2"}, {"action": "DELETE /v1/x", "status": 404})
    answer = await as_caller("operator").get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    assert [one["audit_id"] for one in answer.json()["items"]] == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "2026-11-30T00:53:21"}, "from"),
        ({"to": "yesterday"}, "query.to"),
        ({"status": "404"}, "query.status"),
        ({"cursor": "made-up"}, "cursor"),
    ],
)
async def test_a_bad_filter_is_named(
    as_caller: AsCaller, query: dict[str, str], field: str
) -> None:
    """422 with the field and the fix."""
    answer = await as_caller("operator").get("/v1/audit", params=query)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("role", ["producer", "marketer", "analyst", "device"])
async def test_who_may_not_read_it(as_caller: AsCaller, role: str) -> None:
    """Operators and admins may."""
    assert (await as_caller(role).get("/v1/audit")).status_code == 403


async def test_a_denied_read_is_counted(as_caller: AsCaller, door: Door) -> None:
    """Whose it was, and what was tried, shows in the sums."""
    await as_caller("producer").get("/v1/audit")
    trail: Any = door.audit
    ((deed, items),) = trail.counted
    assert (deed.action, deed.status, items) == ("GET /v1/audit", 403, 1)
    assert deed.principal.id == "k-producer"
