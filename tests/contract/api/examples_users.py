"""Requests about devices, users and preferences."""

from typing import Any

import httpx

from api.web.door import Door
from tests.contract.api.walk import Example

USER = {"user_id": "u1"}
DEVICE = {**USER, "device_id": "d1"}
APNS: dict[str, Any] = {"platform": "apns", "app": "ios", "token": "ab" * 32}
SUBSCRIPTION: dict[str, Any] = {
    "endpoint": "https://updates.push.services.mozilla.com/wpush/v2/gAAAAA",
    "expirationTime": None,
    "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcx"
        "aOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    },
    "app": "web",
}


async def a_user(_door: Door, admin: httpx.AsyncClient) -> None:
    """Make the user u1, with the device d1."""
    await admin.put("/v1/users/u1", json={"locale": "de"})
    await admin.put("/v1/users/u1/devices/d1", json=APNS)


EXAMPLES = [
    Example(
        "PUT /v1/users/{user_id}/devices/{device_id}", is_about="own", values=DEVICE, json=APNS
    ),
    Example("GET /v1/users/{user_id}/devices/{device_id}", values=DEVICE, prepare=a_user),
    Example("GET /v1/users/{user_id}/devices", values=USER, prepare=a_user),
    Example("DELETE /v1/users/{user_id}/devices/{device_id}", is_about="own", values=DEVICE),
    Example("POST /v1/devices", is_about="own", json={**APNS, **USER}),
    Example("POST /v1/users/{user_id}/webpush", is_about="own", values=USER, json=SUBSCRIPTION),
    Example("GET /v1/users/{user_id}", values=USER, prepare=a_user),
    Example("PUT /v1/users/{user_id}", is_about="own", values=USER, json={"locale": "de"}),
    Example("PATCH /v1/users/{user_id}", is_about="own", values=USER, json={"locale": "de"}),
    Example("DELETE /v1/users/{user_id}", is_about="own", values=USER),
    Example("POST /v1/users:batch", is_about="own", json=[{"user_id": "u1", "locale": "de"}]),
    Example("GET /v1/users/{user_id}/preferences", values=USER, prepare=a_user),
    Example(
        "PUT /v1/users/{user_id}/preferences",
        is_about="own",
        values=USER,
        json={"opted_out_categories": ["news"]},
    ),
    Example(
        "PATCH /v1/users/{user_id}/preferences",
        is_about="own",
        values=USER,
        json={"opt_out_all": True},
    ),
]
