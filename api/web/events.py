"""POST /v1/events: one event, or many, each answered by itself once Kafka has it."""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from fastapi import APIRouter, Request
from prometheus_client import Counter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.web.audit import Deed, address_of
from api.web.door import Door, door_of
from api.web.dry_run import ReachBody, is_dry_run, rehearse
from api.web.guard import admit, spend
from api.web.ids import random_id
from api.web.outbox import NotTakenError
from api.web.permits import check_sendable
from api.web.problems import ProblemError, document, faulty, not_found
from api.web.routing import DoorRoute, read_body
from schemas import metrics
from schemas.access import Principal, Scope
from schemas.events import MAX_EVENT_BYTES, BadEventError, Event, decode_event
from schemas.stream import Record
from schemas.tenant import Tenant
from schemas.topics import EVENTS

MAX_ITEMS = 10_000
MAX_BATCH_BYTES = 33_554_432
AT_ONCE = 500
"""Items that are worked without a look at other requests."""
MAX_KEY_CHARS = 200
JSON = "application/json"
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

router = APIRouter(prefix="/v1", tags=["events"], route_class=DoorRoute)
_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Head(msgspec.Struct):
    """Which of the fields that the API fills in are there."""

    tenant: Any = None
    id: Any = None
    idempotency_key: Any = None


_head = msgspec.json.Decoder(_Head).decode


class Sender(NamedTuple):
    """For whom events are taken. key: of the request's Idempotency-Key, or empty."""

    principal: Principal
    tenant: Tenant
    key: str


