"""VAPID public keys, wherever the private key lies."""

from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from api.web.app import create_app
from api.web.door import Door
from flows.config import SecretReader
from schemas.tenant import Tenant
from tests.contract.api.door_stand import TENANTS, AsCaller

ROUTE = "/v1/apps/web/vapid-public-key"
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def with_key(door: Door, secret: dict[str, Any], **more: Any) -> httpx.AsyncClient:
    """Give a client of a door whose tenant acme has the web app's key there."""
    said = TENANTS["acme"].model_dump(mode="json", exclude_defaults=True)
    said["apps"]["web"]["private_key"] = secret
    changed = replace(door, tenants={"acme": Tenant.model_validate(said)}, **more)
    transport = httpx.ASGITransport(create_app(changed))
    headers = {"Authorization": "Bearer test:acme:admin"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


def decoded(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["public_key"]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_the_key_of_a_file_or_a_variable_is_given(door: Door, tmp_path: Path) -> None:
    """As browsers take it: the uncompressed point, base64url without padding."""
    (tmp_path / "key.pem").write_text(PEM)
    of_file = await with_key(door, {"file": str(tmp_path / "key.pem")}).get(ROUTE)
    reader = SecretReader(environ={"WEB": PEM})
    of_variable = await with_key(door, {"env": "WEB"}, secrets=reader).get(ROUTE)
    assert decoded(of_file) == decoded(of_variable) == POINT
    assert "=" not in of_file.json()["public_key"]
    assert of_file.headers["cache-control"] == "private, max-age=60"


async def test_the_key_that_was_set_through_the_api_is_given(door: Door) -> None:
    """Sealed, and opened with the master key."""
    client = with_key(door, {"sealed": True})
    answer = await client.put("/v1/credentials/web", json={"secret": PEM})
    assert answer.status_code < 300, answer.text
    assert decoded(await client.get(ROUTE)) == POINT


@pytest.mark.parametrize("secret", [{"env": "NONE"}, {"file": "/none"}, {"sealed": True}])
async def test_a_key_that_cannot_be_read_is_503(door: Door, secret: dict[str, Any]) -> None:
    """What is wrong with it is not told."""
    answer = await with_key(door, secret, secrets=SecretReader(environ={})).get(ROUTE)
    assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable")
    assert "NONE" not in answer.text
    assert "/none" not in answer.text


async def test_other_apps_have_no_such_key(as_caller: AsCaller) -> None:
    """404 for an app of another platform, and for one that is not there."""
    client = as_caller("device", user="u1", device="d1")
    for app in ("ios", "none"):
        assert (await client.get(f"/v1/apps/{app}/vapid-public-key")).status_code == 404
