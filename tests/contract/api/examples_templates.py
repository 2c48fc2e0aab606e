"""Requests about templates."""

import httpx

from api.web.door import Door
from tests.contract.api.walk import Example

TEMPLATE = {"texts": {"en": {"title": "Hi {{ name }}"}}, "variables": {"name": "Ann"}}
WHERE = "/v1/templates/hi"
HI = {"name": "hi"}


async def a_draft(_door: Door, admin: httpx.AsyncClient) -> None:
    """Put a draft of the template hi up."""
    (await admin.put(WHERE, json=TEMPLATE)).raise_for_status()


async def two_published(_door: Door, admin: httpx.AsyncClient) -> None:
    """Publish two versions, the second of which is in use."""
    for _ in range(2):
        (await admin.put(WHERE, json=TEMPLATE)).raise_for_status()
        (await admin.post(f"{WHERE}/publish")).raise_for_status()


EXAMPLES = [
    Example("GET /v1/templates", is_about="own", prepare=a_draft),
    Example("GET /v1/templates/{name}", values=HI, prepare=a_draft),
    Example("PUT /v1/templates/{name}", is_about="own", values=HI, json=TEMPLATE),
    Example("DELETE /v1/templates/{name}", values=HI, prepare=a_draft),
    Example(
        "GET /v1/templates/{name}/versions/{version}",
        values={**HI, "version": "1"},
        prepare=a_draft,
    ),
    Example(
        "DELETE /v1/templates/{name}/versions/{version}",
        values={**HI, "version": "1"},
        prepare=two_published,
    ),
    Example("POST /v1/templates/{name}/publish", values=HI, prepare=a_draft),
    Example("POST /v1/templates/{name}/rollback", values=HI, prepare=two_published),
    Example("POST /v1/templates/{name}/lint", values=HI, prepare=a_draft),
    Example(
        "POST /v1/templates/{name}/preview",
        values=HI,
        json={"platform": "webpush"},
        prepare=a_draft,
    ),
]
