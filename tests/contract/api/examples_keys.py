"""Requests about API keys."""

import httpx

from api.web.door import Door
from tests.contract.api.walk import Example

KEY = {"name": "shop backend", "roles": ["producer"]}


async def a_key(_door: Door, admin: httpx.AsyncClient) -> dict[str, str]:
    """Make a key; give its id."""
    answer = await admin.post("/v1/keys", json=KEY)
    return {"key_id": answer.json()["id"]}


EXAMPLES = [
    Example("POST /v1/keys", is_about="own", json=KEY),
    Example("GET /v1/keys", is_about="own", prepare=a_key),
    Example("GET /v1/keys/{key_id}", prepare=a_key),
    Example("PATCH /v1/keys/{key_id}", json={"name": "shop"}, prepare=a_key),
    Example("POST /v1/keys/{key_id}/rotate", json={"overlap_s": 60}, prepare=a_key),
    Example("DELETE /v1/keys/{key_id}", prepare=a_key),
]
