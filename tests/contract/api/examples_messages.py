"""Requests about messages."""

import httpx

from api.web.door import Door
from tests.contract.api.clickhouse_stand import tell
from tests.contract.api.walk import Example


async def told(door: Door, _admin: httpx.AsyncClient) -> None:
    """Let a message of acme's have been sent."""
    tell(door, {"message_id": "m-told", "user_id": "u1", "trace_id": "t" * 32})


_ID = {"message_id": "m-told"}
EXAMPLES = [
    Example("GET /v1/messages/{message_id}", values=_ID, prepare=told),
    Example(
        "GET /v1/messages/{message_id}/explain", values=_ID, query={"user_id": "u1"}, prepare=told
    ),
    Example("GET /v1/messages/{message_id}/trace", values=_ID, prepare=told),
    Example("POST /v1/messages/{message_id}/cancel", is_about="own", values=_ID),
]
