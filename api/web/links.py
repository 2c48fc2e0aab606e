"""Links for users: to unsubscribe, and to see and change what they want. No login, a signature."""

from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from api.auth.signing import MAX_SIGNED_CHARS, BadSignatureError, Purpose
from api.web import link_page
from api.web.answers import answered
from api.web.audit import note
from api.web.choices_page import changed, page_of
from api.web.door import Door, door_of
from api.web.guard import hold_to_limits, may, own_user
from api.web.openapi import PUBLIC
from api.web.problems import ProblemError, not_found
from api.web.routing import DoorRoute, read_body
from api.web.said import PREFERENCES, PROFILE, Known, Said, known_of, say
from api.web.telling import sent
from operators.registry_words import time_of
from operators.wishes import unsubscribed
from schemas.access import Principal, Scope
from schemas.masking import masked
from schemas.registry import PreferencesBody, ProfileBody
from schemas.tenant import Tenant
from schemas.user_api import (
    Links,
    LinksBody,
    PreferencePage,
    PreferencePageChange,
    Unsubscribed,
    UserId,
)

MAX_FORM_BYTES = 4_096

router = APIRouter(prefix="/v1", tags=["links"], route_class=DoorRoute)
Signed = Annotated[str, Path(max_length=MAX_SIGNED_CHARS, description="from POST .../links")]
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}}
}


class _Link(NamedTuple):
    """What a link is good for. actor: how the audit log names who followed it."""

    tenant: Tenant
    user_id: str
    category: str | None
    type: str
    actor: Principal


@router.post("/users/{user_id}/links", response_model=Links)
async def make_links(
    request: Request,
    user_id: UserId,
    body: LinksBody,
    caller: Annotated[Principal, may(Scope.PREFERENCES_WRITE)],
) -> Response:
    """Make links for one user: to unsubscribe, and to a preference page. They need no login.

    Whoever has such a link can use it until it expires: send it to the user alone.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller)
    own_user(caller, user_id)
    if body.category is not None and body.category not in tenant.categories:
        fix = f"there is no {body.category!r}, use {', '.join(sorted(tenant.categories))}"
        raise ProblemError(422, f"category: {fix}", errors=[("category", fix)])
    expires_at_ms = door.wall_ms() + body.expires_in_s * 1_000
    who = [tenant.name, user_id]
    ends = door.signer.sign(
        Purpose.UNSUBSCRIBE, [*who, body.category, body.type], expires_at_ms=expires_at_ms
    )
    shows = door.signer.sign(Purpose.PREFERENCES, who, expires_at_ms=expires_at_ms)
    base = door.settings.api.public_url or f"{request.base_url.scheme}://{request.base_url.netloc}"
    unsubscribe_url = f"{base}/v1/unsubscribe/{ends}"
    note(request, target=user_id)
    links = Links.model_construct(
        unsubscribe_url=unsubscribe_url,
        preferences_url=f"{base}/v1/preferences/{shows}",
        expires_at=time_of(expires_at_ms),
        headers={
            "List-Unsubscribe": f"<{unsubscribe_url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )
    return answered(request, links)


def _opened(door: Door, purpose: Purpose, signed: str) -> _Link:
    """Tell what a link is good for. Raises ProblemError: 404, whatever is wrong with it."""
    try:
        name, user_id, *about = door.signer.open(purpose, signed, door.wall_ms())
    except BadSignatureError:
        raise not_found("such link, or it has expired") from None
    tenant = door.tenants.get(name)
    if tenant is None:
        raise not_found("such link, or it has expired")
    category, type_ = about or (None, "")
    actor = Principal(
        tenant.name,
        "link",
        f"{purpose} {masked(signed)}",
        frozenset({Scope.PREFERENCES_READ, Scope.PREFERENCES_WRITE}),
        user_id=user_id,
    )
    return _Link(tenant, user_id, category, type_, actor)


@router.get(
    "/unsubscribe/{signed}", response_class=HTMLResponse, responses=_PAGE, openapi_extra=PUBLIC
)
async def ask_to_unsubscribe(request: Request, signed: Signed) -> Response:
    """Show a page with one button. It changes nothing: mail scanners follow links."""
    link = _opened(door_of(request), Purpose.UNSUBSCRIBE, signed)
    what = link_page.what_ends(link.category or "", link.type)
    return HTMLResponse(link_page.asking(link.tenant.name, what), headers=link_page.HEADERS)


@router.post(
    "/unsubscribe/{signed}",
    response_model=Unsubscribed,
    responses=_PAGE,
    openapi_extra=PUBLIC,
)
async def unsubscribe(request: Request, signed: Signed) -> Response:
    """Unsubscribe with one click, as mail programs do (RFC 8058), or the page's button.

    A repeat changes nothing and is answered the same. A page for browsers, JSON for others.
    """
    door = door_of(request)
    link = _opened(door, Purpose.UNSUBSCRIBE, signed)
    # Whatever form it is: the address says all, and mail programs differ in the body's type.
    await read_body(request, MAX_FORM_BYTES)
    said = await run_in_threadpool(_unsubscribe, door, link)
    if said is not None:
        request.state.principal = link.actor
        note(request, target=link.user_id, before=said.before, after=said.body)
        await sent(door, [said])
    if "text/html" in request.headers.get("accept", ""):
        what = link_page.what_ends(link.category or "", link.type)
        return HTMLResponse(link_page.done(link.tenant.name, what), headers=link_page.HEADERS)
    ended = Unsubscribed(category=link.category, type=link.type)
    return answered(request, ended, headers=link_page.PRIVATE)


def _unsubscribe(door: Door, link: _Link) -> Said[PreferencesBody] | None:
    """Change the user's wishes; None when the registry has it already."""

    def edit(known: Known[PreferencesBody]) -> PreferencesBody:
        return unsubscribed(known.body, link.category, link.type)

    known = known_of(door, link.tenant, PREFERENCES, link.user_id)
    was, now = known.body, edit(known)
    is_said = now.opt_out_all == was.opt_out_all and set(now.choices) == set(was.choices)
    # A record on its way may be one that Kafka never took: it is put once more.
    if is_said and not known.is_changing:
        return None
    return say(door, link.tenant, PREFERENCES, link.user_id, edit)


