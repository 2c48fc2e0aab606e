"""Links that count their clicks: made for producers, followed by anybody, to the tenant's hosts."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from api.auth.signing import MAX_SIGNED_CHARS, BadSignatureError, Purpose
from api.web.door import Door, door_of
from api.web.feedback import record_of
from api.web.guard import may, own_user
from api.web.items import read_item, told
from api.web.openapi import PUBLIC
from api.web.outbox import NotTakenError
from api.web.problems import ProblemBody, ProblemError, faulty, not_found
from api.web.routing import DoorRoute, deed_of
from schemas import metrics
from schemas.access import Principal, Scope
from schemas.feedback import Feedback, FeedbackKind
from schemas.links import BadLinkError, Link, LinkRequest, LinkRequests, LinkRules
from schemas.tenant import Tenant

ACK_WAIT_S = 1.0
"""Nobody waits longer for a page than this, whatever Kafka does."""
MAX_DETAIL_CHARS = 500

router = APIRouter(prefix="/v1", tags=["click links"], route_class=DoorRoute)
Signed = Annotated[str, Path(max_length=MAX_SIGNED_CHARS, description="as the link was made")]


class LinkResult(BaseModel):
    """A link that was made, or the problem with what was asked."""

    url: str | None = None
    problem: ProblemBody | None = None


class LinkResults(BaseModel):
    """The links, in the order in which they were asked for."""

    results: list[LinkResult]


@router.post("/links/clicks", openapi_extra={"x-audit": "sums"}, response_model_exclude_none=True)
def make_links(
    request: Request,
    caller: Annotated[Principal, may(Scope.EVENTS_SEND)],
    links: LinkRequests,
) -> LinkResults:
    """Make up to 1,000 links that count their clicks. Each is answered by itself, in order.

    A link leads to `url`, which must be on one of the tenant's `links.link_hosts`, and is for one
    user and message. It holds until the signing keys are changed, or the host is allowed no more.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller)
    base = door.settings.api.public_url or str(request.base_url).rstrip("/")
    results: list[LinkResult] = []
    for item in links.items:
        try:
            signed = _signed(door, tenant, caller, item)
        except ProblemError as problem:
            results.append(LinkResult(problem=told(problem)))
        else:
            results.append(LinkResult(url=f"{base}/v1/c/{signed}"))
    deed = deed_of(request, "/v1/links/clicks", 200)
    if deed is not None:
        door.audit.count(deed, sum(one.url is not None for one in results))
    return LinkResults(results=results)


def _signed(door: Door, tenant: Tenant, caller: Principal, item: object) -> str:
    """Sign one link. Raises ProblemError."""
    asked = read_item(LinkRequest, item, code="bad_link")
    own_user(caller, asked.user_id)
    try:
        url = tenant.links.target(asked.url)
    except BadLinkError as error:
        raise faulty(f"url: {error}", code="bad_link") from None
    link = Link(
        tenant.name,
        url,
        asked.message_id,
        asked.user_id,
        asked.delivery_id or "",
        asked.campaign_id or "",
    )
    signed = door.signer.sign(Purpose.CLICK, link)
    if len(signed) > MAX_SIGNED_CHARS:
        raise faulty(
            "url: makes too long a link with these ids, use a shorter one", code="bad_link"
        )
    return signed


_REDIRECT: dict[int | str, dict[str, Any]] = {302: {"description": "To where the link leads"}}


@router.get(
    "/c/{signed}",
    status_code=302,
    response_class=Response,
    responses=_REDIRECT,
    openapi_extra=PUBLIC,
)
async def follow(request: Request, signed: Signed) -> Response:
    """Follow a link: the click is reported as feedback, and the answer leads to the link's URL.

    It leads there also when the click cannot be recorded within a second. What a browser fetches
    ahead (`Sec-Purpose: prefetch`) is no click.
    """
    door = door_of(request)
    link = _opened(door, signed)
    if "prefetch" not in request.headers.get("sec-purpose", ""):
        await _record(door, link)
    return _to(link)


@router.head(
    "/c/{signed}",
    status_code=302,
    response_class=Response,
    responses=_REDIRECT,
    openapi_extra=PUBLIC,
)
async def look(request: Request, signed: Signed) -> Response:
    """Tell where a link leads, and record nothing."""
    return _to(_opened(door_of(request), signed))


def _opened(door: Door, signed: str) -> Link:
    """Give what was signed, if it may lead there still. Raises ProblemError: 404."""
    try:
        opened = door.signer.open(Purpose.CLICK, signed, door.wall_ms())
        link = msgspec.convert(opened, Link)
        tenant = door.tenants.get(link.tenant)
        rules = LinkRules() if tenant is None else tenant.links
        return msgspec.structs.replace(link, url=rules.target(link.url))
    except (BadSignatureError, BadLinkError, msgspec.ValidationError):
        raise not_found("such link, or none that still leads anywhere") from None


def _to(link: Link) -> Response:
    return Response(
        status_code=302, headers={"Location": link.url, "Cache-Control": "no-store, private"}
    )


async def _record(door: Door, link: Link) -> None:
    """Report a click; two within a second are one, as a repeated report is."""
    said = Feedback(
        tenant=link.tenant,
        message_id=link.message_id,
        delivery_id=link.delivery_id or None,
        user_id=link.user_id,
        kind=FeedbackKind.CLICKED,
        occurred_at=datetime.fromtimestamp(door.now_ms() // 1_000, UTC),
        campaign_id=link.campaign_id or None,
        detail=link.url[:MAX_DETAIL_CHARS],
    )
    try:
        async with asyncio.timeout(ACK_WAIT_S):
            await door.outbox.put([record_of(said)])
    except (NotTakenError, TimeoutError):
        metrics.API_CLICKS.labels(link.tenant, "lost").inc()
    else:
        metrics.API_CLICKS.labels(link.tenant, "recorded").inc()
