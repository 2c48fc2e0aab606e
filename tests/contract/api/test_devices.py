"""Devices: registered, shown, removed; whose they are and which apps they are of."""

from typing import Any

import pytest

from api.auth.device_tokens import PREFIX, DeviceTokens
from api.web.door import Door
from schemas import topics
from schemas.decode import decode
from schemas.registry import DeviceRegistration, registry_key
from state.profiles import RedisProfiles
from tests.contract.api.door_stand import NOW_MS, TENANTS, AppliedOutbox, AsCaller
from tests.contract.api.examples_users import APNS, SUBSCRIPTION

WAIT = {"Prefer": "wait=2"}
PLACE = "/v1/users/u1/devices/d1"


async def test_a_registration_is_a_record_of_the_device(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Under its key, at the API's time, as any producer would put it; the token is not shown."""
    answer = await as_caller("producer").put(PLACE, json={**APNS, "groups": ["tablet"]})
    assert answer.status_code == 202
    (record,) = outbox.records
    assert (record.topic, record.key) == (topics.DEVICES, registry_key("acme", "u1", "d1"))
    said = decode(DeviceRegistration, record.value)
    assert (said.tenant, said.user_id, said.device_id) == ("acme", "u1", "d1")
    assert (said.token, said.groups) == (APNS["token"], ("tablet",))
    assert int(said.registered_at.timestamp() * 1_000) == NOW_MS
    assert APNS["token"] not in answer.text
    assert answer.json()["token"].startswith("~")


async def test_the_app_gets_a_credential_of_its_own(as_caller: AsCaller, door: Door) -> None:
    """It holds for this user and device, as long as the device is there."""
    admin = as_caller("admin")
    token = (await admin.put(PLACE, json=APNS)).json()["device_token"]
    prover = DeviceTokens(door.signer, TENANTS, RedisProfiles(door.redis), lambda: NOW_MS)
    principal = prover.prove(token)
    assert token.startswith(PREFIX)
    assert principal is not None
    assert (principal.user_id, principal.device_id) == ("u1", "d1")


async def test_waiting_answers_once_the_registry_has_it(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """200 and Preference-Applied; 202 when it is not there in time."""
    client = as_caller("producer")
    answer = await client.put(PLACE, json=APNS, headers=WAIT)
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=2")
    outbox.applies = False
    other = {**APNS, "token": "cd" * 32, "registered_at": "2999-01-01T00:00:00Z"}
    late = await client.put(PLACE, json=other, headers={"Prefer": "wait=1"})
    assert late.status_code == 202
    assert "preference-applied" not in late.headers


async def test_a_time_ahead_of_kafka_is_waited_for_by_its_content(as_caller: AsCaller) -> None:
    """The registry cuts it to the record's time."""
    body = {**APNS, "registered_at": "2999-01-01T00:00:00Z"}
    answer = await as_caller("producer").put(PLACE, json=body, headers=WAIT)
    assert answer.status_code == 200


async def test_devices_are_shown_as_the_registry_has_them(as_caller: AsCaller) -> None:
    """One by its id; all page by page."""
    client = as_caller("producer")
    for number in range(3):
        body = {**APNS, "token": f"{number:02}" * 32, "locale": "de"}
        await client.put(f"/v1/users/u1/devices/d{number}", json=body)
    one = (await client.get("/v1/users/u1/devices/d1")).json()
    assert (one["app"], one["locale"], one["environment"]) == ("ios", "de", "production")
    assert one["registered_at"] == "2026-11-30T00:53:20Z"
    first = (await client.get("/v1/users/u1/devices?limit=2")).json()
    cursor = first["next_cursor"]
    second = (await client.get(f"/v1/users/u1/devices?limit=2&cursor={cursor}")).json()
    assert [x["device_id"] for x in first["items"] + second["items"]] == ["d0", "d1", "d2"]
    assert second["next_cursor"] is None


async def test_a_device_without_an_id_gets_the_same_one_each_time(as_caller: AsCaller) -> None:
    """Made of app and token: a repeat makes no second device."""
    client = as_caller("producer")
    answers = [await client.post("/v1/devices", json={**APNS, "user_id": "u1"}) for _ in range(2)]
    ids = {answer.json()["device_id"] for answer in answers}
    listed = (await client.get("/v1/users/u1/devices")).json()["items"]
    assert ids == {one["device_id"] for one in listed}
    assert len(ids) == 1


async def test_a_device_that_is_removed_is_gone(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """A tombstone under its key, also for one that nobody knows yet."""
    client = as_caller("producer")
    await client.put(PLACE, json=APNS)
    answer = await client.delete(PLACE, headers=WAIT)
    assert answer.status_code == 204
    assert outbox.records[-1].value is None
    assert (await client.get(PLACE)).status_code == 404
    assert (await client.delete("/v1/users/nobody/devices/d9")).status_code == 202
    assert outbox.records[-1].key == registry_key("acme", "nobody", "d9")


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        ({"app": "android"}, "app", "there is no 'android', use ios, "),
        ({"app": "web"}, "platform", "the app 'web' is of webpush, use that"),
        ({"token": "short"}, "token", "an APNs token is 64 to 200 hexadecimal digits"),
        ({"platform": "sms"}, "platform", "must be 'apns', 'fcm' or 'webpush'"),
        ({"colour": "red"}, "colour", "is no field here, remove it"),
        ({"app_version": "1\0"}, "app_version", "remove the NUL character (\\u0000)"),
        ({"registered_at": "yesterday"}, "registered_at", "write a time with its offset"),
    ],
)
async def test_a_fault_names_the_field_and_the_fix(
    as_caller: AsCaller, outbox: AppliedOutbox, changes: dict[str, Any], field: str, fix: str
) -> None:
    """422, and nothing on Kafka: what the API takes, the registry takes."""
    answer = await as_caller("producer").put(PLACE, json={**APNS, **changes})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert error["fix"].startswith(fix)
    assert not outbox.records


async def test_a_browsers_subscription_is_taken_as_it_is(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """PushSubscription.toJSON() with the app beside it; the same endpoint is the same device."""
    client = as_caller("producer")
    first, again = [await client.post("/v1/users/u1/webpush", json=SUBSCRIPTION) for _ in range(2)]
    assert (first.status_code, first.json()["platform"]) == (202, "webpush")
    assert first.json()["device_id"] == again.json()["device_id"]
    said = decode(DeviceRegistration, outbox.records[0].value)
    assert (said.token, said.auth) == (SUBSCRIPTION["endpoint"], SUBSCRIPTION["keys"]["auth"])


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        ({"endpoint": "https://evil.example/x"}, "endpoint", "evil.example is"),
        ({"endpoint": "https://169.254.169.254/x"}, "endpoint", "169.254"),
        (
            {"endpoint": "http://fcm.googleapis.com/x"},
            "endpoint",
            "a Web Push endpoint is an https",
        ),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "keys.p256dh", "give the subscription's"),
        ({"expirationTime": NOW_MS - 1}, "expirationTime", "has passed, subscribe again"),
        ({"app": "ios"}, "platform", "the app 'ios' is of apns"),
    ],
)
async def test_a_bad_subscription_names_the_browsers_field(
    as_caller: AsCaller, outbox: AppliedOutbox, changes: dict[str, Any], field: str, fix: str
) -> None:
    """Endpoints that are no push service's are refused at the door."""
    answer = await as_caller("producer").post(
        "/v1/users/u1/webpush", json={**SUBSCRIPTION, **changes}
    )
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert error["fix"].startswith(fix)
    assert not outbox.records


