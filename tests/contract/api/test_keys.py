"""API keys: made, used, rotated and revoked, with a clock that the test moves."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.auth.access import FRESH_MS, Access
from api.auth.api_keys import ApiKeys
from api.web.app import create_app
from api.web.door import Door
from schemas.access import Scope
from state.errors import StateUnavailableError
from tests.contract.api.door_stand import NOW_MS, TENANTS, AppliedOutbox, AsCaller

DAY_MS = 86_400_000


class Clock:
    """Tells what the test says."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> int:
        return self.ms

    def past_the_cache(self) -> None:
        self.ms += FRESH_MS


class Definitions:
    """The real ones, until they are away."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.is_away = False

    def get(self, *key: Any) -> Any:
        if self.is_away:
            raise StateUnavailableError("get", "redis", OSError("gone"))
        return self._inner.get(*key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def definitions(door: Door) -> Definitions:
    return Definitions(door.definitions)


@pytest.fixture
def door_with_keys(door: Door, clock: Clock, definitions: Definitions) -> Door:
    found: Any = definitions
    access = Access([ApiKeys(TENANTS, found, clock)], clock)
    return replace(door, access=access, definitions=found, wall_ms=clock)


async def _status(door: Door, key: str) -> int:
    """Call with a key."""
    transport = httpx.ASGITransport(create_app(door))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/v1/segments", headers={"Authorization": f"Bearer {key}"})
        return answer.status_code


async def _made(as_caller: AsCaller, **more: Any) -> dict[str, Any]:
    said = {"name": "k", "roles": ["marketer"], **more}
    answer = await as_caller("admin").post("/v1/keys", json=said)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_key_lets_in_and_is_stored_as_a_slow_hash(
    as_caller: AsCaller, door_with_keys: Door, outbox: AppliedOutbox
) -> None:
    """What is on Kafka and in Redis has no secret in it."""
    key = (await _made(as_caller))["key"]
    assert await _status(door_with_keys, key) == 200
    secret = key.rpartition("_")[2]
    assert all(secret.encode() not in (record.value or b"") for record in outbox.records)
    assert any(b"digest" in (record.value or b"") for record in outbox.records)


async def test_a_key_is_shown_once(as_caller: AsCaller) -> None:
    """Nothing but its making shows it."""
    made = await _made(as_caller)
    client = as_caller("admin")
    shown = await client.get(f"/v1/keys/{made['id']}")
    listed = await client.get("/v1/keys")
    assert made["key"] not in shown.text + listed.text
    assert "digest" not in shown.text + listed.text


@pytest.mark.parametrize("at", [-1, 5, 20])
async def test_a_wrong_key_does_not(as_caller: AsCaller, door_with_keys: Door, at: int) -> None:
    """Of the secret, of the id, of the tenant's name: 401 alike."""
    key = (await _made(as_caller))["key"]
    other = "A" if key[at] != "A" else "B"
    wrong = key[:at] + other + (key[at + 1 :] if at != -1 else "")
    assert await _status(door_with_keys, wrong) == 401


async def test_a_revoked_key_counts_no_more_after_two_seconds(
    as_caller: AsCaller, door_with_keys: Door, clock: Clock
) -> None:
    """What a process remembers ends after FRESH_MS."""
    made = await _made(as_caller)
    assert await _status(door_with_keys, made["key"]) == 200
    answer = await as_caller("admin").delete(f"/v1/keys/{made['id']}")
    assert answer.status_code == 204
    clock.past_the_cache()
    assert await _status(door_with_keys, made["key"]) == 401


async def test_a_rotated_keys_old_secret_holds_for_the_overlap(
    as_caller: AsCaller, door_with_keys: Door, clock: Clock
) -> None:
    """Both hold meanwhile, the new one alone afterwards."""
    made = await _made(as_caller)
    answer = await as_caller("admin").post(
        f"/v1/keys/{made['id']}/rotate", json={"overlap_s": "1d"}
    )
    new = answer.json()["key"]
    assert [await _status(door_with_keys, one) for one in (made["key"], new)] == [200, 200]
    clock.ms += DAY_MS
    assert [await _status(door_with_keys, one) for one in (made["key"], new)] == [401, 200]


async def test_an_expired_key_counts_no_more(
    as_caller: AsCaller, door_with_keys: Door, clock: Clock
) -> None:
    """At its time, not two seconds later."""
    made = await _made(as_caller, expires_at="2026-12-30T00:00:00Z")
    assert await _status(door_with_keys, made["key"]) == 200
    clock.ms += 40 * DAY_MS
    assert await _status(door_with_keys, made["key"]) == 401


async def test_narrower_scopes_hold(as_caller: AsCaller, door_with_keys: Door) -> None:
    """A role gives more than the key takes."""
    made = await _made(as_caller, scopes=[Scope.TEMPLATES_READ])
    assert await _status(door_with_keys, made["key"]) == 403


async def test_nobody_makes_a_key_that_may_more(as_caller: AsCaller, door_with_keys: Door) -> None:
    """403 names what is beyond the caller; an admin's key may be bound to categories."""
    bound = await _made(as_caller, roles=["admin"], categories=["news"])
    transport = httpx.ASGITransport(create_app(door_with_keys))
    headers = {"Authorization": f"Bearer {bound['key']}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        answer = await client.post("/v1/keys", json={"name": "wider", "roles": ["producer"]})
        assert answer.status_code == 403
        assert "all categories" in answer.json()["detail"]
        said = {"name": "same", "roles": ["producer"], "categories": ["news"]}
        assert (await client.post("/v1/keys", json=said)).status_code == 201


async def test_keys_outlive_a_short_absence_of_the_store(
    as_caller: AsCaller, door_with_keys: Door, clock: Clock, definitions: Definitions
) -> None:
    """Who was proven lately goes on; somebody new gets 503, not 401."""
    made, other = await _made(as_caller), await _made(as_caller)
    await _status(door_with_keys, made["key"])
    definitions.is_away = True
    clock.past_the_cache()
    assert [await _status(door_with_keys, one["key"]) for one in (made, other)] == [200, 503]
    clock.ms += 60_000
    assert await _status(door_with_keys, made["key"]) == 503


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "k", "roles": []}, "roles"),
        ({"name": "k", "roles": ["boss"]}, "roles"),
        ({"name": "", "roles": ["admin"]}, "name"),
        ({"name": "k", "roles": ["admin"], "categories": ["none"]}, "categories"),
        ({"name": "k", "roles": ["admin"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "k", "roles": ["analyst"], "scopes": ["keys:write"]}, "scopes"),
    ],
)
async def test_a_faulty_wish_names_its_field(
    as_caller: AsCaller, said: dict[str, Any], field: str
) -> None:
    """422 with the field and the fix."""
    answer = await as_caller("admin").post("/v1/keys", json=said)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["detail"]
