"""POST /v1/events?dry_run=true."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI

from api.web import dry_run
from api.web.door import Door
from schemas.pipeline import Platform
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller

EVENT: dict[str, Any] = {
    "id": "m-1",
    "type": "t",
    "category": "news",
    "idempotency_key": "once",
    "audience": {"users": ["u1", "u2", "u3"]},
    "content": {"title": "Hi"},
}
DRY = {"dry_run": "true"}


@pytest.fixture
def people(door: Door) -> None:
    """Let u1 have two devices, and u2 have opted out; u3 is unknown."""
    devices = (
        Device("d1", Platform.APNS, "ios", "a" * 64, NOW_MS),
        Device("d2", Platform.APNS, "ios", "b" * 64, NOW_MS),
    )
    users = {
        "u1": Profile("u1", 0, devices=devices),
        "u2": Profile("u2", 0, devices=devices[:1], opted_out_all=True),
    }
    RedisProfiles(door.redis).update_many(
        "acme", 4, {name: lambda _old, user=user: user for name, user in users.items()}
    )


def everything(redis: RedisClient) -> dict[bytes, Any]:
    """Give all that Redis holds."""
    return {key: redis.run("DUMP", key) for key in sorted(redis.run("KEYS", "*"))}


@pytest.mark.usefixtures("people")
async def test_it_tells_whom_an_event_would_reach(as_caller: AsCaller) -> None:
    """Users, devices by platform, and what would be decided about the others, in words."""
    answer = await as_caller("producer").post("/v1/events", params=DRY, json=EVENT)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["users"], body["reached"], body["devices"]) == (3, 1, {"apns": 2})
    decided = {one["reason"]: one for one in body["decided"]}
    assert {name: one["example_user_id"] for name, one in decided.items()} == {
        "opted_out": "u2",
        "unknown_user": "u3",
    }
    assert "said no" in decided["opted_out"]["rule"]
    assert (body["is_whole"], body["stopped_by"]) == (True, "")


@pytest.mark.usefixtures("people")
async def test_nothing_is_sent_and_nothing_changes(
    as_caller: AsCaller, outbox: AppliedOutbox, redis: RedisClient
) -> None:
    """Asked twice it answers the same: not even the idempotency key is taken."""
    before = everything(redis)
    client = as_caller("producer")
    first, again = [await client.post("/v1/events", params=DRY, json=EVENT) for _ in range(2)]
    assert first.json() == again.json()
    assert everything(redis) == before
    assert not outbox.records


@pytest.mark.usefixtures("people")
async def test_an_event_is_checked_as_if_it_was_sent(as_caller: AsCaller) -> None:
    """Faults, categories, priorities and the tenant."""
    client = as_caller("marketer")
    for change, status in (
        ({"type": 1}, 422),
        ({"category": "none"}, 422),
        ({"priority": "critical"}, 403),
        ({"tenant": "rival"}, 404),
    ):
        answer = await client.post("/v1/events", params=DRY, json={**EVENT, **change})
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("query", "content", "kind"),
    [
        (DRY, b"[{}]", "application/json"),
        (DRY, b"{}\n{}", "application/x-ndjson"),
        ({"dry_run": "perhaps"}, b"{}", "application/json"),
    ],
)
async def test_it_takes_one_event(
    as_caller: AsCaller, outbox: AppliedOutbox, query: dict[str, str], content: bytes, kind: str
) -> None:
    """A batch is refused as a whole, and so is what is neither true nor false."""
    headers = {"Content-Type": kind}
    answer = await as_caller("producer").post(
        "/v1/events", params=query, content=content, headers=headers
    )
    assert answer.status_code == 422
    assert "dry_run" in answer.json()["detail"]
    assert not outbox.records


@pytest.mark.usefixtures("people")
async def test_false_sends(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """As without it."""
    answer = await as_caller("producer").post("/v1/events", params={"dry_run": "false"}, json=EVENT)
    assert (answer.status_code, len(outbox.records)) == (202, 1)


@pytest.fixture
def in_parts(door: Door, app: FastAPI) -> Iterator[None]:
    """Let every user be a part of the audience."""
    flow = door.settings.flow.model_copy(update={"chunk_users": 1})
    app.state.door = replace(door, settings=door.settings.model_copy(update={"flow": flow}))
    return


@pytest.mark.usefixtures("people", "in_parts")
@pytest.mark.parametrize(
    ("name", "value", "stopped_by"),
    [("MAX_USERS", 1, "users_limit"), ("MAX_S", -1.0, "time_limit")],
)
async def test_a_large_audience_is_looked_at_in_part(
    as_caller: AsCaller,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: float,
    stopped_by: str,
) -> None:
    """It says that it stopped, by what, and how far it came."""
    monkeypatch.setattr(dry_run, name, value)
    body = (await as_caller("producer").post("/v1/events", params=DRY, json=EVENT)).json()
    assert (body["is_whole"], body["stopped_by"]) == (False, stopped_by)
    assert body["parts_done"] < body["parts_known"]


async def test_redis_away_is_503(as_caller: AsCaller, app: FastAPI, door: Door) -> None:
    """Not an empty reach."""
    nowhere = RedisClient("redis://127.0.0.1:1/0", retries=0)
    app.state.door = replace(door, redis=nowhere)
    answer = await as_caller("producer").post("/v1/events", params=DRY, json=EVENT)
    nowhere.close()
    assert answer.status_code == 503


async def test_only_so_many_are_under_way(
    as_caller: AsCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are told when to try again; the place is free again after each."""
    client = as_caller("producer")
    for _ in range(dry_run.AT_ONCE + 1):
        assert (await client.post("/v1/events", params=DRY, json=EVENT)).status_code == 200
    monkeypatch.setattr(dry_run, "_free", dry_run.BoundedSemaphore(1))
    assert dry_run._free.acquire(blocking=False)
    answer = await client.post("/v1/events", params=DRY, json=EVENT)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "2"
