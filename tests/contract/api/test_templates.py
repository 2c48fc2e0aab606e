"""Templates over HTTP: drafts, faults, previews, versions in use and back."""

import asyncio
from typing import Any

import pytest

from api.web.door import Door
from schemas.topics import DEFINITIONS
from state.profiles import Profile, RedisProfiles
from tests.contract.api.door_stand import AppliedOutbox, AsCaller

TEMPLATE: dict[str, Any] = {
    "texts": {"en": {"title": "Hi {{ name }}"}, "de": {"title": "Hallo {{ name }}"}},
    "variables": {"name": "Ann"},
}
WHERE = "/v1/templates/hi"


def titled(text: str) -> dict[str, Any]:
    return {**TEMPLATE, "texts": {"en": {"title": text}}}


async def states(client: Any) -> list[tuple[int, str]]:
    found = (await client.get(WHERE)).json()["versions"]
    return [(one["version"], one["state"]) for one in found]


async def test_a_draft_is_edited_published_followed_and_taken_back(as_caller: AsCaller) -> None:
    """A draft is written over; what was published once never changes."""
    client = as_caller("marketer")
    first = await client.put(WHERE, json=TEMPLATE)
    assert (first.json()["version"], first.json()["state"]) == (1, "draft")
    assert (await client.put(WHERE, json=TEMPLATE)).json()["version"] == 1
    assert (await client.post(f"{WHERE}/publish")).json() == {
        "name": "hi", "version": 1, "state": "published", "warnings": [],
    }  # fmt: skip
    assert (await client.put(WHERE, json=titled("New"))).json()["version"] == 2
    assert await states(client) == [(1, "published"), (2, "draft")]
    await client.post(f"{WHERE}/publish", json={"version": 2})
    assert (await client.post(f"{WHERE}/rollback")).json()["version"] == 1
    assert await states(client) == [(1, "published"), (2, "earlier")]
    assert (await client.delete(f"{WHERE}/versions/1")).status_code == 409
    assert (await client.delete(f"{WHERE}/versions/2")).status_code == 204
    assert (await client.get(f"{WHERE}/versions/2")).status_code == 404
    found = (await client.get(f"{WHERE}/versions/1")).json()
    assert found["template"]["texts"]["de"]["title"] == "Hallo {{ name }}"
    assert (await client.delete(WHERE)).status_code == 204
    assert (await client.get(WHERE)).status_code == 404


async def test_faults_stop_publishing_and_name_their_place(as_caller: AsCaller) -> None:
    """422 with each fault; linting says the same without changing anything."""
    client = as_caller("marketer")
    await client.put(WHERE, json=titled("{{ nobody }}"))
    linted = (await client.post(f"{WHERE}/lint")).json()
    assert (linted["publishable"], linted["findings"][0]["path"]) == (False, "texts.en.title")
    refused = await client.post(f"{WHERE}/publish")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "texts.en.title"
    assert await states(client) == [(1, "draft")]
    tried = await client.post(f"{WHERE}/lint", json={"template": TEMPLATE})
    assert tried.json()["publishable"] is True


async def test_a_form_with_faults_is_not_kept(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """The field and the fix."""
    client = as_caller("marketer")
    answer = await client.put(WHERE, json={"texts": {"en": {"titel": "x"}}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "texts.en.titel"
    assert (await client.put("/v1/templates/a%20b", json=TEMPLATE)).status_code == 422
    assert not outbox.of(DEFINITIONS)


async def test_a_change_holds_for_what_was_seen(as_caller: AsCaller) -> None:
    """Of two who edit the same version the second one is told."""
    client = as_caller("marketer")
    seen = (await client.put(WHERE, json=TEMPLATE, headers={"If-None-Match": "*"})).headers["etag"]
    assert (await client.get(WHERE)).headers["etag"] == seen == '"1"'
    assert (await client.put(WHERE, json=TEMPLATE, headers={"If-Match": seen})).status_code == 200
    for late in (
        client.put(WHERE, json=TEMPLATE, headers={"If-Match": seen}),
        client.post(f"{WHERE}/publish", headers={"If-Match": seen}),
        client.delete(WHERE, headers={"If-Match": seen}),
        client.put(WHERE, json=TEMPLATE, headers={"If-None-Match": "*"}),
    ):
        assert (await late).status_code == 412
    assert await states(client) == [(1, "draft")]


async def test_of_many_at_once_one_comes_through(as_caller: AsCaller) -> None:
    """All have seen the same version; the others are told, and nothing of theirs is kept."""
    client = as_caller("marketer")
    seen = {"If-Match": (await client.put(WHERE, json=TEMPLATE)).headers["etag"]}
    puts = [client.put(WHERE, json=titled(f"by {n}"), headers=seen) for n in range(8)]
    answers = await asyncio.gather(*puts)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    winner = next(n for n, answer in enumerate(answers) if answer.status_code == 200)
    kept = (await client.get(f"{WHERE}/versions/1")).json()["template"]["texts"]
    assert kept["en"]["title"] == f"by {winner}"


async def test_a_preview_is_what_the_users_device_would_get(
    as_caller: AsCaller, door: Door
) -> None:
    """In the user's locale, filled with what was given; nothing is sent."""
    profile = Profile("u1", 1, locale="de")
    RedisProfiles(door.redis).update_many("acme", 4, {"u1": lambda _: profile})
    client = as_caller("marketer")
    await client.put(WHERE, json=TEMPLATE)
    ask = {"platform": "webpush", "user": "u1", "variables": {"name": "Bo"}}
    found = (await client.post(f"{WHERE}/preview", json=ask)).json()
    assert (found["locale"], found["payload"]["title"]) == ("de", "Hallo Bo")
    assert 0 < found["bytes"] <= found["limit"]
    missing = await client.post(f"{WHERE}/preview", json={**ask, "user": "nobody"})
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "user")


async def test_templates_come_in_pages(as_caller: AsCaller) -> None:
    """By name, each once."""
    client = as_caller("marketer")
    for name in "cab":
        await client.put(f"/v1/templates/{name}", json=TEMPLATE)
    page = (await client.get("/v1/templates", params={"limit": 2})).json()
    assert [one["name"] for one in page["items"]] == ["a", "b"]
    cursor = page["next_cursor"]
    page = (await client.get("/v1/templates", params={"limit": 2, "cursor": cursor})).json()
    assert ([one["name"] for one in page["items"]], page["next_cursor"]) == (["c"], None)


@pytest.mark.parametrize("verb", ["publish", "rollback", "lint"])
async def test_what_is_not_there_is_404(as_caller: AsCaller, verb: str) -> None:
    """Whatever is asked of it, also a version that it does not have."""
    client = as_caller("marketer")
    assert (await client.post(f"{WHERE}/{verb}")).status_code == 404
    await client.put(WHERE, json=TEMPLATE)
    ask = {"to" if verb == "rollback" else "version": 7}
    assert (await client.post(f"{WHERE}/{verb}", json=ask)).status_code == 404


async def test_analysts_look_and_change_nothing(as_caller: AsCaller) -> None:
    """403 for a change; reading and trying out is theirs."""
    await as_caller("marketer").put(WHERE, json=TEMPLATE)
    analyst = as_caller("analyst")
    assert (await analyst.put(WHERE, json=TEMPLATE)).status_code == 403
    assert (await analyst.post(f"{WHERE}/publish")).status_code == 403
    assert (await analyst.post(f"{WHERE}/preview", json={"platform": "fcm"})).status_code == 200
