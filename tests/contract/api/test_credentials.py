"""The apps' credentials: written through the API, never read back."""

import json
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.credentials import CredentialShelf
from api.publishing import DefinitionWriter
from api.web.app import create_app
from api.web.door import Door
from schemas.credentials import SealedCredential
from schemas.definitions import Kind
from schemas.topics import DEFINITIONS
from sinks.sealing import KeyRing
from tests.contract.api.door_stand import (
    NOW_MS,
    SECRET,
    TENANTS,
    AppliedOutbox,
    AsCaller,
    MemoryTrail,
)
from tests.contract.api.examples_credentials import new_p8

PATH = "/v1/credentials/ipad"


async def test_a_secret_is_sealed_and_never_shown(
    as_caller: AsCaller, outbox: AppliedOutbox, door: Door
) -> None:
    """Not in the answer, on Kafka, in Redis or in the audit log; but it opens for its app."""
    secret = new_p8()
    body = secret.splitlines()[1]
    put = await as_caller("admin").put(PATH, json={"secret": secret})
    assert put.status_code == 200, put.text
    listed = await as_caller("operator").get("/v1/credentials")
    records = b"".join(one.value or b"" for one in outbox.of(DEFINITIONS))
    stored = door.definitions.get(Kind.CREDENTIAL, "acme", "ipad")
    assert stored is not None
    assert isinstance(door.audit, MemoryTrail)
    for place in (
        put.text,
        listed.text,
        records.decode(),
        stored.body.decode(),
        str(door.audit.deeds),
    ):
        assert body not in place
    sealed = SealedCredential.model_validate_json(stored.body)
    opened = KeyRing([SECRET]).open(sealed.envelope, tenant="acme", app="ipad")
    assert opened.decode() == secret


async def test_the_list_says_where_each_secret_is(as_caller: AsCaller) -> None:
    """Of sealed ones also whether, when and by whom they were set; the others are the flows'."""
    admin = as_caller("admin")
    before = {one["app"]: one for one in (await admin.get("/v1/credentials")).json()["items"]}
    assert before["ios"]["source"] == "env"
    assert before["ios"]["is_set"] is None
    assert before["ipad"]["source"] == "sealed"
    assert before["ipad"]["is_set"] is False
    shown = (await admin.put(PATH, json={"secret": new_p8()})).json()
    assert shown == (await admin.get(PATH)).json()
    assert shown["is_set"] is True
    assert shown["version"] == 1
    assert shown["fingerprint"].startswith("SHA256:")
    assert shown["set_by"] == "key:k-admin"


async def test_the_fingerprint_is_the_key_s(as_caller: AsCaller) -> None:
    """The same key has the same one, another key another."""
    admin, secret = as_caller("admin"), new_p8()
    found = [
        (await admin.put(PATH, json={"secret": one})).json()["fingerprint"]
        for one in (secret, new_p8(), secret)
    ]
    assert found[0] == found[2] != found[1]


def wrong_curve() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("secret", "fix"),
    [
        ("geheim-geheim", "use the .p8 file"),
        (wrong_curve(), "is not a P-256 key"),
        ("", "at least 1"),
        ("x" * 70_000, "at most 65536"),
    ],
)
async def test_a_bad_secret_is_told_and_not_repeated(
    as_caller: AsCaller, secret: str, fix: str
) -> None:
    """422 with the field and the fix; nothing is stored."""
    admin = as_caller("admin")
    answer = await admin.put(PATH, json={"secret": secret})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "secret"
    assert fix in answer.text
    assert not secret or secret not in answer.text
    assert (await admin.get(PATH)).json()["is_set"] is False


async def test_only_a_sealed_app_is_set_here(as_caller: AsCaller) -> None:
    """409 for a secret that comes from elsewhere, 404 for an app that there is not."""
    admin = as_caller("admin")
    elsewhere = await admin.put("/v1/credentials/ios", json={"secret": new_p8()})
    assert elsewhere.status_code == 409
    assert "{sealed: true}" in elsewhere.json()["detail"]
    assert (await admin.put("/v1/credentials/none", json={"secret": new_p8()})).status_code == 404
    assert (await admin.get("/v1/credentials/none")).status_code == 404
    assert (await admin.delete(PATH)).status_code == 404


