"""Recipients to deliveries, one per device."""

import msgspec

from operators.render import Renderer, UnknownTemplateError
from operators.templates import RenderError
from operators.work import Decided, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery


def fan_out(works: list[Work], now_ms: int) -> Decided:
    """Render and address each message; a token that two devices share is sent once.

    Fills in work.deliveries, and work.undeliverable with what could not be made. Both count only
    once the caps have answered.
    """
    for work in works:
        if not work.recipients:
            continue
        try:
            _address(work, now_ms)
        except UnknownTemplateError as error:
            work.undeliverable = [
                work.decide(
                    now_ms,
                    Status.REJECTED,
                    Reason.UNKNOWN_TEMPLATE,
                    user_id=profile.user_id,
                    device_id=work.wanted(devices),
                    detail=str(error),
                )
                for profile, devices in work.recipients
            ]
    return works, []


def deliveries_of(works: list[Work]) -> list[Delivery]:
    """Give the deliveries of all works."""
    return [delivery for work in works for delivery in work.deliveries]


def _address(work: Work, now_ms: int) -> None:
    draft, notice, held = work.draft, work.draft.notice, work.held
    content_of = Renderer(draft).content
    id_of = draft.ids.of
    deliveries, outs = work.deliveries, work.undeliverable
    tokens: set[str] = set()
    for profile, devices in work.recipients:
        user_id = profile.user_id
        for device in devices:
            if device.token in tokens:
                outs.append(
                    work.decide(
                        now_ms,
                        Status.SUPPRESSED,
                        Reason.DUPLICATE_TOKEN,
                        user_id=user_id,
                        device_id=device.device_id,
                    )
                )
                continue
            try:
                content = content_of(profile, device)
            except RenderError as error:
                outs.append(
                    work.decide(
                        now_ms,
                        Status.REJECTED,
                        Reason.RENDER_ERROR,
                        user_id=user_id,
                        device_id=device.device_id,
                        detail=str(error),
                    )
                )
                continue
            tokens.add(device.token)
            # Positional, in the order of the struct: this line runs once per push.
            deliveries.append(
                Delivery(
                    id_of(user_id, device.device_id), notice.message_id, notice.tenant, device.app,
                    user_id, device.device_id, device.platform, notice.priority, notice.category,
                    notice.type, device.token, content, notice.accepted_at_ms,
                    notice.created_at_ms, device.registered_at_ms, notice.expires_at_ms,
                    notice.collapse_key, notice.campaign_id, device.p256dh, device.auth,
                    device.environment, 1, held, notice.traceparent, notice.sandbox,
                )
            )  # fmt: skip
    if work.bypassed:
        deliveries = [
            msgspec.structs.replace(d, bypassed=work.bypassed.get(d.user_id, ""))
            for d in deliveries
        ]
    if draft.tenant.rates.regions:
        region_of = _regions(work)
        deliveries = [
            msgspec.structs.replace(d, region=region_of.get(d.user_id, "")) for d in deliveries
        ]
    work.deliveries = deliveries


def _regions(work: Work) -> dict[str, str]:
    """Give the tenant's region of each recipient whose country one lists."""
    regions = work.draft.tenant.rates.regions
    by_country = {c: name for name, region in regions.items() for c in region.countries}
    return {
        profile.user_id: by_country[profile.country]
        for profile, _ in work.recipients
        if profile.country in by_country
    }
