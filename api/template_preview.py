"""A template as one user would get it on one platform, from the sinks' own builders."""

from typing import Any

from msgspec.structs import replace

from api.refusals import RefusedError
from api.segment_stores import Stores
from flows.clock import wall_ms
from operators.render import Renderer
from operators.template_sample import sample_device, sample_draft, sample_reader
from operators.templates import USER, RenderError
from schemas.apps import ApnsApp
from schemas.decode import check_json
from schemas.events import MAX_VARIABLES_BYTES
from schemas.pipeline import Delivery, Platform, Priority
from schemas.template import Template
from sinks.preview import preview
from sinks.sizes import size_of
from state.profiles import Device, Profile, RedisProfiles

DELIVERY_ID = "00000000-0000-8000-a000-000000000000"
TOKEN = "(the device's token)"  # noqa: S105 - stands for one


def previewed(
    stores: Stores,
    template: Template,
    platform: Platform,
    *,
    user: str = "",
    locale: str = "",
    variables: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Give what the platform would get. user: else a reader made up of the template's examples.

    locale: instead of the user's. variables: over the template's examples. Raises RefusedError.
    """
    profile = _reader(stores, template, user, locale)
    mine = [one for one in profile.devices if one.platform is platform]
    device = mine[0] if mine else sample_device(platform)
    if locale:
        device = replace(device, locale=locale)
    given = {name: value for name, value in template.variables.items() if name != USER}
    given |= variables or {}
    try:
        check_json(given, "variables", max_bytes=MAX_VARIABLES_BYTES)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    now_ms = wall_ms()
    draft = sample_draft(stores.tenant, template, given, now_ms=now_ms)
    renderer = Renderer(draft, size_of)
    try:
        content = renderer.content(profile, device)
    except RenderError as error:
        raise RefusedError(f"{platform}: {error}") from error
    delivery = _delivery(stores, profile, device, content, now_ms)
    made = preview(delivery, topic=_topic(stores, device), now_ms=now_ms)
    wanted = device.locale or profile.locale or stores.tenant.locale
    return {
        "platform": platform.value,
        "user": profile.user_id,
        "locale": renderer.locale_of(wanted),
        "bytes": made.size_bytes,
        "limit": made.limit_bytes,
        **({"note": note} if (note := renderer.note(content)) else {}),
        **({"problem": made.problem} if made.problem else {}),
        "headers": made.headers,
        "payload": made.payload,
    }


def _reader(stores: Stores, template: Template, user: str, locale: str) -> Profile:
    if not user:
        return sample_reader(template, locale or stores.tenant.locale)
    tenant = stores.tenant
    (found,) = RedisProfiles(stores.client).get_many(tenant.name, tenant.shards, [user])
    if found is None:
        raise RefusedError(f"user: {tenant.name} has no user {user!r}")
    return found


def _delivery(
    stores: Stores, profile: Profile, device: Device, content: bytes, now_ms: int
) -> Delivery:
    return Delivery(
        delivery_id=DELIVERY_ID,
        message_id="preview",
        tenant=stores.tenant.name,
        app=device.app,
        user_id=profile.user_id,
        device_id=device.device_id,
        platform=device.platform,
        priority=Priority.NORMAL,
        category="",
        type="",
        token=TOKEN,
        content=content,
        accepted_at_ms=now_ms,
        created_at_ms=now_ms,
        registered_at_ms=0,
    )


def _topic(stores: Stores, device: Device) -> str:
    """Give the bundle id of the device's app, or of the tenant's first Apple app."""
    apps = stores.tenant.apps
    apple = [one for one in (apps.get(device.app), *apps.values()) if isinstance(one, ApnsApp)]
    return apple[0].topic if apple else ""
