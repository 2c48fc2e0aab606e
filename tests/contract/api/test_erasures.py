"""Asking for erasures, and their receipts. What is swept: tests/flows/test_erasures.py."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from api.auth.signing import Purpose, Signer
from api.web.door import Door
from operators.forget import erasure_record
from operators.recall import erased_control
from schemas import topics
from schemas.campaigns import control_of
from schemas.definitions import Kind
from schemas.erasures import ErasureState, StoreSwept, erasure_of
from schemas.registry import registry_key
from schemas.stream import Record
from state.profiles import RedisProfiles
from state.redis_segments import RedisSegments
from tests.contract.api.door_stand import NOW_MS, SECRET, AppliedOutbox, AsCaller

ANNA = "anna@example.com"


def register(outbox: AppliedOutbox, user: str = ANNA) -> None:
    """Let a user register with a device, as a producer does on Kafka."""
    at = datetime.fromtimestamp(NOW_MS / 1_000 - 60, UTC).isoformat()
    device = (
        f'{{"tenant":"acme","user_id":"{user}","device_id":"phone","platform":"apns","app":"ios",'
        f'"token":"{"ab" * 32}","registered_at":"{at}"}}'
    )
    outbox.put_now([Record(topics.DEVICES, registry_key("acme", user, "phone"), device.encode())])


def swept(door: Door, outbox: AppliedOutbox, name: str, state: ErasureState) -> None:
    """Write down a sweep, as the registry does."""
    found = door.definitions.get(Kind.ERASURE, "acme", name)
    assert found is not None
    one = erasure_of(found)
    is_complete = state is ErasureState.COMPLETE
    body = one.body.model_copy(
        update={
            "state": state,
            "first_swept_ms": NOW_MS + 500,
            "completed_ms": NOW_MS + 900 if is_complete else 0,
            "user_id": "" if is_complete else one.body.user_id,
            "stores": (StoreSwept(store="clickhouse.users", removed=2, at_ms=NOW_MS + 500),),
        }
    )
    outbox.put_now([erasure_record(one, body, one.version + 1, NOW_MS)])


def topics_of(records: Sequence[Record]) -> list[str]:
    return [record.topic for record in records]


async def test_a_request_tells_everybody_at_once(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """The control first; the user's tombstone last, before all that he may say later."""
    register(outbox)
    RedisSegments(door.redis).add("acme", 4, "x", ["other"])
    outbox.records.clear()
    answer = await as_caller("operator").post(f"/v1/users/{ANNA}/erase")
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["state"], said["requested_at"]) == ("requested", "2026-11-30T00:53:20Z")
    assert topics_of(outbox.records) == [
        topics.DEFINITIONS, topics.DEFINITIONS, topics.DEVICES, topics.TOKEN_DEATHS,
        topics.PREFERENCES, topics.USERS,
    ]  # fmt: skip
    assert RedisProfiles(door.redis).get_many("acme", 4, [ANNA]) == [None]
    control = door.definitions.get(Kind.CONTROL, "acme", erased_control("acme", ANNA))
    assert control is not None
    assert control_of(control).erased_ms == NOW_MS
    trail: Any = door.audit
    assert [deed.target for deed in trail.deeds] == [said["erasure_id"]]


async def test_the_receipt_says_more_as_it_goes(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Requested, erased, complete; never whom."""
    client = as_caller("operator")
    name = (await client.post(f"/v1/users/{ANNA}/erase")).json()["erasure_id"]
    for state in ErasureState:
        if state is not ErasureState.REQUESTED:
            swept(door, outbox, name, state)
        answer = await client.get(f"/v1/erasures/{name}")
        assert answer.json()["state"] == state
        assert ANNA not in answer.text
    assert answer.json()["completed_at"] == "2026-11-30T00:53:20.900000Z"
    assert answer.json()["stores"] == [
        {
            "store": "clickhouse.users",
            "removed": 2,
            "swept_at": "2026-11-30T00:53:20.500000Z",
            "note": "",
        }
    ]


async def test_a_receipt_can_be_shown_later(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Its signature holds while nothing in it was changed, and its hash tells of which user."""
    client = as_caller("operator")
    name = (await client.post(f"/v1/users/{ANNA}/erase")).json()["erasure_id"]
    swept(door, outbox, name, ErasureState.COMPLETE)
    receipt = (await client.get(f"/v1/erasures/{name}")).json()

    async def check(user: str | None = None, role: str = "acme", **changes: Any) -> Any:
        body = {"receipt": {**receipt, **changes}, "user_id": user}
        answer = await as_caller("operator", tenant=role).post("/v1/erasures/check", json=body)
        return tuple(answer.json().values())

    assert await check(ANNA) == (True, True)
    assert await check("someone") == (True, False)
    assert await check() == (True, None)
    assert await check(ANNA, requested_at="2026-11-29T00:53:20Z") == (False, False)
    assert await check(ANNA, stores=[]) == (False, False)
    assert await check(ANNA, role="rival") == (False, False)


def test_a_pseudonym_holds_by_an_older_key() -> None:
    """And by no other; another tenant's user of the same name has another one."""
    old = Signer([SECRET]).pseudonym(Purpose.ERASED, "acme/anna")
    newer = Signer([b"n" * 32, SECRET])
    assert newer.is_pseudonym(Purpose.ERASED, "acme/anna", old)
    assert newer.pseudonym(Purpose.ERASED, "acme/anna") != old
    assert not newer.is_pseudonym(Purpose.ERASED, "rival/anna", old)
    assert not Signer([b"n" * 32]).is_pseudonym(Purpose.ERASED, "acme/anna", old)


async def test_what_kafka_does_not_take_is_503(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Nothing is promised that nobody does."""
    outbox.refuses = True
    answer = await as_caller("operator").post(f"/v1/users/{ANNA}/erase")
    assert answer.status_code == 503
    assert door.definitions.all(Kind.ERASURE, "acme") == {}


@pytest.mark.parametrize("role", ["producer", "marketer", "analyst", "device"])
async def test_who_may_not_erase(as_caller: AsCaller, outbox: AppliedOutbox, role: str) -> None:
    """Operators and admins may."""
    assert (await as_caller(role).post("/v1/users/u1/erase")).status_code == 403
    assert not outbox.records


async def test_an_id_that_is_none_is_refused(as_caller: AsCaller) -> None:
    """422 for its form, 404 for what is not there."""
    client = as_caller("admin")
    assert (await client.get("/v1/erasures/er-1")).status_code == 422
    assert (await client.get(f"/v1/erasures/er-{'0' * 32}")).status_code == 404
