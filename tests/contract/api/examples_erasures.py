"""Requests about erasures and exports."""

from typing import Any

import httpx

from api.web.door import Door
from tests.contract.api.clickhouse_stand import tell
from tests.contract.api.walk import Example

RECEIPT: dict[str, Any] = {
    "erasure_id": "er-0", "tenant": "acme", "user_hash": "", "state": "requested",
    "requested_at": "2026-11-30T00:53:20Z", "signature": "x",
}  # fmt: skip


async def asked(_door: Door, admin: httpx.AsyncClient) -> dict[str, str]:
    """Ask for an erasure."""
    answer = await admin.post("/v1/users/u1/erase")
    return {"erasure_id": answer.json()["erasure_id"]}


async def known(door: Door, _admin: httpx.AsyncClient) -> None:
    """Have an outcome about the user."""
    tell(door, {"message_id": "m-1", "user_id": "u1"})


EXAMPLES = [
    Example("GET /v1/users/{user_id}/export", values={"user_id": "u1"}, prepare=known),
    Example("POST /v1/users/{user_id}/erase", is_about="own", values={"user_id": "u1"}),
    Example("GET /v1/erasures/{erasure_id}", prepare=asked),
    Example("POST /v1/erasures/check", is_about="own", json={"receipt": RECEIPT}),
]
