"""POST /v1/events."""

import json
from typing import Any

import pytest

from schemas.events import MAX_EVENT_BYTES, decode_event
from tests.contract.api.door_stand import AppliedOutbox, AsCaller

EVENT = {
    "type": "t",
    "category": "news",
    "audience": {"users": ["u1"]},
    "content": {"title": "Hi"},
}


def event(**more: Any) -> dict[str, Any]:
    return {**EVENT, **more}


async def test_an_event_is_put_on_its_priority_and_its_id_given_back(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """202 comes with the id that is on Kafka; the tenant is the caller's."""
    answer = await as_caller("producer").post("/v1/events", json=event(priority="critical"))
    assert answer.status_code == 202
    (record,) = outbox.records
    found = decode_event(record.value)
    assert record.topic == "events.critical"
    assert found.id == answer.json()["id"] == (record.key or b"").decode()
    assert found.tenant == "acme"


async def test_a_bad_event_is_a_problem_that_names_the_field(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """422 names each field and the fix; nothing is put."""
    answer = await as_caller("producer").post("/v1/events", json={"type": "t"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == "bad_event"
    assert {"field": "category", "fix": "is missing, add it"} in body["errors"]
    assert not outbox.records


async def test_each_item_of_a_batch_is_answered_by_itself(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Bad ones do not keep good ones back; order is kept."""
    items = [event(id="a"), {"type": "t"}, event(id="c", category="none"), event(id="d")]
    answer = await as_caller("producer").post("/v1/events", json=items)
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 2)
    assert [one.get("id") for one in body["results"]] == ["a", None, None, "d"]
    assert body["results"][2]["problem"]["code"] == "unknown_category"
    assert [record.key for record in outbox.records] == [b"a", b"d"]


async def test_ndjson_is_a_batch(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """One object a line; empty lines are none; a line that is no JSON is refused alone."""
    content = "\n".join([json.dumps(event(id="a")), "", "{", json.dumps(event(id="b"))])
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await as_caller("producer").post("/v1/events", content=content, headers=headers)
    assert [one.get("id") for one in answer.json()["results"]] == ["a", None, "b"]
    assert len(outbox.records) == 2


async def test_a_repeat_with_the_same_idempotency_key_is_the_same_event(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """The id comes from the key, and route drops the second by it."""
    client = as_caller("producer")
    headers = {"Idempotency-Key": "order-1"}
    first = await client.post("/v1/events", json=event(), headers=headers)
    again = await client.post("/v1/events", json=event(), headers=headers)
    assert first.json() == again.json()
    keys = {decode_event(record.value).idempotency_key for record in outbox.records}
    assert keys == {"order-1"}


async def test_items_of_a_repeated_batch_keep_their_ids(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Each item has a key of its own."""
    client = as_caller("producer")
    headers = {"Idempotency-Key": "import-7"}
    first = await client.post("/v1/events", json=[event(), event()], headers=headers)
    again = await client.post("/v1/events", json=[event(), event()], headers=headers)
    assert first.json() == again.json()
    assert len({record.key for record in outbox.records}) == 2


async def test_another_tenants_name_is_not_found(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """A credential speaks for its own tenant."""
    answer = await as_caller("producer", tenant="rival").post(
        "/v1/events", json=event(tenant="acme")
    )
    assert answer.status_code == 404
    assert not outbox.records


@pytest.mark.parametrize(("role", "status"), [("marketer", 403), ("producer", 202)])
async def test_marketers_send_no_urgent_messages(
    as_caller: AsCaller, role: str, status: int
) -> None:
    """Campaigns must not delay one-time passwords."""
    answer = await as_caller(role).post("/v1/events", json=event(priority="critical"))
    assert answer.status_code == status


@pytest.mark.parametrize("role", ["", "device", "analyst"])
async def test_who_may_not_send_sends_nothing(
    as_caller: AsCaller, outbox: AppliedOutbox, role: str
) -> None:
    """401 without a credential, 403 without the scope."""
    answer = await as_caller(role).post("/v1/events", json=event())
    assert answer.status_code == (403 if role else 401)
    assert not outbox.records


async def test_what_kafka_does_not_take_is_503(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """No acknowledgement, no 202; the answer says how to repeat it."""
    outbox.refuses = True
    answer = await as_caller("producer").post("/v1/events", json=event())
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_acknowledged"
    assert answer.headers["retry-after"] == "1"


async def test_an_event_over_the_limit_is_refused(as_caller: AsCaller) -> None:
    """413 for the one; too many are refused as a whole."""
    client = as_caller("producer")
    answer = await client.post("/v1/events", json=event(pad=" " * MAX_EVENT_BYTES))
    assert answer.status_code == 413
    answer = await client.post("/v1/events", json=[{}] * 10_001)
    assert answer.status_code == 413
