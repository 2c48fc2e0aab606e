"""Requests about the apps' credentials."""

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.web.door import Door
from tests.contract.api.walk import Example


def new_p8() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def is_set(_door: Door, admin: httpx.AsyncClient) -> None:
    """Set the credential of the app whose secret is sealed."""
    answer = await admin.put("/v1/credentials/ipad", json={"secret": new_p8()})
    assert answer.status_code == 200, answer.text


EXAMPLES = [
    Example("GET /v1/credentials", is_about="own"),
    Example("GET /v1/credentials/{app}", is_about="own", values={"app": "ipad"}),
    Example(
        "PUT /v1/credentials/{app}",
        is_about="own",
        values={"app": "ipad"},
        json={"secret": new_p8()},
    ),
    Example("DELETE /v1/credentials/{app}", values={"app": "ipad"}, prepare=is_set),
]
