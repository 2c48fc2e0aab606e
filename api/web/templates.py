"""Templates: written as drafts, checked, looked at, published and taken back."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from api.template_preview import previewed
from api.template_shelf import Changed, Shelf
from api.web.audit import note
from api.web.conditions import Condition, When, etag
from api.web.door import door_of
from api.web.guard import may, own_user
from api.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, after, page_of
from api.web.problems import not_found
from api.web.routing import DoorRoute
from api.web.stores import stores_of
from api.web.template_bodies import (
    LintReport,
    PreviewBody,
    TemplateChanged,
    TemplateRow,
    TemplateVersion,
    changed_of,
    findings_of,
    preview_of,
    row_of,
)
from schemas.access import Principal, Scope
from schemas.template import Template
from schemas.template_asks import LintAsk, PreviewAsk, PublishAsk, RollbackAsk

router = APIRouter(prefix="/v1", tags=["templates"], route_class=DoorRoute)

TemplateName = Annotated[str, Path(min_length=1, max_length=64, description="of the template")]
Number = Annotated[int, Path(ge=1, le=1_000_000, description="of the version")]
Reader = Annotated[Principal, may(Scope.TEMPLATES_READ)]
Writer = Annotated[Principal, may(Scope.TEMPLATES_WRITE)]
_PUBLISH, _ROLLBACK, _LINT = PublishAsk(), RollbackAsk(), LintAsk()
"""What an empty body asks: about the newest version, or the one before."""


def _shelf(request: Request, caller: Principal) -> Shelf:
    return Shelf(stores_of(door_of(request), caller))


@router.get("/templates")
def list_templates(
    request: Request, caller: Reader, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[TemplateRow]:
    """List the templates with their versions; those of the tenant's file, too."""
    door = door_of(request)
    shelf = _shelf(request, caller)
    what = f"{caller.tenant}/templates"
    last = after(door.signer, what, cursor, door.wall_ms())
    books, in_file = shelf.books(), shelf.tenant.templates
    every = sorted({*books, *in_file})
    start = bisect_right(every, last)
    found = [
        row_of(name, books.get(name), in_file.get(name, ()))
        for name in every[start : start + limit + 1]
    ]
    return page_of(found, signer=door.signer, what=what, limit=limit, name_of=lambda one: one.name)


@router.get("/templates/{name}")
def get_template(
    request: Request, response: Response, name: TemplateName, caller: Reader
) -> TemplateRow:
    """Give a template's versions and what each is: draft, published, or earlier."""
    shelf = _shelf(request, caller)
    kept, in_file = shelf.kept(name), shelf.tenant.templates.get(name, ())
    if kept is None and not in_file:
        raise not_found(f"template {name!r}")
    if kept is not None:
        response.headers["ETag"] = etag(kept.version)
    return row_of(name, None if kept is None else kept.book, in_file)


@router.put("/templates/{name}")
def put_template(
    request: Request,
    response: Response,
    *,
    name: TemplateName,
    body: Template,
    caller: Writer,
    when: When,
) -> TemplateChanged:
    """Put a draft up: over the last draft, or as a new version after a published one.

    Messages do not use it before it is published. Its own version number is not looked at.
    """
    change = _Change(request, caller, name, when, body.model_dump(mode="json"))
    return change.make(response, "draft", lambda shelf, over: shelf.put(name, body, over=over))


@router.get("/templates/{name}/versions/{version}")
def get_version(
    request: Request, name: TemplateName, version: Number, caller: Reader
) -> TemplateVersion:
    """Give a version with its texts."""
    found, state = _shelf(request, caller).version(name, version)
    return TemplateVersion(name=name, version=version, state=state, template=found)


@router.post("/templates/{name}/publish")
def publish_template(
    request: Request,
    response: Response,
    *,
    name: TemplateName,
    caller: Writer,
    when: When,
    ask: PublishAsk = _PUBLISH,
) -> TemplateChanged:
    """Check a version and put it to use: new messages have it within a second.

    Messages under way keep the version that they began with. Faults stop it (422, each with its
    place); warnings come with the answer.
    """
    return _Change(request, caller, name, when, {"publish": ask.version}).make(
        response, "published", lambda shelf, over: shelf.publish(name, ask.version, over=over)
    )


@router.post("/templates/{name}/rollback")
def rollback_template(
    request: Request,
    response: Response,
    *,
    name: TemplateName,
    caller: Writer,
    when: When,
    ask: RollbackAsk = _ROLLBACK,
) -> TemplateChanged:
    """Go back to a version that was published before."""
    return _Change(request, caller, name, when, {"rollback": ask.to}).make(
        response, "published", lambda shelf, over: shelf.rollback(name, ask.to, over=over)
    )


@router.delete("/templates/{name}", status_code=204)
def delete_template(request: Request, name: TemplateName, caller: Writer, when: When) -> Response:
    """Remove a template. Messages under way that had it end as unknown_template."""
    return _Change(request, caller, name, when).remove(request, None)


@router.delete("/templates/{name}/versions/{version}", status_code=204)
def delete_version(
    request: Request, name: TemplateName, version: Number, caller: Writer, when: When
) -> Response:
    """Remove one version that is not in use."""
    return _Change(request, caller, name, when).remove(request, version)


@router.post("/templates/{name}/lint")
def lint_template(
    request: Request, name: TemplateName, caller: Reader, ask: LintAsk = _LINT
) -> LintReport:
    """Check as publishing does: variables, sizes, personal data. Nothing is kept."""
    note(request, target=name)
    shelf = _shelf(request, caller)
    template = _chosen(shelf, name, ask)
    found = shelf.lint(template)
    return LintReport(
        name=name,
        version=template.version,
        publishable=all(one.severity != "error" for one in found),
        findings=findings_of(found),
    )


@router.post("/templates/{name}/preview")
def preview_template(
    request: Request, name: TemplateName, ask: PreviewAsk, caller: Reader
) -> PreviewBody:
    """Build the request that a user's device would get, as the sink does. Nothing is sent."""
    note(request, target=name)
    stores = stores_of(door_of(request), caller)
    template = _chosen(Shelf(stores), name, ask)
    user = own_user(caller, ask.user or caller.user_id)
    made = previewed(
        stores,
        template,
        ask.platform,
        user=user,
        locale=ask.locale or "",
        variables=ask.variables,
    )
    return preview_of(name, template.version, made)


def _chosen(shelf: Shelf, name: str, ask: LintAsk) -> Template:
    return ask.template if ask.template is not None else shelf.version(name, ask.version)[0]


class _Change:
    """A change to a template as the caller has seen it. over: its version then, None for any."""

    def __init__(
        self, request: Request, caller: Principal, name: str, when: Condition, after: Any = None
    ) -> None:
        self.shelf = _shelf(request, caller)
        self._name, self._when = name, when
        kept = self.shelf.kept(name)
        before = None if kept is None else kept.book.model_dump(mode="json")
        note(request, target=name, before=before, after=after)
        self.over = when.over(0 if kept is None else kept.version)

    def make(
        self, response: Response, state: str, change: Callable[[Shelf, int | None], Changed]
    ) -> TemplateChanged:
        """Make it, and give the template its new ETag."""
        with self._when.kept():
            changed = change(self.shelf, self.over)
        response.headers["ETag"] = etag(changed.version)
        return changed_of(self._name, changed, state)

    def remove(self, request: Request, version: int | None) -> Response:
        """Remove a version, or the whole template."""
        with self._when.kept():
            self.shelf.remove(self._name, version, over=self.over)
        return Response(status_code=204, headers=request.state.limit_headers)