async def test_without_a_master_key_nothing_is_stored(door: Door) -> None:
    """409 that says why."""
    app = create_app(replace(door, seals=None))
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": "Bearer test:acme:admin"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        answer = await client.put(PATH, json={"secret": new_p8()})
    assert answer.status_code == 409
    assert "master key" in answer.json()["detail"]


async def test_removed_is_gone(as_caller: AsCaller) -> None:
    """And may be set anew."""
    admin = as_caller("admin")
    await admin.put(PATH, json={"secret": new_p8()})
    assert (await admin.delete(PATH)).status_code == 204
    assert (await admin.get(PATH)).json()["is_set"] is False
    assert (await admin.put(PATH, json={"secret": new_p8()})).status_code == 200


async def test_who_may_read_and_who_may_write(as_caller: AsCaller) -> None:
    """Operators see, admins change, others neither."""
    assert (await as_caller("operator").get(PATH)).status_code == 200
    assert (await as_caller("operator").put(PATH, json={"secret": new_p8()})).status_code == 403
    assert (await as_caller("analyst").get(PATH)).status_code == 403


async def test_the_audit_log_has_fingerprints(as_caller: AsCaller, door: Door) -> None:
    """What was there and what is, as digests; about the app."""
    await as_caller("admin").put(PATH, json={"secret": new_p8()})
    assert isinstance(door.audit, MemoryTrail)
    deed = door.audit.deeds[-1]
    assert (deed.action, deed.target) == ("PUT /v1/credentials/{app}", "ipad")
    assert deed.after
    assert not deed.before


def test_a_service_account_may_not_send_us_elsewhere(door: Door) -> None:
    """Clarion posts to token_uri: an API caller must not choose another server than Google's."""
    key = rsa.generate_private_key(65_537, 2_048)
    account = {
        "client_email": "a@b",
        "private_key": key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    app = {"platform": "fcm", "project_id": "my-app", "service_account": {"sealed": True}}
    tenant = TENANTS["acme"].model_validate(
        {**TENANTS["acme"].model_dump(exclude_unset=True), "apps": {"droid": app}}
    )
    shelf = shelf_of(door, tenant, KeyRing([SECRET]))
    assert shelf.put("droid", json.dumps(account), "me").is_set
    for uri in (
        "https://169.254.169.254/x",
        "http://oauth2.googleapis.com/token",
        "https://evil/x",
    ):
        with pytest.raises(ValueError, match="token_uri"):
            shelf.put("droid", json.dumps({**account, "token_uri": uri}), "me")


def shelf_of(door: Door, tenant: object, ring: KeyRing) -> CredentialShelf:
    return CredentialShelf(
        tenant,  # type: ignore[arg-type]
        definitions=door.definitions,
        writer=lambda: DefinitionWriter(door.publisher(), door.definitions),
        ring=ring,
        fcm_url="https://fcm.googleapis.com",
        now_ms=lambda: NOW_MS,
    )


async def test_a_new_master_key_wraps_all_anew(as_caller: AsCaller, door: Door) -> None:
    """Once; then the old key is needed no more, and the secret is the same."""
    secret, new = new_p8(), bytes(range(32))
    await as_caller("admin").put(PATH, json={"secret": secret})
    shelf = shelf_of(door, TENANTS["acme"], KeyRing([new, SECRET]))
    assert [one.fault for one in shelf.rewrap()] == [""]
    assert list(shelf.rewrap()) == []
    stored = door.definitions.get(Kind.CREDENTIAL, "acme", "ipad")
    assert stored is not None
    envelope = SealedCredential.model_validate_json(stored.body).envelope
    assert KeyRing([new]).open(envelope, tenant="acme", app="ipad").decode() == secret
    faults = [one.fault for one in shelf_of(door, TENANTS["acme"], KeyRing([SECRET])).rewrap()]
    assert "is not here" in faults[0]
