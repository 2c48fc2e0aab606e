"""Campaigns over HTTP: defined, estimated, tried, started, steered and watched."""

from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from api.auth.access import Access
from api.times import clock
from api.web.app import create_app
from api.web.door import Door
from schemas.access import Principal, Scope
from schemas.campaigns import ControlState, Phase
from schemas.events import decode_event
from schemas.pipeline import Platform, Priority
from schemas.topics import CAMPAIGNS, DEFINITIONS, EVENTS
from state.profiles import Device, Profile, RedisProfiles
from state.progress import RedisProgress
from state.redis_segments import RedisSegments
from tests.contract.api.clickhouse_stand import tell
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller

WHERE = "/v1/campaigns/spring"
MESSAGE: dict[str, Any] = {
    "type": "promo",
    "category": "news",
    "audience": {"segment": "buyers"},
    "content": {"title": "Sale"},
}
CAMPAIGN: dict[str, Any] = {"message": MESSAGE}


@pytest.fixture
def buyers(door: Door) -> None:
    """Three buyers, one of whom has a device."""
    segments = RedisSegments(door.redis)
    segments.add("acme", 4, "buyers", ["u1", "u2", "u3"])
    device = Device("d1", Platform.FCM, "t", "android", registered_at_ms=1)
    RedisProfiles(door.redis).update_many(
        "acme", 4, {"u1": lambda _: Profile("u1", 1, devices=(device,))}
    )


def as_principal(door: Door, **changes: Any) -> httpx.AsyncClient:
    """Give a client of a caller made to measure."""
    caller = msgspec.structs.replace(Principal("acme", "key", "k", frozenset(Scope)), **changes)

    class Believes:
        def prove(self, _credential: str) -> Principal:
            return caller

    app = create_app(replace(door, access=Access([Believes()], lambda: NOW_MS)))
    headers = {"Authorization": "Bearer x"}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
    )


async def state_of(client: Any) -> tuple[str, str]:
    told = (await client.get(WHERE)).json()
    return told["wanted"], told["runs"][0]["phase"] if told["runs"] else ""


@pytest.mark.usefixtures("buyers")
async def test_a_campaign_lives_from_its_definition_to_its_end(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Each step says where it stands; what does not fit is 409."""
    client = as_caller("marketer")
    answer = await client.put(WHERE, json=CAMPAIGN)
    assert (answer.json()["version"], answer.headers["etag"]) == (1, '"1"')
    assert (await client.post(f"{WHERE}/pause")).status_code == 409
    run = (await client.post(f"{WHERE}/start")).json()
    assert (run["phase"], run["due"]) == (Phase.SCHEDULED, clock(NOW_MS))
    assert len(outbox.of(CAMPAIGNS)) == 1
    assert await state_of(client) == (ControlState.RUNNING, Phase.SCHEDULED)
    assert (await client.post(f"{WHERE}/start")).status_code == 409
    assert (await client.delete(WHERE)).status_code == 409
    assert (await client.post(f"{WHERE}/pause")).json()["state"] == "paused"
    assert (await client.post(f"{WHERE}/resume")).json()["state"] == "running"
    assert (await client.post(f"{WHERE}/cancel")).json()["state"] == "cancelled"
    assert (await state_of(client))[0] == ControlState.CANCELLED
    assert (await client.delete(WHERE)).status_code == 204
    assert (await client.get(WHERE)).status_code == 404


@pytest.mark.usefixtures("buyers")
async def test_a_gate_is_overruled_in_its_own_words(as_caller: AsCaller, door: Door) -> None:
    """Whoever resumes is told what stood in the way."""
    client = as_caller("marketer")
    await client.put(WHERE, json=CAMPAIGN)
    await client.post(f"{WHERE}/start")
    progress = RedisProgress(door.redis)
    (run,) = progress.runs("acme", "spring")
    progress.save([msgspec.structs.replace(run, phase=Phase.STOPPED, note="6 % failed")])
    assert (await client.post(f"{WHERE}/resume")).json()["overruled"] == "6 % failed"


@pytest.mark.usefixtures("buyers")
async def test_an_estimate_counts_users_and_samples_devices(as_caller: AsCaller) -> None:
    """Nothing is sent; without an earlier campaign the speed is not known."""
    client = as_caller("marketer")
    await client.put(WHERE, json=CAMPAIGN)
    found = (await client.post(f"{WHERE}/estimate")).json()
    assert (found["users"], found["sampled"], found["platforms"]) == (3, 3, {"fcm": 1.0})
    assert (found["users_per_s"], found["seconds"]) == (None, None)
    await client.put(WHERE, json={**CAMPAIGN, "users_per_minute": 60})
    found = (await client.post(f"{WHERE}/estimate")).json()
    assert (found["seconds"], found["limited_by"]) == (3.0, "users_per_minute")


@pytest.mark.parametrize(
    ("role", "priority"), [("admin", Priority.HIGH), ("marketer", Priority.NORMAL)]
)
async def test_a_test_send_is_as_urgent_as_its_caller_may(
    as_caller: AsCaller, outbox: AppliedOutbox, role: str, priority: Priority
) -> None:
    """To the users alone, outside the campaign."""
    client = as_caller(role)
    await client.put(WHERE, json=CAMPAIGN)
    answer = await client.post(f"{WHERE}/test-send", json={"users": ["u7", "u8"]})
    assert (answer.status_code, answer.json()["priority"]) == (202, priority)
    (record,) = outbox.of(EVENTS[priority])
    event = decode_event(record.value)
    assert (event.id, event.campaign_id) == (answer.json()["message_id"], None)
    for users in ([], ["u"] * 101):
        refused = await client.post(f"{WHERE}/test-send", json={"users": users})
        assert refused.json()["errors"][0]["field"] == "users"


@pytest.mark.usefixtures("buyers")
async def test_what_a_caller_may_send_holds_for_campaigns_too(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Neither defined, started, resumed nor tried by whom its category or priority is closed to."""
    admin = as_caller("admin")
    await admin.put(WHERE, json=CAMPAIGN)
    alerts = as_principal(door, categories=frozenset({"alerts"}))
    urgent = as_principal(door, priorities=frozenset({Priority.CRITICAL}))
    before = len(outbox.records)
    for client, code in ((alerts, "category_forbidden"), (urgent, "priority_forbidden")):
        for answer in (
            await client.put(WHERE, json=CAMPAIGN),
            await client.post(f"{WHERE}/start"),
            await client.post(f"{WHERE}/resume"),
            await client.post(f"{WHERE}/test-send", json={"users": ["u1"]}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert len(outbox.records) == before
    await admin.post(f"{WHERE}/start")
    assert (await alerts.post(f"{WHERE}/cancel")).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({**CAMPAIGN, "id": "other"}, "id"),
        ({**CAMPAIGN, "tenant": "rival"}, "tenant"),
        ({"message": {**MESSAGE, "category": "nope"}}, "message.category"),
        ({**CAMPAIGN, "schedule": {"cron": "x x x x x"}}, "schedule.cron"),
        ({**CAMPAIGN, "speed": 1}, "speed"),
        ({"message": {**MESSAGE, "template": "x"}}, "message.template"),
    ],
)
async def test_what_is_wrong_names_its_field(
    as_caller: AsCaller, outbox: AppliedOutbox, body: Any, field: str
) -> None:
    """422, and nothing goes to Kafka."""
    answer = await as_caller("marketer").put(WHERE, json=body)
    assert answer.status_code == 422
    assert field in [one["field"] for one in answer.json()["errors"]], answer.text
    assert not outbox.of(DEFINITIONS)


async def test_what_cannot_start_says_why(as_caller: AsCaller) -> None:
    """Its segment must be there."""
    client = as_caller("marketer")
    await client.put(WHERE, json=CAMPAIGN)
    answer = await client.post(f"{WHERE}/start")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "message.audience")


