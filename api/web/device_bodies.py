"""Devices as they are said and shown: checked against the tenant's apps, tokens masked."""

from hashlib import blake2b

from pydantic import ValidationError

from api.web.problems import ProblemError, faulty
from operators.registry_words import moment_of
from schemas.decode import explain, faults
from schemas.masking import masked
from schemas.pipeline import Platform
from schemas.registry import DeviceBody, DeviceRegistration
from schemas.tenant import Tenant, WebPushApp
from schemas.user_api import DeviceView, WebPushSubscription
from sinks.webpush_endpoint import endpoint_allowed

_BROWSERS_NAMES = {"token": "endpoint", "p256dh": "keys.p256dh", "auth": "keys.auth"}
"""Our fields -> what a subscription calls them."""


def derived_id(prefix: str, app: str, token: str) -> str:
    """Give a device an id of its own, the same each time it comes with this token."""
    return f"{prefix}-{blake2b(f'{app}/{token}'.encode(), digest_size=16).hexdigest()}"


def subscription_of(tenant: Tenant, said: WebPushSubscription, now_ms: int) -> DeviceBody:
    """Give a subscription as a device. Raises ProblemError, which names the browser's fields."""
    if said.expiration_time is not None and said.expiration_time <= now_ms:
        raise _fault("expirationTime", "has passed, subscribe again")
    try:
        device = DeviceBody(
            platform=Platform.WEBPUSH,
            app=said.app,
            token=said.endpoint,
            p256dh=said.keys.p256dh,
            auth=said.keys.auth,
            locale=said.locale,
            app_version=said.app_version,
            os_version=said.os_version,
            groups=said.groups,
        )
    except ValidationError as error:
        told = []
        for one in faults(DeviceBody, error):
            field, colon, fix = one.partition(": ")
            told.append(f"{_BROWSERS_NAMES.get(field, field)}{colon}{fix}")
        raise faulty(explain(told)) from None
    _check_app(tenant, device, endpoint_is="endpoint")
    return device


def registration_of(
    tenant: Tenant, user_id: str, device_id: str, body: DeviceBody, now_ms: int
) -> DeviceRegistration:
    """Give the record of a device. now_ms: epoch ms, where it says no time.

    Raises ProblemError unless the tenant has such an app, and the endpoint is a push service's.
    """
    _check_app(tenant, body, endpoint_is="token")
    said = {name: getattr(body, name) for name in DeviceBody.model_fields}
    said["registered_at"] = body.registered_at or moment_of(now_ms)
    return DeviceRegistration.model_construct(
        tenant=tenant.name, user_id=user_id, device_id=device_id, **said
    )


def _check_app(tenant: Tenant, body: DeviceBody, *, endpoint_is: str) -> None:
    app = tenant.apps.get(body.app)
    if app is None:
        known = ", ".join(sorted(tenant.apps)) or "one that the tenant's file has"
        raise _fault("app", f"there is no {body.app!r}, use {known}")
    if app.platform != body.platform:
        raise _fault("platform", f"the app {body.app!r} is of {app.platform}, use that")
    if isinstance(app, WebPushApp) and (why := endpoint_allowed(app, body.token)) is not None:
        raise _fault(endpoint_is, f"{why}, use the endpoint that the browser gave")


def _fault(field: str, fix: str) -> ProblemError:
    return ProblemError(422, f"{field}: {fix}", errors=[(field, fix)])


def view_of(user_id: str, device_id: str, said: DeviceBody) -> DeviceView:
    """Give what may be shown of a device."""
    return DeviceView.model_construct(
        user_id=user_id,
        device_id=device_id,
        platform=said.platform,
        app=said.app,
        token=masked(said.token),
        environment=said.environment,
        locale=said.locale,
        app_version=said.app_version,
        os_version=said.os_version,
        groups=said.groups,
        registered_at=said.registered_at,
    )
