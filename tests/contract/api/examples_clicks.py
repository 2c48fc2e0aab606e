"""Requests about links that count their clicks."""

import httpx

from api.auth.signing import Purpose
from api.web.door import Door
from schemas.links import Link
from tests.contract.api.walk import Example

LINK = {"url": "https://shop.example.com/sale", "message_id": "m-1", "user_id": "u1"}


async def made(door: Door, _admin: httpx.AsyncClient) -> dict[str, str]:
    """Let there be a link."""
    return {"signed": door.signer.sign(Purpose.CLICK, Link("acme", LINK["url"], "m-1", "u1"))}


EXAMPLES = [
    Example("POST /v1/links/clicks", is_about="own", json={"items": [LINK]}),
    Example("GET /v1/c/{signed}", is_about="public", prepare=made),
    Example("HEAD /v1/c/{signed}", is_about="public", prepare=made),
]