async def test_a_change_holds_for_what_was_seen(as_caller: AsCaller) -> None:
    """Also a start: of the version that was looked at, and no other."""
    client = as_caller("marketer")
    new, first = {"If-None-Match": "*"}, {"If-Match": '"1"'}
    assert (await client.put(WHERE, json=CAMPAIGN, headers=new)).status_code == 200
    assert (await client.put(WHERE, json=CAMPAIGN, headers=new)).status_code == 412
    assert (await client.put(WHERE, json=CAMPAIGN, headers=first)).headers["etag"] == '"2"'
    assert (await client.post(f"{WHERE}/start", headers=first)).status_code == 412
    assert (await client.delete(WHERE, headers=first)).status_code == 412


@pytest.mark.usefixtures("buyers")
async def test_what_became_of_it_stands_beside_it(as_caller: AsCaller, door: Door) -> None:
    """Funnel and reasons from ClickHouse; without it the rest is shown all the same."""
    client = as_caller("analyst")
    await as_caller("marketer").put(WHERE, json=CAMPAIGN)
    tell(
        door,
        {"campaign_id": "spring", "user_id": "u1"},
        {"campaign_id": "spring", "user_id": "u2", "status": "suppressed", "reason": "opted_out"},
    )
    told = (await client.get(WHERE)).json()
    assert (told["funnel"]["targeted_users"], told["funnel"]["sent_users"]) == (2, 1)
    assert {"status": "suppressed", "reason": "opted_out", "outcomes": 1} in told["reasons"]

    def away() -> Any:
        raise OSError("no ClickHouse")

    app = create_app(replace(door, clickhouse=away))
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": "Bearer test:acme:analyst"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as cut_off:
        told = (await cut_off.get(WHERE)).json()
        assert (told["version"], told["funnel"], told["reasons"]) == (1, None, None)
        assert (await cut_off.post(f"{WHERE}/estimate")).status_code == 503


async def test_campaigns_come_in_pages(as_caller: AsCaller) -> None:
    """By id, with where the latest run stands."""
    client = as_caller("marketer")
    for name in "cab":
        await client.put(f"/v1/campaigns/{name}", json=CAMPAIGN)
    page = (await client.get("/v1/campaigns", params={"limit": 2})).json()
    assert [one["campaign"] for one in page["items"]] == ["a", "b"]
    assert page["items"][0]["latest"] is None
    rest = {"limit": 2, "cursor": page["next_cursor"]}
    page = (await client.get("/v1/campaigns", params=rest)).json()
    assert ([one["campaign"] for one in page["items"]], page["next_cursor"]) == (["c"], None)


async def test_analysts_look_and_steer_nothing(as_caller: AsCaller) -> None:
    """403 for every change."""
    await as_caller("marketer").put(WHERE, json=CAMPAIGN)
    analyst = as_caller("analyst")
    for verb in ("start", "pause", "resume", "cancel", "test-send"):
        answer = await analyst.post(f"{WHERE}/{verb}", json={"users": ["u1"]})
        assert answer.status_code == 403
    assert (await analyst.post(f"{WHERE}/estimate")).status_code == 422  # buyers are not there