@router.get("/preferences/{signed}", response_model=PreferencePage, openapi_extra=PUBLIC)
def get_preference_page(request: Request, signed: Signed) -> Response:
    """Give what a preference page shows: the tenant's categories with the user's choices."""
    door = door_of(request)
    link = _opened(door, Purpose.PREFERENCES, signed)
    return answered(request, _page(door, link), headers=link_page.PRIVATE)


@router.put("/preferences/{signed}", response_model=PreferencePage, openapi_extra=PUBLIC)
async def put_preference_page(
    request: Request, signed: Signed, body: PreferencePageChange
) -> Response:
    """Change what the user changed on the page; what is left out stays.

    Gives the page as it is now: 200 once it is on Kafka, and messages go by it a moment later.
    """
    door = door_of(request)
    link = _opened(door, Purpose.PREFERENCES, signed)
    request.state.principal = link.actor
    note(request, target=link.user_id)
    await hold_to_limits(door, request, link.actor)
    wishes, about = await run_in_threadpool(_change, door, link, body)
    note(request, target=link.user_id, before=wishes.before, after=wishes.body)
    await sent(door, [wishes] if about is None else [wishes, about])
    page = await run_in_threadpool(_page, door, link)
    return answered(request, page, headers=link_page.PRIVATE)


def _page(door: Door, link: _Link) -> PreferencePage:
    wishes = known_of(door, link.tenant, PREFERENCES, link.user_id)
    about = known_of(door, link.tenant, PROFILE, link.user_id)
    return page_of(link.tenant, link.user_id, wishes, about)


def _change(
    door: Door, link: _Link, body: PreferencePageChange
) -> tuple[Said[PreferencesBody], Said[ProfileBody] | None]:
    where = (door, link.tenant)
    wishes = say(
        *where, PREFERENCES, link.user_id, lambda known: changed(link.tenant, known.body, body)
    )
    if "locale" not in body.model_fields_set:
        return wishes, None
    said = {"locale": body.locale}
    return wishes, say(
        *where, PROFILE, link.user_id, lambda known: known.body.model_copy(update=said)
    )
