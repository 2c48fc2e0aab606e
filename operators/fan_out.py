"""Recipients to deliveries, one per device."""

from collections.abc import Sequence

from msgspec.structs import replace

from operators.render import Renderer, SizeOf, TooLargeError, UnknownTemplateError
from operators.templates import RenderError
from operators.work import Decided, Draft, Recipient, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery


def fan_out(works: list[Work], now_ms: int, *, size_of: SizeOf | None = None) -> Decided:
    """Render and address each message; a token that two devices share is sent once.

    Fills in work.deliveries, and work.undeliverable with what could not be made. Both count only
    once the caps have answered. size_of: for templates that are to be shortened when a message is
    too large; without it they are not.
    """
    for work in works:
        tokens: set[str] = set()
        for draft, recipients in _by_variant(work):
            try:
                _address(work, Renderer(draft, size_of), recipients, tokens, now_ms)
            except UnknownTemplateError as error:
                work.undeliverable += [
                    work.decide(
                        now_ms,
                        Status.REJECTED,
                        Reason.UNKNOWN_TEMPLATE,
                        user_id=profile.user_id,
                        device_id=work.wanted(devices),
                        detail=str(error),
                    )
                    for profile, devices in recipients
                ]
        if work.deliveries:
            _mark(work)
    return works, []


def deliveries_of(works: list[Work]) -> list[Delivery]:
    """Give the deliveries of all works."""
    return [delivery for work in works for delivery in work.deliveries]


def _by_variant(work: Work) -> list[tuple[Draft, Sequence[Recipient]]]:
    """Give the recipients with the draft in whose words they get it."""
    draft = work.draft
    if not draft.variants or not work.recipients:
        return [(draft, work.recipients)] if work.recipients else []
    parts: list[tuple[Draft, list[Recipient]]] = [(each, []) for each in draft.variants]
    for recipient in work.recipients:
        parts[draft.variant_of(recipient[0].user_id)][1].append(recipient)
    return [(each, recipients) for each, recipients in parts if recipients]


def _address(
    work: Work, renderer: Renderer, recipients: Sequence[Recipient], tokens: set[str], now_ms: int
) -> None:
    draft, notice, held = renderer.draft, renderer.draft.notice, work.held
    content_of = renderer.content
    id_of = draft.ids.of
    deliveries, outs = work.deliveries, work.undeliverable
    start = len(deliveries)
    for profile, devices in recipients:
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
                        Reason.PAYLOAD_TOO_LARGE
                        if isinstance(error, TooLargeError)
                        else Reason.RENDER_ERROR,
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
    if renderer.truncates:
        made = deliveries[start:]
        deliveries[start:] = [replace(d, note=renderer.note(d.content)) for d in made]


def _mark(work: Work) -> None:
    """Note on the deliveries what few of them have."""
    draft, deliveries = work.draft, work.deliveries
    if work.bypassed:
        deliveries = [replace(d, bypassed=work.bypassed.get(d.user_id, "")) for d in deliveries]
    if draft.tenant.rates.regions:
        region_of = _regions(work)
        deliveries = [replace(d, region=region_of.get(d.user_id, "")) for d in deliveries]
    if draft.variants:
        names = [variant.name for variant in draft.notice.variants]
        deliveries = [replace(d, variant=names[draft.variant_of(d.user_id)]) for d in deliveries]
    if said := draft.notice.note:
        deliveries = [replace(d, note=f"{said}; {d.note}".rstrip("; ")) for d in deliveries]
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
