"""Users and preferences: said, patched one upon the other, conditions, batches, whose they are."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from api.web.door import Door
from schemas import topics
from schemas.decode import decode
from schemas.registry import PreferencesBody, ProfileBody, UserProfile, registry_key
from state.pending import Pending, RedisPending
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller
from tests.contract.api.examples_users import APNS
from tests.unit.operators.test_registry_words import preferences, profiles

WAIT = {"Prefer": "wait=2"}
U1, P1 = "/v1/users/u1", "/v1/users/u1/preferences"
MERGE = {"Content-Type": "application/merge-patch+json"}
EACH = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EACH
@given(profiles)
async def test_any_profile_that_is_put_is_got(as_caller: AsCaller, said: ProfileBody) -> None:
    """Through JSON, Kafka's record, the registry and back."""
    client = as_caller("admin")
    raw = said.model_dump_json()
    await client.put(U1, content=raw, headers={"Content-Type": "application/json"})
    found = (await client.get(U1)).json()
    assert (found.pop("user_id"), bool(found.pop("updated_at"))) == ("u1", True)
    assert ProfileBody.model_validate(found) == said


@EACH
@given(preferences)
async def test_any_preferences_that_are_put_are_got(
    as_caller: AsCaller, said: PreferencesBody
) -> None:
    """Through JSON, Kafka's record, the registry and back."""
    client = as_caller("admin")
    raw = said.model_dump_json()
    await client.put(P1, content=raw, headers={"Content-Type": "application/json"})
    found = (await client.get(P1)).json()
    assert (found.pop("user_id"), bool(found.pop("updated_at"))) == ("u1", True)
    assert PreferencesBody.model_validate(found) == said


