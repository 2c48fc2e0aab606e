"""Devices: where users can be reached."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth.device_tokens import issue_device_token
from api.web.answers import WaitS, answered
from api.web.device_bodies import derived_id, registration_of, subscription_of, view_of
from api.web.door import Door, door_of
from api.web.guard import may, own_device, own_user
from api.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, after, page_of
from api.web.problems import not_found
from api.web.records import put, raw_of
from api.web.routing import DoorRoute, deed_of
from api.web.said import profile_of
from operators.registry_words import device_words
from schemas import topics
from schemas.access import Principal, Scope
from schemas.fields import epoch_ms
from schemas.registry import DeviceBody, DeviceRegistration, registry_key
from schemas.stream import Record
from schemas.tenant import Tenant
from schemas.user_api import (
    DeviceId,
    DeviceView,
    NewDevice,
    RegisteredDevice,
    UserId,
    WebPushSubscription,
)
from state.profiles import Device, Profile

router = APIRouter(prefix="/v1", tags=["devices"], route_class=DoorRoute)

DEVICE = "/users/{user_id}/devices/{device_id}"
_COUNTED = {"x-audit": "sums"}
"""Apps register whenever they start: too often to keep each."""
_TAKEN: dict[int | str, dict[str, Any]] = {
    200: {"description": "Applied, as `Prefer: wait=N` asked"}
}
Reader = Annotated[Principal, may(Scope.DEVICES_READ)]
Writer = Annotated[Principal, may(Scope.DEVICES_WRITE)]


@router.put(
    DEVICE,
    status_code=202,
    response_model=RegisteredDevice,
    responses=_TAKEN,
    openapi_extra=_COUNTED,
)
async def put_device(
    request: Request,
    *,
    user_id: UserId,
    device_id: DeviceId,
    body: DeviceBody,
    wait_s: WaitS,
    caller: Writer,
) -> Response:
    """Register a device, or tell that it is still there; repeating it changes nothing.

    202 once it is on Kafka, with the credential for the app on the device; with `Prefer: wait=N`
    200 once the registry has applied it.
    """
    return await _register(
        request, caller, body, user_id=user_id, device_id=device_id, wait_s=wait_s
    )


@router.post(
    "/devices",
    status_code=202,
    response_model=RegisteredDevice,
    responses=_TAKEN,
    openapi_extra=_COUNTED,
)
async def post_device(request: Request, body: NewDevice, wait_s: WaitS, caller: Writer) -> Response:
    """Register a device that may have no id yet: it is made of app and token, the same each time.

    Keep the id and give it with the next token, or the device is there twice until the old token
    is found dead.
    """
    device_id = body.device_id or caller.device_id or derived_id("d", body.app, body.token)
    return await _register(
        request, caller, body, user_id=body.user_id, device_id=device_id, wait_s=wait_s
    )


@router.post(
    "/users/{user_id}/webpush",
    status_code=202,
    response_model=RegisteredDevice,
    responses=_TAKEN,
    openapi_extra=_COUNTED,
)
async def post_subscription(
    request: Request, user_id: UserId, body: WebPushSubscription, wait_s: WaitS, caller: Writer
) -> Response:
    """Register a browser: its PushSubscription.toJSON() as it is, and the app beside it."""
    device_id = body.device_id or caller.device_id or derived_id("wp", body.app, body.endpoint)
    door = door_of(request)
    device = subscription_of(door.tenant_of(caller), body, door.wall_ms())
    return await _register(
        request, caller, device, user_id=user_id, device_id=device_id, wait_s=wait_s
    )


async def _register(
    request: Request,
    caller: Principal,
    body: DeviceBody,
    *,
    user_id: str,
    device_id: str,
    wait_s: int,
) -> Response:
    door = door_of(request)
    tenant = door.tenant_of(caller)
    own_user(caller, user_id)
    own_device(caller, device_id)
    asked_ms = door.wall_ms()
    said = registration_of(tenant, user_id, device_id, body, asked_ms)
    key = registry_key(tenant.name, user_id, device_id)
    await put(door, [Record(topics.DEVICES, key, raw_of(said))])
    _count(request, door)
    token = issue_device_token(door.signer, tenant.name, user_id, device_id, asked_ms)
    status, headers = 202, {}
    if wait_s and await _applied(door, tenant, said, asked_ms, wait_s):
        status, headers = 200, {"Preference-Applied": f"wait={wait_s}"}
    view = RegisteredDevice.model_construct(
        **dict(view_of(user_id, device_id, said)), device_token=token
    )
    return answered(request, view, status, headers)


def _count(request: Request, door: Door) -> None:
    deed = deed_of(request, request.scope["route"].path_format, 202)
    if deed is not None:
        door.audit.count(deed, 1)


async def _applied(
    door: Door, tenant: Tenant, said: DeviceRegistration, asked_ms: int, wait_s: int
) -> bool:
    """Wait for this registration or a later one. Its time may have been cut to Kafka's."""
    since_ms = min(epoch_ms(said.registered_at), asked_ms)
    content = said.model_dump(include=DeviceBody.model_fields.keys() - {"registered_at"})

    def holds(profile: Profile | None) -> bool:
        device = _found(profile, said.device_id)
        return device is not None and (
            device.registered_at_ms > since_ms
            or device_words(device).model_dump(exclude={"registered_at"}) == content
        )

    seen = await door.applied.until(tenant, said.user_id, holds, timeout_s=wait_s)
    return seen is not None


