"""Segments over HTTP: defined, built, looked at, counted and removed."""

from typing import Any

import pytest

from api.web.door import Door
from schemas.topics import DEFINITIONS
from state.profiles import Profile, RedisProfiles
from state.redis_segments import RedisSegments
from state.segments import EVERYONE
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller, MemoryTrail
from tests.contract.api.registry_turn import build_segments

RULE = {"rule": {"field": "country", "value": "CH"}}
SHARDS = 4


def users(door: Door, *ids: str, segment: str = EVERYONE) -> None:
    RedisSegments(door.redis).add("acme", SHARDS, segment, ids)


def country(door: Door, user: str, code: str) -> None:
    profile = Profile(user, 1, country=code)
    RedisProfiles(door.redis).update_many("acme", SHARDS, {user: lambda _: profile})
    users(door, user)


async def test_a_rule_is_defined_built_and_told(as_caller: AsCaller, door: Door) -> None:
    """202 until the registry has built it; then its members are exact."""
    country(door, "u1", "CH")
    country(door, "u2", "AT")
    marketer = as_caller("marketer")
    answer = await marketer.put("/v1/segments/swiss", json=RULE)
    assert (answer.status_code, answer.headers["etag"]) == (202, '"1"')
    assert answer.json()["built"] is False
    told = (await marketer.get("/v1/segments/swiss")).json()
    assert (told["kind"], told["members"], told["version"]) == ("building", 0, 1)
    build_segments(door, wall_ms=NOW_MS)
    told = (await marketer.get("/v1/segments/swiss")).json()
    assert (told["kind"], told["members"], told["definition"]) == ("rule", 1, RULE)
    assert told["last_build"]["error"] == ""
    page = (await marketer.get("/v1/segments/swiss/members")).json()
    assert page == {"items": ["u1"], "next_cursor": None}


async def test_refresh_builds_anew_what_is_not_due(as_caller: AsCaller, door: Door) -> None:
    """The registry builds it at its next turn; a rule without ages is never due by itself."""
    marketer = as_caller("marketer")
    await marketer.put("/v1/segments/swiss", json=RULE)
    build_segments(door, wall_ms=NOW_MS)
    build_segments(door, wall_ms=NOW_MS + 1_000)
    before = (await marketer.get("/v1/segments/swiss")).json()["last_build"]["at"]
    answer = await marketer.post("/v1/segments/swiss/refresh")
    assert (answer.status_code, answer.json()["built"]) == (202, False)
    build_segments(door, wall_ms=NOW_MS + 60_000)
    after = (await marketer.get("/v1/segments/swiss")).json()["last_build"]
    assert (after["at"] > before, after["version"]) == (True, 1)
    assert (await marketer.post("/v1/segments/none/refresh")).status_code == 404


