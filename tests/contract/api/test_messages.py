"""/v1/messages, on the embedded ClickHouse."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from api.web.door import Door
from operators.recall import message_control
from schemas.campaigns import ControlState, control_of
from schemas.definitions import Kind
from schemas.outcomes import Reason, Status
from schemas.pipeline import Platform
from state.profiles import Device, Profile, RedisProfiles
from tests.contract.api.clickhouse_stand import tell
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller, MemoryTrail

SENT: dict[str, Any] = {
    "message_id": "m-1", "user_id": "u1", "device_id": "d1", "delivery_id": "x", "attempt": 1,
    "platform": "apns", "category": "news", "type": "sale", "priority": "low", "latency_ms": 12,
    "provider_status": 200, "detail": "fine", "trace_id": "a" * 32, "campaign_id": "",
    "occurred_at_ms": NOW_MS - 9_000,
}  # fmt: skip
NIGHT: dict[str, Any] = {
    **SENT, "user_id": "u2", "status": Status.DEFERRED, "reason": Reason.QUIET_HOURS, "attempt": 0,
    "platform": "", "device_id": "", "delivery_id": "", "latency_ms": -1, "provider_status": 0,
    "detail": "until 2026-12-30T06:00:00Z, 22:00-07:00 UTC (the user's)",
    "occurred_at_ms": NOW_MS - 10_000,
}  # fmt: skip


async def test_a_message_is_counted_by_status_reason_and_platform(
    as_caller: AsCaller, door: Door
) -> None:
    """With how many users, and what the message is."""
    tell(door, SENT, {**SENT, "device_id": "d2", "delivery_id": "y"}, NIGHT)
    body = (await as_caller("analyst").get("/v1/messages/m-1")).json()
    assert body["users"] == 2
    assert body["about"] == {
        "type": "sale", "category": "news", "priority": "low", "campaign_id": "", "sandbox": False,
    }  # fmt: skip
    assert body["counts"] == [
        {"status": "sent", "reason": "accepted", "platform": "apns", "decisions": 2, "users": 1,
         "example_user_id": "u1"},
        {"status": "deferred", "reason": "quiet_hours", "platform": "", "decisions": 1, "users": 1,
         "example_user_id": "u2"},
    ]  # fmt: skip


async def test_a_message_that_is_held_as_a_whole_says_until_when(
    as_caller: AsCaller, door: Door
) -> None:
    """Where it stands now, with what it is about."""
    scheduled = {"user_id": "", "reason": Reason.SCHEDULED, "detail": "until 2026-12-30T06:00:00Z"}
    tell(door, {**NIGHT, **scheduled})
    body = (await as_caller("producer").get("/v1/messages/m-1")).json()
    assert body["now"] == "the message is held until 2026-12-30T06:00:00Z"
    assert (body["about"]["type"], body["about"]["category"]) == ("sale", "news")
    assert (body["counts"], body["users"]) == ([], 0)


async def test_an_explanation_is_the_chain_of_a_users_decisions(
    as_caller: AsCaller, door: Door
) -> None:
    """Rule, state and answer of each, in time order; not those of others."""
    tell(door, {**NIGHT, "user_id": "u1"}, SENT, {**SENT, "user_id": "u9"})
    answer = await as_caller("producer").get("/v1/messages/m-1/explain", params={"user_id": "u1"})
    body = answer.json()
    held, sent = body["steps"]
    assert "night" in held["rule"]
    assert held["until"] == "2026-12-30T06:00:00Z"
    assert (held["latency_ms"], sent["latency_ms"]) == (None, 12)
    assert sent["provider"] == "200 fine"
    assert body["now"] == "1 ended"


@pytest.mark.parametrize(("role", "sees"), [("admin", True), ("analyst", False)])
async def test_the_profile_is_for_those_who_may_read_users(
    as_caller: AsCaller, door: Door, role: str, *, sees: bool
) -> None:
    """Tokens are masked for all; a note says what is not shown."""
    device = Device("d1", Platform.FCM, "android", "secret-token", NOW_MS)
    user = Profile("u1", 0, devices=(device,))
    RedisProfiles(door.redis).update_many("acme", 4, {"u1": lambda _old: user})
    tell(door, SENT)
    answer = await as_caller(role).get("/v1/messages/m-1/explain", params={"user_id": "u1"})
    body = answer.json()
    assert "secret-token" not in answer.text
    assert (body["user"] is not None) is sees
    assert sees or "users:read" in body["notes"][0]


async def test_a_user_of_whom_nothing_was_decided_is_told_apart(
    as_caller: AsCaller, door: Door
) -> None:
    """The message is known, so it is not 404."""
    tell(door, SENT)
    answer = await as_caller("producer").get("/v1/messages/m-1/explain", params={"user_id": "u7"})
    assert answer.status_code == 200
    assert "nothing was decided about user u7" in answer.json()["notes"][0]


@pytest.mark.parametrize("what", ["", "/explain", "/explain?user_id=u1", "/trace"])
async def test_another_tenants_message_looks_like_none(
    as_caller: AsCaller, door: Door, what: str
) -> None:
    """The same problem, which says what may be the cause."""
    tell(door, SENT)
    client = as_caller("admin", tenant="rival")
    theirs = await client.get(f"/v1/messages/m-1{what}")
    nobodys = await client.get(f"/v1/messages/m-2{what}")
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == nobodys.json()
    for word in ("idempotency key", "seconds", "Prefer: wait", "13 months"):
        assert word in theirs.json()["detail"]


async def test_waiting_ends_when_the_message_is_there(
    as_caller: AsCaller, door: Door, app: FastAPI
) -> None:
    """`Prefer: wait` asks again until something is known, for 10 s at most, and says so."""
    asked = 0

    def told_between() -> Any:
        nonlocal asked
        asked += 1
        if asked == 2:
            tell(door, SENT)
        return door.clickhouse()

    app.state.door = replace(door, clickhouse=told_between)
    client = as_caller("producer")
    answer = await client.get("/v1/messages/m-1", headers={"Prefer": "respond-async, wait=600"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=10"
    assert asked == 2


@pytest.mark.parametrize("wish", ["wait=0", "wait=x", "wait=", "wait=-1", "respond-async"])
async def test_a_wish_that_is_none_waits_for_nothing(as_caller: AsCaller, wish: str) -> None:
    """404 at once, as without."""
    answer = await as_caller("producer").get("/v1/messages/m-1", headers={"Prefer": wish})
    assert answer.status_code == 404
    assert "preference-applied" not in answer.headers


async def test_a_trace_is_paged_in_time_order(as_caller: AsCaller, door: Door) -> None:
    """Each decision once, with its trace id, over pages of two; ties are kept apart."""
    retry = {**SENT, "status": Status.RETRY, "reason": Reason.THROTTLED, "outcome_id": "o-1"}
    tell(
        door,
        {**SENT, "attempt": 2, "outcome_id": "o-2"},
        retry,
        {**NIGHT, "outcome_id": "o-0"},
        {**SENT, "attempt": 2, "outcome_id": "o-3", "device_id": "d2"},
        {**SENT, "message_id": "m-2"},
    )
    client = as_caller("operator")
    seen: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": 2, "cursor": cursor}
        page = (await client.get("/v1/messages/m-1/trace", params=params)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert [one["outcome_id"] for one in seen] == ["o-0", "o-1", "o-2", "o-3"]
    assert seen[1]["trace_id"] == "a" * 32
    assert seen[1]["at"] == "2026-11-30T00:53:11.000Z"


async def test_a_trace_of_one_user_has_no_others(as_caller: AsCaller, door: Door) -> None:
    """And a cursor of one list does not hold for another."""
    tell(door, SENT, {**SENT, "attempt": 2}, NIGHT)
    client = as_caller("operator")
    params = {"user_id": "u1", "limit": 1}
    page = (await client.get("/v1/messages/m-1/trace", params=params)).json()
    assert [one["user_id"] for one in page["items"]] == ["u1"]
    answer = await client.get(
        "/v1/messages/m-1/trace", params={"user_id": "u2", "cursor": page["next_cursor"]}
    )
    assert answer.status_code == 422


async def test_a_trace_of_the_longest_ids_has_a_next_page(as_caller: AsCaller, door: Door) -> None:
    """A cursor does not grow with them."""
    ids = {"message_id": "\U0001f600" * 128, "user_id": "\U0001f600" * 128}
    tell(door, {**SENT, **ids}, {**SENT, **ids, "attempt": 2})
    client = as_caller("operator")
    path = f"/v1/messages/{quote(ids['message_id'])}/trace"
    params = {"user_id": ids["user_id"], "limit": 1}
    first = (await client.get(path, params=params)).json()
    second = await client.get(path, params={**params, "cursor": first["next_cursor"]})
    assert [one["attempt"] for one in second.json()["items"]] == [2]


@pytest.mark.parametrize("message_id", ["a/b", "ü#%?", "m" * 129])
async def test_ids_may_hold_anything_visible(
    as_caller: AsCaller, door: Door, message_id: str
) -> None:
    """As in events: up to 128 characters, encoded in the path."""
    tell(door, {**SENT, "message_id": message_id})
    path = quote(message_id, safe="")
    answer = await as_caller("producer").get(f"/v1/messages/{path}/trace")
    if len(message_id) > 128:
        assert answer.status_code == 422
    else:
        assert len(answer.json()["items"]) == 1


async def test_clickhouse_away_is_503(as_caller: AsCaller, app: FastAPI, door: Door) -> None:
    """Not 404: nobody knows whether it is there."""

    def away() -> Any:
        raise OSError("refused")

    app.state.door = replace(door, clickhouse=away)
    answer = await as_caller("producer").get("/v1/messages/m-1")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_a_message_is_taken_back_before_it_is_known(as_caller: AsCaller, door: Door) -> None:
    """The control is there when the call returns, by the caller; a repeat changes nothing."""
    answers = [
        await as_caller(role).post("/v1/messages/m-1/cancel") for role in ("producer", "admin")
    ]
    assert [one.json() for one in answers] == [
        {"message_id": "m-1", "state": "cancelled", "by": "key k-producer"}
    ] * 2
    found = door.definitions.get(Kind.CONTROL, "acme", message_control("m-1"))
    assert found is not None
    assert control_of(found).state is ControlState.CANCELLED
    assert (control_of(found).by, found.version) == ("key k-producer", 1)


async def test_taking_back_touches_the_own_tenant_alone(as_caller: AsCaller, door: Door) -> None:
    """The same id of another tenant goes on."""
    await as_caller("operator", tenant="rival").post("/v1/messages/m-1/cancel")
    assert door.definitions.all(Kind.CONTROL, "acme") == {}


async def test_taking_back_is_in_the_audit_log(as_caller: AsCaller, door: Door) -> None:
    """Who, what, and that it changed."""
    await as_caller("operator").post("/v1/messages/m-1/cancel")
    trail: Any = door.audit
    assert isinstance(trail, MemoryTrail)
    (deed,) = trail.deeds
    assert (deed.target, deed.status) == ("m-1", 200)
    assert deed.before != deed.after


async def test_what_kafka_does_not_take_is_not_taken_back(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """503, so that the caller repeats it."""
    outbox.refuses = True
    answer = await as_caller("producer").post("/v1/messages/m-1/cancel")
    assert answer.status_code == 503


async def test_who_only_reads_takes_nothing_back(as_caller: AsCaller) -> None:
    """An analyst may look."""
    assert (await as_caller("analyst").post("/v1/messages/m-1/cancel")).status_code == 403