@router.get("/users/{user_id}/devices", response_model=Page[DeviceView])
def get_devices(
    request: Request,
    user_id: UserId,
    caller: Reader,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Response:
    """Give a user's devices, as the registry has them."""
    door = door_of(request)
    tenant = door.tenant_of(caller)
    profile = profile_of(door, tenant, own_user(caller, user_id))
    if profile is None:
        raise not_found(f"user {user_id!r}")
    what = f"{tenant.name}/{user_id}/devices"
    start = after(door.signer, what, cursor, door.wall_ms())
    shown = sorted(
        (
            view_of(user_id, one.device_id, device_words(one))
            for one in profile.devices
            if one.device_id > start and caller.device_id in ("", one.device_id)
        ),
        key=lambda view: view.device_id,
    )
    page = page_of(
        shown, signer=door.signer, what=what, limit=limit, name_of=lambda view: view.device_id
    )
    return answered(request, page)


@router.get(DEVICE, response_model=DeviceView)
def get_device(request: Request, user_id: UserId, device_id: DeviceId, caller: Reader) -> Response:
    """Give a device, as the registry has it."""
    door = door_of(request)
    own_user(caller, user_id)
    own_device(caller, device_id)
    device = _found(profile_of(door, door.tenant_of(caller), user_id), device_id)
    if device is None:
        raise not_found(f"device {device_id!r} of user {user_id!r}")
    return answered(request, view_of(user_id, device_id, device_words(device)))


@router.delete(
    DEVICE,
    status_code=202,
    response_class=Response,
    responses={204: {"description": "Applied, as `Prefer: wait=N` asked"}},
)
async def delete_device(
    request: Request, user_id: UserId, device_id: DeviceId, wait_s: WaitS, caller: Writer
) -> Response:
    """Unregister a device; 202 also for one that is not there: its registration may be on its way.

    The credential of the app on the device ends with it.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller)
    own_user(caller, user_id)
    own_device(caller, device_id)
    await put(door, [Record(topics.DEVICES, registry_key(tenant.name, user_id, device_id), None)])
    if wait_s and await door.applied.until(
        tenant, user_id, lambda profile: _found(profile, device_id) is None, timeout_s=wait_s
    ):
        return answered(request, None, 204, {"Preference-Applied": f"wait={wait_s}"})
    return answered(request, None, 202)


def _found(profile: Profile | None, device_id: str) -> Device | None:
    devices = profile.devices if profile is not None else ()
    return next((one for one in devices if one.device_id == device_id), None)
