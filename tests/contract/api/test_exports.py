"""GET /v1/users/{user_id}/export."""

import json
from typing import Any

from api.web.door import Door
from operators.registry_rows import UserEventRow, columns_of
from schemas.topics import USERS
from sinks.clickhouse import ClickHouseWriter
from state.best_hours import RedisBestHours
from state.caps import CapCheck, CapLimit, RedisCaps
from state.gatherings import Joining, RedisGatherings
from state.redis_segments import RedisSegments
from state.segments import Generation
from tests.contract.api.clickhouse_stand import tell
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller
from tests.contract.api.test_erasures import ANNA, register


def fill(door: Door, outbox: AppliedOutbox, user: str = ANNA) -> None:
    """Put something about a user into every store."""
    register(outbox, user)
    segments = RedisSegments(door.redis)
    segments.stage("acme", 4, "vip", "g1", [user])
    to = Generation(order=1, generation="g1", kind="list", at_ms=1)
    segments.switch("acme", 4, "vip", to)
    segments.add("acme", 4, "others", ["someone"])
    RedisBestHours(door.redis).put_many("acme", 4, [(user, 19)])
    for exact in (True, False):
        check = CapCheck(user, "m-1", (CapLimit("news", 5, 60_000),), exact=exact)
        RedisCaps(door.redis).admit_many("acme", 4, [check], NOW_MS)
    joining = Joining(user, "digest:a", "m-2", b"x", NOW_MS + 60_000, 9)
    RedisGatherings(door.redis).join_many("acme", 4, [joining], NOW_MS)
    tell(door, *({"message_id": f"m-{n}", "user_id": user} for n in range(3)))
    tell(door, {"message_id": "m-9", "user_id": "someone"})
    event = UserEventRow("acme", user, "e-1", "order", NOW_MS, 9.5, {"sku": "x"})
    with door.clickhouse() as client:
        writer = ClickHouseWriter(client_factory=lambda: client)
        writer.insert_rows("user_events", columns_of(UserEventRow, [event]))


async def test_all_that_is_held_is_in_one_document(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Nothing of others, no token, and the reading is kept in the audit log."""
    fill(door, outbox)
    answer = await as_caller("operator").get(f"/v1/users/{ANNA}/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert found["is_complete"] is True
    assert found["is_cut"] is False
    (device,) = found["profile"]["devices"]
    assert device["token"].startswith("~")
    assert "abab" not in answer.text
    assert found["segments"] == ["vip"]
    assert found["best_hour_utc"] == [19]
    assert [(one["name"], one["ids"]) for one in found["caps"]] == [("news", []), ("news", ["m-1"])]
    assert ["m-2"] in [one["ids"] for one in found["gatherings"]]
    assert {one["message_id"] for one in found["outcomes"]} == {"m-0", "m-1", "m-2"}
    assert found["user_events"] == [
        {
            "occurred_at_ms": NOW_MS,
            "event_id": "e-1",
            "name": "order",
            "value": 9.5,
            "properties": {"sku": "x"},
        }
    ]
    trail: Any = door.audit
    assert [(deed.action, deed.target) for deed in trail.deeds] == [
        ("GET /v1/users/{user_id}/export", ANNA)
    ]


async def test_lines_say_the_same(as_caller: AsCaller, door: Door, outbox: AppliedOutbox) -> None:
    """One for each thing, and one that says that all of it came."""
    fill(door, outbox)
    client = as_caller("operator")
    whole = (await client.get(f"/v1/users/{ANNA}/export")).json()
    headers = {"Accept": "application/x-ndjson"}
    answer = await client.get(f"/v1/users/{ANNA}/export", headers=headers)
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert last == {"is_complete": True, "is_cut": False}
    found: dict[str, Any] = {}
    for line in lines:
        if line["part"] == "profile":
            found["profile"] = line["item"]
        else:
            found.setdefault(line["part"], []).append(line["item"])
    for part in ("caps", "gatherings"):
        for one in [*found[part], *whole[part]]:
            one.pop("expires_in_ms")
    assert found | last == whole


async def test_who_has_rows_but_no_profile_is_exported(as_caller: AsCaller, door: Door) -> None:
    """As after a deletion; of whom nothing is held, 404."""
    tell(door, {"message_id": "m-1", "user_id": "gone"})
    client = as_caller("operator")
    found = (await client.get("/v1/users/gone/export")).json()
    assert (found["profile"], len(found["outcomes"])) == (None, 1)
    assert (await client.get("/v1/users/nobody/export")).status_code == 404
    other = await as_caller("admin", tenant="rival").get("/v1/users/gone/export")
    assert other.status_code == 404


async def test_an_erased_user_is_not_there(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """The profile is gone as soon as the registry has the tombstone."""
    register(outbox)
    client = as_caller("operator")
    await client.post(f"/v1/users/{ANNA}/erase")
    assert outbox.of(USERS)[-1].value is None
    assert (await client.get(f"/v1/users/{ANNA}/export")).status_code == 404
