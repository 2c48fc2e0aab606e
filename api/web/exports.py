"""All that is held of a user, as one document, or as lines where that is much."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from api.web.door import Door, door_of
from api.web.guard import may, own_user
from api.web.problems import not_found
from api.web.routing import DoorRoute
from schemas.access import Principal, Scope
from schemas.masking import masked
from schemas.tenant import Tenant
from schemas.user_api import UserId
from sinks.user_history import HELD, MAX_ROWS, UserHistory
from state.best_hours import RedisBestHours
from state.erasing import RedisErasing
from state.profiles import Profile, RedisProfiles

NDJSON = "application/x-ndjson"
JSON = "application/json"
PROFILE = "profile"
"""The one part that is no list."""
_PIECE_BYTES = 65_536

router = APIRouter(prefix="/v1", tags=["erasure and export"], route_class=DoorRoute)
_encode = msgspec.json.Encoder().encode
_EXTRA: dict[str, Any] = {"x-audit": "always"}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All that is held. It ends with `is_complete`, or was cut off",
        "content": {
            JSON: {"schema": {"type": "object"}},
            NDJSON: {"schema": {"type": "string"}},
        },
    }
}
Part = tuple[str, Any]


@router.get(
    "/users/{user_id}/export", responses=_ANSWERS, openapi_extra=_EXTRA, response_class=Response
)
async def export_user(
    request: Request, user_id: UserId, caller: Annotated[Principal, may(Scope.USERS_EXPORT)]
) -> Response:
    """Give all that is held of a user: profile, segments, counters, outcomes and events.

    One JSON document, or with `Accept: application/x-ndjson` a line for each thing. Tokens are
    masked. Of outcomes and events the newest 100,000 each.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller)
    own_user(caller, user_id)
    profile, counts = await run_in_threadpool(_known, door, tenant, user_id)
    if profile is None and not any(counts.values()):
        raise not_found(f"user {user_id!r}")
    parts = _parts(door, tenant, user_id, profile)
    is_cut = any(count > MAX_ROWS for count in counts.values())
    as_lines = NDJSON in request.headers.get("accept", "")
    ending = "ndjson" if as_lines else "json"
    written = _lines(parts, is_cut=is_cut) if as_lines else _document(parts, is_cut=is_cut)
    return StreamingResponse(
        _in_pieces(written),
        media_type=NDJSON if as_lines else JSON,
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="user.{ending}"',
            **request.state.limit_headers,
        },
    )


def _known(door: Door, tenant: Tenant, user_id: str) -> tuple[Profile | None, dict[str, int]]:
    (profile,) = RedisProfiles(door.redis).get_many(tenant.name, tenant.shards, [user_id])
    with door.clickhouse() as client:
        return profile, UserHistory(client).counts(tenant.name, user_id)


def _parts(door: Door, tenant: Tenant, user_id: str, profile: Profile | None) -> Iterator[Part]:
    """Give everything, part by part; those of one name follow each other."""
    name, shards = tenant.name, tenant.shards
    yield PROFILE, _shown(profile)
    erasing = RedisErasing(door.redis)
    for segment in erasing.memberships(name, shards, user_id):
        yield "segments", segment
    (hour,) = RedisBestHours(door.redis).get_many(name, shards, [user_id])
    if hour is not None:
        yield "best_hour_utc", hour
    held = sorted(erasing.held(name, shards, user_id))
    for one in held:
        yield one.kind, {"name": one.name, "ids": one.what, "expires_in_ms": one.expires_ms}
    with door.clickhouse() as client:
        history = UserHistory(client)
        for table in HELD:
            for row in history.rows(table, name, user_id):
                yield "device_history" if table == "devices" else table, row


def _shown(profile: Profile | None) -> dict[str, Any] | None:
    if profile is None:
        return None
    found: dict[str, Any] = msgspec.structs.asdict(profile)
    found["devices"] = [
        {
            **msgspec.structs.asdict(one),
            "token": masked(one.token),
            "p256dh": masked(one.p256dh),
            "auth": masked(one.auth),
        }
        for one in profile.devices
    ]
    return found


def _lines(parts: Iterator[Part], *, is_cut: bool) -> Iterator[bytes]:
    for part, item in parts:
        yield _encode({"part": part, "item": item}) + b"\n"
    yield _encode({"is_complete": True, "is_cut": is_cut}) + b"\n"


def _document(parts: Iterator[Part], *, is_cut: bool) -> Iterator[bytes]:
    """Write one object: the profile as it is, the others as lists."""
    before = ""
    for part, item in parts:
        if part == PROFILE:
            yield b'{"profile":' + _encode(item)
        elif part == before:
            yield b"," + _encode(item)
        else:
            ending = b"]" if before else b""
            yield ending + b"," + _encode(part) + b":[" + _encode(item)
            before = part
    ending = b"]" if before else b""
    yield ending + b',"is_complete":true,"is_cut":' + _encode(is_cut) + b"}"


def _in_pieces(written: Iterator[bytes]) -> Iterator[bytes]:
    """Put small pieces together: each one is a step to another thread."""
    piece = bytearray()
    for one in chain(written, (b"",)):
        piece += one
        if len(piece) >= _PIECE_BYTES or not one:
            yield bytes(piece)
            piece.clear()
