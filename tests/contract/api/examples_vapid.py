"""Requests about VAPID keys."""

import os

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.web.door import Door
from tests.contract.api.walk import Example


async def a_key(_door: Door, _admin: httpx.AsyncClient) -> None:
    """Put a key where the tenants' web apps look for it."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    os.environ.setdefault("WEB_KEY", pem.decode())


EXAMPLES = [
    Example(
        "GET /v1/apps/{app}/vapid-public-key",
        is_about="own",
        values={"app": "web"},
        prepare=a_key,
    ),
]
