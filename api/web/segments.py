"""Segments: defined, uploaded, looked at and counted."""

from bisect import bisect_right
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from api.segment_define import ask_refresh, built, define
from api.segment_stores import Stores, no_segment
from api.segment_upload import take_down
from api.segment_view import details, names, rows
from api.web.answers import WaitS
from api.web.asking import asking
from api.web.audit import note
from api.web.conditions import When, etag
from api.web.door import Door, door_of
from api.web.guard import may
from api.web.paging import DEFAULT_LIMIT, CostlyLimit, Cursor, Limit, Page, after, page_of
from api.web.routing import DoorRoute
from api.web.segment_bodies import (
    SegmentDefined,
    SegmentDetails,
    SegmentEstimate,
    SegmentRow,
    defined_of,
    row_of,
)
from api.web.stores import stores_of
from api.web.waits import eventually
from schemas.access import Principal, Scope
from schemas.definitions import Kind
from schemas.segment_asks import EstimateAsk
from schemas.segment_definition import SegmentBody
from sinks.clickhouse_errors import is_passing
from sinks.clickhouse_queries import RefusedQueryError, TenantQueries

router = APIRouter(prefix="/v1", tags=["segments"], route_class=DoorRoute)

SegmentName = Annotated[str, Path(min_length=1, max_length=64, description="of the segment")]
Reader = Annotated[Principal, may(Scope.SEGMENTS_READ)]
Writer = Annotated[Principal, may(Scope.SEGMENTS_WRITE)]
_LATER: dict[int | str, dict[str, Any]] = {
    202: {"model": SegmentDefined, "description": "Kafka has it; the registry builds it yet"},
    412: {"description": "It is not what If-Match or If-None-Match say"},
}


@router.get("/segments")
def list_segments(
    request: Request, caller: Reader, limit: CostlyLimit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[SegmentRow]:
    """List the segments by name: what they are made of, how many are in them, since when."""
    door = door_of(request)
    stores = stores_of(door, caller)
    what = f"{caller.tenant}/segments"
    last = after(door.signer, what, cursor, door.wall_ms())
    every = names(stores)
    start = bisect_right(every, last)
    found = [row_of(row) for row in rows(stores, every[start : start + limit + 1])]
    return page_of(found, signer=door.signer, what=what, limit=limit, name_of=lambda one: one.name)


@router.get("/segments/{name}")
def get_segment(
    request: Request, response: Response, name: SegmentName, caller: Reader
) -> SegmentDetails:
    """Give all that is known about a segment: its definition, its members, its last build."""
    found = details(stores_of(door_of(request), caller), name)
    raw = found.pop("definition", None)
    definition = None if raw is None else msgspec.json.decode(raw)
    answer = SegmentDetails(**found, definition=definition)
    version = answer.version or answer.generation
    if version:
        response.headers["ETag"] = etag(version)
    return answer


@router.put("/segments/{name}", responses=_LATER)
async def put_segment(
    request: Request,
    response: Response,
    *,
    name: SegmentName,
    body: SegmentBody,
    caller: Writer,
    when: When,
    wait_s: WaitS = 0,
) -> SegmentDefined:
    """Define a segment by a rule, a behaviour or SQL, or define it anew.

    The registry builds it: 200 once it is built, 202 when that takes longer than asked to wait.
    """
    door = door_of(request)
    stores = stores_of(door, caller)

    def write() -> int:
        known = stores.definitions.get(Kind.SEGMENT, caller.tenant, name)
        note(
            request,
            target=name,
            before=None if known is None else known.body,
            after=body.model_dump(mode="json"),
        )
        over = when.over(0 if known is None else known.version)
        with when.kept():
            return define(stores, name, body, check=lambda sql: check_query(door, sql), over=over)

    version = await run_in_threadpool(write)
    response.headers["ETag"] = etag(version)
    return await _built(response, stores, name, version, wait_s)


def check_query(door: Door, sql: str) -> None:
    """Look at a query. Raises RefusedQueryError, ProblemError: 503 without ClickHouse."""
    with asking(door) as client:
        try:
            TenantQueries(client_factory=lambda: client).check(sql)
        except RefusedQueryError as error:
            if isinstance(error.__cause__, Exception) and is_passing(error.__cause__):
                raise error.__cause__ from None
            raise


@router.post("/segments/{name}/refresh", responses=_LATER)
async def refresh_segment(
    request: Request, response: Response, name: SegmentName, caller: Writer, wait_s: WaitS = 0
) -> SegmentDefined:
    """Let the registry build a rule or query now. A build that is under way counts as this one."""
    stores = stores_of(door_of(request), caller)
    note(request, target=name)
    version = await run_in_threadpool(ask_refresh, stores, name)
    return await _built(response, stores, name, version, wait_s)


async def _built(
    response: Response, stores: Stores, name: str, version: int, wait_s: float
) -> SegmentDefined:
    def is_built() -> bool:
        return built(stores, name, version) is not None

    if not await eventually(is_built, wait_s=wait_s):
        response.status_code = 202
        return defined_of(name, version, None, None)
    found = await run_in_threadpool(built, stores, name, version)
    members = await run_in_threadpool(stores.count, name)
    return defined_of(name, version, found, members)


@router.delete(
    "/segments/{name}",
    status_code=204,
    responses={202: {"description": "Kafka has it; the registry removes it yet"}},
)
async def delete_segment(
    request: Request, name: SegmentName, caller: Writer, when: When, wait_s: WaitS = 0
) -> Response:
    """Remove an uploaded list, a rule or a query, and its members."""
    stores = stores_of(door_of(request), caller)

    def remove() -> Any:
        counting, defined, _ = stores.what_is(name)
        before = defined.body if defined is not None else getattr(counting, "generation", None)
        note(request, target=name, before=before)
        with when.kept():
            over = when.over(0 if defined is None else defined.version)
            return take_down(stores, name, over=over)

    gone = await eventually(await run_in_threadpool(remove), wait_s=wait_s)
    headers = request.state.limit_headers
    return Response(status_code=204 if gone else 202, headers=headers)


@router.get("/segments/{name}/members")
def list_members(
    request: Request,
    name: SegmentName,
    caller: Reader,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Page[str]:
    """List the ids of a segment's members, shard by shard."""
    door = door_of(request)
    stores = stores_of(door, caller)
    tenant, shards = stores.tenant.name, stores.tenant.shards
    if not stores.segments.exists(tenant, [name]):
        raise no_segment(name)
    what = f"{tenant}/segments/{name}/members"
    shard_text, _, last = after(door.signer, what, cursor, door.wall_ms()).partition(":")
    first = int(shard_text or 0)
    found: list[tuple[int, str]] = []
    for shard in range(first, shards):
        users = stores.segments.members(tenant, shard, name)
        start = bisect_right(users, last) if shard == first else 0
        found += [(shard, user) for user in users[start : start + limit + 1 - len(found)]]
        if len(found) > limit:
            break
    page = page_of(
        found, signer=door.signer, what=what, limit=limit, name_of=lambda one: f"{one[0]}:{one[1]}"
    )
    return Page(items=[user for _, user in page.items], next_cursor=page.next_cursor)


@router.post("/segments:estimate")
def estimate_segments(request: Request, ask: EstimateAsk, caller: Reader) -> SegmentEstimate:
    """Count the users whom an expression over segments means, exactly."""
    stores = stores_of(door_of(request), caller)
    note(request, target=ask.expression)
    tree = stores.parsed(ask.expression)
    users = stores.segments.count(stores.tenant.name, stores.tenant.shards, tree)
    return SegmentEstimate(expression=ask.expression, users=users)