async def test_a_user_is_a_record_as_producers_put_them(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Under the user's key, at the API's time; the answer is what will be."""
    answer = await as_caller("producer").put(U1, json={"locale": "de"})
    (record,) = outbox.records
    said = decode(UserProfile, record.value)
    assert (record.topic, record.key) == (topics.USERS, registry_key("acme", "u1"))
    assert (said.tenant, said.locale) == ("acme", "de")
    assert int(said.updated_at.timestamp() * 1_000) == NOW_MS
    assert answer.status_code == 202
    assert (answer.json()["user_id"], answer.json()["locale"]) == ("u1", "de")


async def test_a_patch_changes_a_part(as_caller: AsCaller) -> None:
    """RFC 7396: objects are merged, lists replaced, null takes away."""
    client = as_caller("producer")
    await client.put(
        U1,
        json={"locale": "de", "country": "DE", "segments": ["a"], "attributes": {"x": 1, "y": 2}},
    )
    patch = {"locale": None, "segments": ["b"], "attributes": {"x": None, "z": {"deep": True}}}
    answer = await client.patch(U1, content=json.dumps(patch), headers={**MERGE, **WAIT})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["locale"], found["country"], found["segments"]) == (None, "DE", ["b"])
    assert found["attributes"] == {"y": 2, "z": {"deep": True}}


async def test_patches_count_one_upon_the_other_while_the_registry_is_behind(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Each starts from the record before it, which is not in the profile yet."""
    client = as_caller("producer")
    outbox.applies = False
    await client.put(U1, json={"locale": "de"})
    await client.patch(U1, json={"country": "DE"})
    await client.patch(U1, json={"attributes": {"a": 1}})
    last = decode(UserProfile, outbox.records[-1].value)
    assert (last.locale, last.country, last.attributes) == ("de", "DE", {"a": 1})
    times = [decode(UserProfile, record.value).updated_at for record in outbox.records]
    assert times == sorted(set(times))


async def test_patches_at_once_all_count(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """None is lost, whatever order they are taken in."""
    client = as_caller("producer")
    wanted = {f"a{n}": n for n in range(20)}
    answers = await asyncio.gather(
        *(client.patch(U1, json={"attributes": {k: v}}) for k, v in wanted.items())
    )
    assert {answer.status_code for answer in answers} == {202}
    newest = max(
        (decode(UserProfile, one.value) for one in outbox.records), key=lambda one: one.updated_at
    )
    assert newest.attributes == wanted


async def test_a_record_of_a_producer_is_what_the_next_patch_starts_from(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """The newer of the two holds: the profile, or what went through the API."""
    client = as_caller("producer")
    await client.put(U1, json={"locale": "de"})
    raw = {
        "tenant": "acme",
        "user_id": "u1",
        "country": "AT",
        "updated_at": "2026-11-30T00:53:20.001Z",
    }
    record = outbox.records[0]._replace(value=json.dumps(raw).encode())
    outbox.put_now([record])
    found = (await client.patch(U1, json={"locale": "fr"}, headers=WAIT)).json()
    assert (found["locale"], found["country"]) == ("fr", "AT")


async def test_a_change_of_what_was_not_seen_is_refused(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """If-Match takes the ETag; 412 for another, and for one that is just being replaced."""
    client = as_caller("producer")
    etag = (await client.put(U1, json={"locale": "de"}, headers=WAIT)).headers["etag"]
    assert (await client.get(U1)).headers["etag"] == etag
    outbox.applies = False
    answers = [
        await client.patch(U1, json={"locale": locale}, headers={"If-Match": etag})
        for locale in ("fr", "it")
    ]
    assert [answer.status_code for answer in answers] == [202, 412]
    assert answers[1].json()["code"] == "precondition_failed"
    outbox.applies = True
    stale = await client.put(P1, json={}, headers={"If-Match": '"99"'})
    assert stale.status_code == 412
    once = {"If-None-Match": "*"}
    assert (await client.put("/v1/users/u9", json={}, headers=once)).status_code == 202
    assert (await client.put("/v1/users/u9", json={}, headers=once)).status_code == 412


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"tenant": "rival"}, "tenant"),
        ({"user_id": "u2"}, "user_id"),
        ({"attributes": {"x": "\0"}}, "attributes.x"),
        ({"segments": ["everyone"]}, "segments"),
        ({"attributes": {"x": "y" * 5_000}}, "attributes"),
    ],
)
async def test_a_patch_that_makes_no_valid_profile_is_refused(
    as_caller: AsCaller, outbox: AppliedOutbox, patch: dict[str, Any], field: str
) -> None:
    """422 names the field; nothing is put, and nothing of it is kept."""
    client = as_caller("producer")
    answer = await client.patch(U1, json=patch)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert not outbox.records
    assert (await client.patch(U1, json={}, headers=WAIT)).json()["attributes"] == {}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b'{"attributes": {"x": "' + b"y" * 1_048_576 + b'"}}', 413, "too_large"),
        (b'{"attributes": ' + b'{"x":' * 40 + b"1" + b"}" * 41, 422, "invalid"),
        (b"[1]", 422, "invalid"),
    ],
)
async def test_a_body_that_is_none_says_why(
    as_caller: AsCaller, outbox: AppliedOutbox, content: bytes, status: int, code: str
) -> None:
    """No JSON, too large, too deep, no object."""
    for method in ("PUT", "PATCH"):
        answer = await as_caller("producer").request(
            method, U1, content=content, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not outbox.records


async def test_who_has_devices_only_has_no_profile_yet(as_caller: AsCaller) -> None:
    """They are known, with nothing said."""
    client = as_caller("producer")
    await client.put("/v1/users/u1/devices/d1", json=APNS)
    assert (await client.get(U1)).json()["updated_at"] is None
    assert (await client.get(P1)).json()["opt_out_all"] is False
    assert (await client.get("/v1/users/u2")).status_code == 404
    assert (await client.get("/v1/users/u2/preferences")).status_code == 404


async def test_a_user_who_is_forgotten_is_gone_whole(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Tombstones for profile, preferences and each device: no rebuild brings any of it back."""
    client = as_caller("producer")
    await client.put(U1, json={"locale": "de"})
    await client.put(P1, json={"opt_out_all": True})
    await client.put("/v1/users/u1/devices/d1", json=APNS)
    count = len(outbox.records)
    answer = await client.delete(U1, headers=WAIT)
    assert answer.status_code == 204
    gone = outbox.records[count:]
    assert {one.topic for one in gone} >= {topics.USERS, topics.PREFERENCES, topics.DEVICES}
    assert all(one.value is None for one in gone)
    assert (await client.get(U1)).status_code == 404
    found = (await client.patch(P1, json={"topics": ["a"]}, headers=WAIT)).json()
    assert (found["opt_out_all"], found["topics"]) == (False, ["a"])


async def test_each_user_of_a_batch_is_answered_by_itself(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """In order; wrong ones and repeats do not keep the others back."""
    items: list[Any] = [
        {"user_id": "u1", "locale": "de"},
        {"user_id": "u2", "country": "Germany"},
        {"user_id": "a/b", "country": "AT"},
        {"user_id": "u1"},
        7,
    ]
    client = as_caller("producer")
    answer = await client.post("/v1/users:batch", json=items)
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 3)
    assert [one["problem"] is None for one in body["results"]] == [True, False, True, False, False]
    assert body["results"][1]["problem"]["errors"][0]["field"] == "country"
    assert {one.key for one in outbox.records} == {
        registry_key("acme", "u1"),
        registry_key("acme", "a/b"),
    }
    lines = "\n".join(json.dumps(one) for one in items[:1])
    answer = await client.post(
        "/v1/users:batch", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.json()["accepted"] == 1
    many = [{"user_id": f"u{n}"} for n in range(1_001)]
    assert (await client.post("/v1/users:batch", json=many)).status_code == 413


async def test_a_caller_of_one_user_reaches_no_other(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """For others everything looks as if it was not there, and nothing is put."""
    await as_caller("admin").put("/v1/users/u2", json={})
    count = len(outbox.records)
    bound = as_caller("admin", user="u1")
    refused = [
        await bound.get("/v1/users/u2"),
        await bound.put("/v1/users/u2", json={}),
        await bound.patch("/v1/users/u2", json={}),
        await bound.delete("/v1/users/u2"),
        await bound.get("/v1/users/u2/preferences"),
        await bound.put("/v1/users/u2/preferences", json={}),
        await bound.patch("/v1/users/u2/preferences", json={}),
    ]
    assert [answer.status_code for answer in refused] == [404] * len(refused)
    answer = await bound.post("/v1/users:batch", json=[{"user_id": "u2"}])
    assert answer.json()["results"][0]["problem"]["status"] == 404
    assert len(outbox.records) == count
    assert (await bound.put(U1, json={})).status_code == 202
    assert (await as_caller("device", user="u1").put(P1, json={})).status_code == 202


async def test_changes_are_kept_in_the_audit_log(as_caller: AsCaller, door: Door) -> None:
    """With digests of before and after, and never what they were."""
    trail: Any = door.audit
    client = as_caller("producer")
    await client.put(U1, json={"locale": "de"})
    await client.patch(U1, json={"locale": "fr"})
    put, patch = trail.deeds
    assert (put.action, put.target) == ("PUT /v1/users/{user_id}", "u1")
    assert put.after == patch.before != patch.after


async def test_what_kafka_does_not_take_is_503(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """It may be there or not; the next change goes on from it."""
    client = as_caller("producer")
    outbox.refuses = True
    assert (await client.put(U1, json={"locale": "de"})).status_code == 503
    outbox.refuses = False
    found = (await client.patch(U1, json={"country": "DE"}, headers=WAIT)).json()
    assert (found["locale"], found["country"]) == ("de", "DE")


async def test_a_server_whose_clock_is_far_ahead_is_waited_for_by_the_client(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """The registry would take the later change for the older one, so it is refused."""
    ahead = Pending(NOW_MS + 60_000, b"")
    RedisPending(door.redis).swap_many("acme", 4, "u", {"u1": (None, ahead)})
    answer = await as_caller("producer").put(U1, json={"locale": "de"})
    assert answer.status_code == 503
    assert "clock" in answer.json()["detail"]
    assert not outbox.records
