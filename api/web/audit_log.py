"""GET /v1/audit: who did what through the API."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from api.web.door import door_of
from api.web.guard import may
from api.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, after, page_of
from api.web.problems import ProblemError
from api.web.routing import DoorRoute
from schemas.access import Principal, Scope
from schemas.fields import epoch_ms
from sinks.audit_log import AuditFilter, AuditLine, AuditLog, Place

router = APIRouter(prefix="/v1", tags=["audit"], route_class=DoorRoute)
_Text = Annotated[str, Query(max_length=512)]


class AuditItem(BaseModel):
    """An entry: one call, or the sum of many alike within a minute, whose number is `count`."""

    at: datetime
    audit_id: str
    actor_kind: str
    actor: str
    action: str
    target: str
    status: int
    address: str
    user_agent: str
    request_id: str
    before: str
    after: str
    count: int

    @classmethod
    def of(cls, line: AuditLine) -> "AuditItem":
        """Make it of a row."""
        at_ms, *others = line
        at = datetime.fromtimestamp(at_ms / 1_000, UTC)
        return cls(at=at, **dict(zip(line._fields[1:], others, strict=True)))


@router.get("/audit")
def list_audit(  # noqa: PLR0917 - the filters, as FastAPI takes them
    request: Request,
    caller: Annotated[Principal, may(Scope.AUDIT_READ)],
    since: Annotated[datetime | None, Query(alias="from", description="included")] = None,
    until: Annotated[datetime | None, Query(alias="to", description="not included")] = None,
    actor: _Text = "",
    action: Annotated[str, Query(max_length=256, description="how the action begins")] = "",
    target: _Text = "",
    status: Annotated[str, Query(pattern="^([1-5]xx)?$", description="such as 4xx")] = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Page[AuditItem]:
    """List entries of the audit log, newest first."""
    door = door_of(request)
    tenant = door.tenant_of(caller).name
    which = AuditFilter(
        _ms("from", since),
        _ms("to", until),
        actor,
        action,
        target,
        int(status[:1] or 0),
    )
    what = f"{tenant}/audit"
    place = _place(after(door.signer, what, cursor, door.wall_ms()))
    with door.clickhouse() as client:
        found = AuditLog(client).entries(tenant, which, limit=limit + 1, after=place)
    return page_of(
        [AuditItem.of(line) for line in found],
        signer=door.signer,
        what=what,
        limit=limit,
        name_of=lambda one: f"{epoch_ms(one.at)}/{one.audit_id}",
    )


def _ms(name: str, at: datetime | None) -> int:
    if at is not None and at.tzinfo is None:
        fix = "write a time with its offset, such as 2026-01-05T08:00:00Z"
        raise ProblemError(422, f"{name}: {fix}", errors=[(name, fix)])
    return max(0, epoch_ms(at))


def _place(text: str) -> Place | None:
    at_ms, _, audit_id = text.partition("/")
    return (int(at_ms), audit_id) if audit_id else None