async def test_an_app_reaches_its_own_user_and_device_only(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """For others everything looks as if it was not there, and nothing is put."""
    await as_caller("admin").put("/v1/users/u2/devices/d2", json={**APNS, "token": "ef" * 32})
    await as_caller("admin").put(PLACE, json=APNS)
    await as_caller("admin").put("/v1/users/u1/devices/d2", json={**APNS, "token": "ef" * 32})
    count = len(outbox.records)
    app = as_caller("device", user="u1", device="d1")
    refused = [
        await app.put("/v1/users/u2/devices/d2", json=APNS),
        await app.put("/v1/users/u1/devices/d2", json=APNS),
        await app.get("/v1/users/u2/devices/d2"),
        await app.get("/v1/users/u1/devices/d2"),
        await app.get("/v1/users/u2/devices"),
        await app.delete("/v1/users/u2/devices/d2"),
        await app.delete("/v1/users/u1/devices/d2"),
        await app.post("/v1/devices", json={**APNS, "user_id": "u2"}),
        await app.post("/v1/devices", json={**APNS, "user_id": "u1", "device_id": "d2"}),
        await app.post("/v1/users/u2/webpush", json=SUBSCRIPTION),
        await app.post("/v1/users/u1/webpush", json={**SUBSCRIPTION, "device_id": "d2"}),
    ]
    assert [answer.status_code for answer in refused] == [404] * len(refused)
    assert len(outbox.records) == count
    listed = (await app.get("/v1/users/u1/devices")).json()["items"]
    assert [one["device_id"] for one in listed] == ["d1"]
    mine = await app.post("/v1/devices", json={**APNS, "user_id": "u1"})
    assert (mine.status_code, mine.json()["device_id"]) == (202, "d1")
    assert (await app.delete(PLACE)).status_code == 202


async def test_registrations_are_counted_and_removals_kept(as_caller: AsCaller, door: Door) -> None:
    """Apps register at each start: the audit log has sums of them."""
    trail: Any = door.audit
    client = as_caller("producer")
    await client.put(PLACE, json=APNS)
    await client.delete(PLACE)
    assert [(deed.action, count) for deed, count in trail.counted] == [
        ("PUT /v1/users/{user_id}/devices/{device_id}", 1)
    ]
    assert [deed.target for deed in trail.deeds] == ["u1/d1"]


async def test_what_kafka_does_not_take_is_503(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """No acknowledgement, no 202."""
    outbox.refuses = True
    answer = await as_caller("producer").put(PLACE, json=APNS)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_acknowledged")