async def test_a_definition_holds_for_the_version_that_was_seen(as_caller: AsCaller) -> None:
    """If-Match for a change, If-None-Match: * for what must not be there; else 412."""
    client, where = as_caller("marketer"), "/v1/segments/swiss"
    new = {"If-None-Match": "*"}
    assert (await client.put(where, json=RULE, headers=new)).status_code == 202
    assert (await client.put(where, json=RULE, headers=new)).status_code == 412
    old = {"If-Match": '"1"'}
    assert (await client.put(where, json=RULE, headers=old)).headers["etag"] == '"2"'
    late = await client.put(where, json=RULE, headers=old)
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await client.get(where)).headers["etag"] == '"2"'
    assert (await client.delete(where, headers=old)).status_code == 412


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("a", {}, 422, "give exactly one of rule, behaviour and sql"),
        ("a", {"rule": {"field": "x", "value": 1}}, 422, "rule"),
        ("everyone", RULE, 422, "are kept by Clarion"),
        ("topic.x", RULE, 422, "are kept by Clarion"),
        ("buyers", RULE, 409, "made of users' own records"),
        ("vip", RULE, 409, "an uploaded list"),
    ],
)
async def test_what_cannot_be_defined_says_why(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox, *, name: str, body: Any, status: int,
    said: str,
) -> None:  # fmt: skip
    """The field and the fix; nothing goes to Kafka."""
    users(door, "u1", segment="buyers")
    client = as_caller("marketer")
    headers = {"Content-Type": "text/csv"}
    await client.put("/v1/segments/vip/members", content="u1\n", headers=headers)
    answer = await client.put(f"/v1/segments/{name}", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert not outbox.of(DEFINITIONS)


async def test_sql_is_looked_at_before_it_is_kept(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """By ClickHouse's own parser; what reads elsewhere is refused."""
    client = as_caller("marketer")
    bad = {"sql": "SELECT user_id FROM url('http://x', CSV)"}
    answer = await client.put("/v1/segments/q", json=bad)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "sql"
    assert not outbox.of(DEFINITIONS)
    good = {"sql": "SELECT user_id FROM outcomes WHERE status = 'opened'"}
    assert (await client.put("/v1/segments/q", json=good)).status_code == 202


async def test_lists_and_members_come_in_pages(as_caller: AsCaller, door: Door) -> None:
    """Each segment and each user once, whatever the limit."""
    names = [f"s{n}" for n in range(5)]
    for name in names:
        users(door, "u1", segment=name)
    users(door, *(f"u{n:02}" for n in range(25)), segment="big")
    client = as_caller("analyst")
    for where, limit, expected in (
        ("/v1/segments", 2, ["big", *names]),
        ("/v1/segments/big/members", 4, [f"u{n:02}" for n in range(25)]),
    ):
        seen, cursor = [], ""
        while cursor is not None:
            page = (await client.get(where, params={"limit": limit, "cursor": cursor})).json()
            assert len(page["items"]) <= limit
            seen += [one if isinstance(one, str) else one["name"] for one in page["items"]]
            cursor = page["next_cursor"]
        assert sorted(seen) == expected
    forged = await client.get("/v1/segments", params={"cursor": "made-up"})
    assert (forged.status_code, forged.json()["errors"][0]["field"]) == (422, "cursor")


async def test_an_expression_is_counted_exactly(as_caller: AsCaller, door: Door) -> None:
    """Over segments that exist; the others are named."""
    users(door, "a", "b", "c", segment="x")
    users(door, "b", segment="y")
    client = as_caller("analyst")
    answer = await client.post("/v1/segments:estimate", json={"expression": "x - y"})
    assert answer.json() == {"expression": "x - y", "users": 2}
    answer = await client.post("/v1/segments:estimate", json={"expression": "x & nope"})
    assert answer.json()["errors"] == [{"field": "expression", "fix": "no segment named nope"}]


async def test_removed_is_gone_with_its_definition(as_caller: AsCaller, door: Door) -> None:
    """204 once it is; a second time there is nothing to remove; users' own records stay."""
    users(door, "u1", segment="buyers")
    client = as_caller("marketer")
    await client.put("/v1/segments/swiss", json=RULE)
    assert (await client.delete("/v1/segments/swiss")).status_code == 204
    assert (await client.get("/v1/segments/swiss")).status_code == 404
    assert (await client.delete("/v1/segments/swiss")).status_code == 404
    refused = await client.delete("/v1/segments/buyers")
    assert (refused.status_code, "own records" in refused.text) == (409, True)


async def test_readers_change_nothing_and_changes_are_audited(
    as_caller: AsCaller, door: Door
) -> None:
    """403 without the scope, and an entry for each change with digests of before and after."""
    assert (await as_caller("analyst").put("/v1/segments/a", json=RULE)).status_code == 403
    await as_caller("marketer").put("/v1/segments/a", json=RULE)
    assert isinstance(door.audit, MemoryTrail)
    refused, done = door.audit.deeds
    assert (refused.status, done.status, done.target) == (403, 202, "a")
    assert (done.action, done.before) == ("PUT /v1/segments/{name}", "")
    assert done.after


async def test_kafka_that_is_away_is_503(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """Nothing is claimed to be done."""
    outbox.refuses = True
    answer = await as_caller("marketer").put("/v1/segments/a", json=RULE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
