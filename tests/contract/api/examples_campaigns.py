"""Requests about campaigns."""

import httpx

from api.web.door import Door
from tests.contract.api.walk import Example

CAMPAIGN = {
    "message": {
        "type": "promo",
        "category": "news",
        "audience": {"everyone": True},
        "content": {"title": "Sale"},
    }
}
WHERE = "/v1/campaigns/spring"
SPRING = {"campaign_id": "spring"}


async def defined(_door: Door, admin: httpx.AsyncClient) -> None:
    """Define the campaign spring."""
    (await admin.put(WHERE, json=CAMPAIGN)).raise_for_status()


async def started(door: Door, admin: httpx.AsyncClient) -> None:
    """Define and start it."""
    await defined(door, admin)
    (await admin.post(f"{WHERE}/start")).raise_for_status()


async def paused(door: Door, admin: httpx.AsyncClient) -> None:
    """Define, start and pause it."""
    await started(door, admin)
    (await admin.post(f"{WHERE}/pause")).raise_for_status()


EXAMPLES = [
    Example("GET /v1/campaigns", is_about="own", prepare=defined),
    Example("PUT /v1/campaigns/{campaign_id}", is_about="own", values=SPRING, json=CAMPAIGN),
    Example("GET /v1/campaigns/{campaign_id}", values=SPRING, prepare=started),
    Example("DELETE /v1/campaigns/{campaign_id}", values=SPRING, prepare=defined),
    Example("POST /v1/campaigns/{campaign_id}/estimate", values=SPRING, prepare=defined),
    Example(
        "POST /v1/campaigns/{campaign_id}/test-send",
        values=SPRING,
        json={"users": ["u1"]},
        prepare=defined,
    ),
    Example("POST /v1/campaigns/{campaign_id}/start", values=SPRING, prepare=defined),
    Example("POST /v1/campaigns/{campaign_id}/pause", values=SPRING, prepare=started),
    Example("POST /v1/campaigns/{campaign_id}/resume", values=SPRING, prepare=paused),
    Example("POST /v1/campaigns/{campaign_id}/cancel", values=SPRING, prepare=started),
]