class _RefusedError(Exception):
    """An item is not taken; the problem is its answer."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def completed(raw: bytes, sender: Sender, index: int | None) -> bytes:
    """Fill in what a request may leave out: tenant, id and idempotency key, at the front.

    An id made from the idempotency key is the same for a repeat, so that its answer is too.
    """
    try:
        head = _head(raw)
    except (msgspec.DecodeError, RecursionError):
        return raw  # the decoder says what is wrong with it
    added: dict[str, str] = {}
    if head.tenant is None:
        added["tenant"] = sender.tenant.name
    key = head.idempotency_key
    if key is None and sender.key:
        key = sender.key if index is None else f"{sender.key}/{index}"
        added["idempotency_key"] = key
    if head.id is None:
        added["id"] = (
            _id_of(sender.tenant.name, key) if isinstance(key, str) and key else random_id()
        )
    if not added:
        return raw
    rest = raw.lstrip()[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return _encode(added)[:-1] + comma + rest


def _id_of(tenant: str, key: str) -> str:
    return f"k-{blake2b(f'{tenant}/{key}'.encode(), digest_size=16).hexdigest()}"


def checked(raw: bytes, sender: Sender, index: int | None = None) -> tuple[Event, Record]:
    """Give the event and its record. Raises _RefusedError."""
    if len(raw) > MAX_EVENT_BYTES:
        detail = f"an event has at most {MAX_EVENT_BYTES} bytes"
        raise _RefusedError(ProblemError(413, detail, code="too_large"))
    whole = completed(raw, sender, index)
    try:
        event = decode_event(whole)
    except BadEventError as error:
        raise _RefusedError(faulty(str(error), code="bad_event")) from None
    _permit(event, sender)
    return event, Record(EVENTS[event.priority], event.id.encode(), whole)


def _permit(event: Event, sender: Sender) -> None:
    """Refuse what the caller may not send. Raises _RefusedError."""
    principal, tenant = sender.principal, sender.tenant
    if event.tenant != tenant.name:
        raise _RefusedError(not_found(f"tenant {event.tenant!r}"))
    if event.category not in tenant.categories:
        known = ", ".join(sorted(tenant.categories))
        fix = f"there is no {event.category!r}, use {known}"
        raise _RefusedError(faulty(f"category: {fix}", code="unknown_category"))
    try:
        check_sendable(principal, event.category, event.priority)
    except ProblemError as problem:
        raise _RefusedError(problem) from None


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/Event"},
                        {
                            "type": "array",
                            "items": {"$ref": "#/components/schemas/Event"},
                            "maxItems": MAX_ITEMS,
                        },
                    ]
                }
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
    "parameters": [
        {
            "name": "dry_run",
            "in": "query",
            "description": "tell whom the event would reach, and send nothing",
            "schema": {"type": "boolean", "default": False},
        }
    ],
    "x-audit": "sums",
}
_DRY: dict[int | str, dict[str, Any]] = {
    200: {"model": ReachBody, "description": "Of a dry run: whom the event would reach"}
}


@router.post("/events", status_code=202, responses=_DRY, openapi_extra=_BODY)
async def post_events(request: Request) -> Response:
    """Take one event (a JSON object), or up to 10,000 (a JSON array, or NDJSON).

    202 once Kafka has acknowledged: `{"id": ...}` for one; for many, `{"accepted", "rejected",
    "results"}` with one result for each, in order: its id, or its problem. A batch is answered with
    202 also when some, or all, of its items are rejected. `?dry_run=true` takes one event and tells
    whom it would reach, sending nothing.
    """
    door = door_of(request)
    principal = await admit(door, request, Scope.EVENTS_SEND)
    sender = Sender(principal, door.tenant_of(principal), _key(request))
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    raw = await read_body(request, MAX_BATCH_BYTES)
    is_array = raw[:64].lstrip()[:1] == b"["
    if is_dry_run(request):
        if kind in NDJSON or is_array:
            raise ProblemError(422, "dry_run: takes one event, send a JSON object")
        return await _rehearsed(door, request, sender, raw)
    if kind in NDJSON:
        return await _many(door, request, sender, _lines(raw))
    if kind != JSON and not kind.endswith("+json"):
        raise ProblemError(415, f"send {JSON} or application/x-ndjson")
    if is_array:
        return await _many(door, request, sender, _array(raw))
    return await _one(door, request, sender, raw)


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if len(key) > MAX_KEY_CHARS or not all("!" <= one <= "~" for one in key):
        fix = f"use at most {MAX_KEY_CHARS} visible ASCII characters"
        raise ProblemError(400, f"Idempotency-Key: {fix}", errors=[("Idempotency-Key", fix)])
    return key


async def _rehearsed(door: Door, request: Request, sender: Sender, raw: bytes) -> Response:
    try:
        event, _ = checked(raw, sender)
    except _RefusedError as refused:
        raise refused.problem from None
    found = await run_in_threadpool(rehearse, door, event)
    return Response(found.model_dump_json(), 200, request.state.limit_headers, media_type=JSON)


async def _one(door: Door, request: Request, sender: Sender, raw: bytes) -> Response:
    try:
        event, record = checked(raw, sender)
    except _RefusedError as refused:
        _counter(sender.tenant.name, "rejected").inc()
        raise refused.problem from None
    await spend(door, request, sender.principal, 1)
    try:
        await door.outbox.put([record])
    except NotTakenError as error:
        raise _not_taken(error) from None
    _count(door, request, sender, taken=1, rejected=0)
    return Response(
        b'{"id":%b}' % _encode(event.id), 202, request.state.limit_headers, media_type=JSON
    )


def _not_taken(error: NotTakenError) -> ProblemError:
    return ProblemError(
        503,
        f"Kafka did not acknowledge it: {error}; repeat it with the same id or Idempotency-Key",
        code="not_acknowledged",
        headers={"Retry-After": "1"},
    )


def _lines(raw: bytes) -> Iterator[bytes]:
    return (line for line in raw.split(b"\n") if line.strip())


def _array(raw: bytes) -> list[bytes]:
    try:
        return [bytes(item) for item in _items(raw)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError(400, f"the body is no JSON array: {error}", code="bad_json") from None


async def _many(door: Door, request: Request, sender: Sender, items: Any) -> Response:
    listed = list(items)
    if len(listed) > MAX_ITEMS:
        raise ProblemError(413, f"{len(listed)} events: send at most {MAX_ITEMS} a request")
    await spend(door, request, sender.principal, len(listed))
    results: list[dict[str, Any]] = []
    for start in range(0, len(listed), AT_ONCE):
        results += await _some(door, sender, listed[start : start + AT_ONCE], start)
    rejected = sum("problem" in one for one in results)
    _count(door, request, sender, taken=len(results) - rejected, rejected=rejected)
    body = {"accepted": len(results) - rejected, "rejected": rejected, "results": results}
    return Response(_encode(body), 202, request.state.limit_headers, media_type=JSON)


async def _some(door: Door, sender: Sender, items: list[bytes], start: int) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    records: list[Record] = []
    for number, raw in enumerate(items, start):
        try:
            event, record = checked(raw, sender, number)
        except _RefusedError as refused:
            results.append({"problem": _told(refused.problem)})
        else:
            records.append(record)
            results.append({"id": event.id})
    try:
        await door.outbox.put(records)
    except NotTakenError as error:
        problem = _told(_not_taken(error))
        return [one if "problem" in one else {**one, "problem": problem} for one in results]
    return results


@lru_cache(maxsize=4_096)
def _counter(tenant: str, result: str) -> Counter:
    return metrics.API_EVENTS.labels(tenant, result)


def _told(problem: ProblemError) -> dict[str, Any]:
    return document(problem.status, problem.code, problem.detail, problem.errors)


def _count(door: Door, request: Request, sender: Sender, *, taken: int, rejected: int) -> None:
    name = sender.tenant.name
    if taken:
        _counter(name, "taken").inc(taken)
    if rejected:
        _counter(name, "rejected").inc(rejected)
    address = address_of(request)
    deed = Deed(sender.principal, "POST /v1/events", "", 202, address, "", "", "", "")
    door.audit.count(deed, taken)
