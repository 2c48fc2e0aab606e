"""Requests about segments."""

import httpx

from api.web.door import Door
from tests.contract.api.walk import Example

RULE = {"rule": {"field": "country", "value": "CH"}}
CSV = {"Content-Type": "text/csv"}


async def a_rule(_door: Door, admin: httpx.AsyncClient) -> None:
    """Define the segment swiss."""
    (await admin.put("/v1/segments/swiss", json=RULE)).raise_for_status()


async def a_list(_door: Door, admin: httpx.AsyncClient) -> None:
    """Upload the segment vip."""
    found = await admin.put("/v1/segments/vip/members", content="u1\nu2\n", headers=CSV)
    found.raise_for_status()


EXAMPLES = [
    Example("GET /v1/segments", is_about="own", prepare=a_list),
    Example("GET /v1/segments/{name}", values={"name": "swiss"}, prepare=a_rule),
    Example("PUT /v1/segments/{name}", is_about="own", values={"name": "swiss"}, json=RULE),
    Example("DELETE /v1/segments/{name}", values={"name": "swiss"}, prepare=a_rule),
    Example("POST /v1/segments/{name}/refresh", values={"name": "swiss"}, prepare=a_rule),
    Example("GET /v1/segments/{name}/members", values={"name": "vip"}, prepare=a_list),
    Example(
        "PUT /v1/segments/{name}/members",
        is_about="own",
        values={"name": "vip"},
        content=b"u1\nu2\n",
        headers=CSV,
    ),
    Example(
        "POST /v1/segments:estimate",
        is_about="own",
        json={"expression": "everyone"},
        prepare=a_list,
    ),
]
