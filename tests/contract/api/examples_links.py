"""Requests by and about links."""

import httpx

from api.auth.signing import Purpose
from api.web.door import Door
from tests.contract.api.walk import Example


async def an_unsubscribe_link(door: Door, _admin: httpx.AsyncClient) -> dict[str, str]:
    """Sign one for the user u1 and the category news."""
    return {"signed": door.signer.sign(Purpose.UNSUBSCRIBE, ["acme", "u1", "news", ""])}


async def a_preferences_link(door: Door, _admin: httpx.AsyncClient) -> dict[str, str]:
    """Sign one for the user u1."""
    return {"signed": door.signer.sign(Purpose.PREFERENCES, ["acme", "u1"])}


EXAMPLES = [
    Example("POST /v1/users/{user_id}/links", is_about="own", values={"user_id": "u1"}, json={}),
    Example("GET /v1/unsubscribe/{signed}", is_about="public", prepare=an_unsubscribe_link),
    Example("POST /v1/unsubscribe/{signed}", is_about="public", prepare=an_unsubscribe_link),
    Example("GET /v1/preferences/{signed}", is_about="public", prepare=a_preferences_link),
    Example(
        "PUT /v1/preferences/{signed}",
        is_about="public",
        json={"categories": {"news": False}},
        prepare=a_preferences_link,
    ),
]
