"""Users: what is known about them."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.web.answers import WaitS, answered
from api.web.audit import note
from api.web.conditions import Condition, When
from api.web.door import Door, door_of
from api.web.guard import may, own_user
from api.web.problems import ProblemError, document, faulty, not_found
from api.web.routing import DoorRoute, read_body
from api.web.said import PREFERENCES, PROFILE, Said, profile_of, say, say_many
from api.web.telling import instead, patch_with, sent, shown, tell
from operators.forget import device_tombstones
from schemas.access import Principal, Scope
from schemas.decode import BadMessageError, decode
from schemas.registry import PreferencesBody, ProfileBody
from schemas.tenant import Tenant
from schemas.user_api import (
    MAX_IMPORT,
    ImportAnswer,
    ImportedUser,
    ImportResult,
    UserId,
    UserView,
)

MAX_IMPORT_BYTES = 8_388_608
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
MERGE = "application/merge-patch+json"
TAKEN: dict[int | str, dict[str, Any]] = {
    200: {"description": "Applied, as `Prefer: wait=N` asked"},
    412: {"description": "It has changed since the ETag in If-Match"},
}

router = APIRouter(prefix="/v1", tags=["users"], route_class=DoorRoute)
Patch = Annotated[
    dict[str, Any],
    Body(description="a JSON merge patch (RFC 7396): null takes a field away", media_type=MERGE),
]
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


@router.get("/users/{user_id}", response_model=UserView)
def get_user(
    request: Request, user_id: UserId, caller: Annotated[Principal, may(Scope.USERS_READ)]
) -> Response:
    """Give what the registry knows about a user; the ETag is the version of the profile."""
    door = door_of(request)
    profile = profile_of(door, door.tenant_of(caller), own_user(caller, user_id))
    if profile is None:
        raise not_found(f"user {user_id!r}")
    return shown(request, PROFILE, user_id, profile)


@router.put("/users/{user_id}", status_code=202, response_model=UserView, responses=TAKEN)
async def put_user(
    request: Request,
    *,
    user_id: UserId,
    body: ProfileBody,
    when: When,
    wait_s: WaitS,
    caller: Annotated[Principal, may(Scope.USERS_WRITE)],
) -> Response:
    """Say what is known about a user, in place of all that was said before.

    202 once it is on Kafka; with `Prefer: wait=N` 200 once the registry has applied it.
    """
    tenant = door_of(request).tenant_of(caller)
    edit = instead(body, when)
    return await tell(request, tenant, PROFILE, own_user(caller, user_id), edit, wait_s=wait_s)


@router.patch("/users/{user_id}", status_code=202, response_model=UserView, responses=TAKEN)
async def patch_user(
    request: Request,
    *,
    user_id: UserId,
    patch: Patch,
    when: When,
    wait_s: WaitS,
    caller: Annotated[Principal, may(Scope.USERS_WRITE)],
) -> Response:
    """Change a part of what is known about a user, by a JSON merge patch; null takes away.

    Patches of a user count one upon the other, also when they follow each other at once.
    """
    tenant = door_of(request).tenant_of(caller)
    edit = patch_with(PROFILE, patch, when)
    return await tell(request, tenant, PROFILE, own_user(caller, user_id), edit, wait_s=wait_s)


@router.delete(
    "/users/{user_id}",
    status_code=202,
    response_class=Response,
    responses={204: {"description": "Applied, as `Prefer: wait=N` asked"}},
)
async def delete_user(
    request: Request,
    user_id: UserId,
    wait_s: WaitS,
    caller: Annotated[Principal, may(Scope.USERS_WRITE)],
) -> Response:
    """Forget a user's profile, preferences and devices; 202 also for one who is not there."""
    door = door_of(request)
    tenant = door.tenant_of(caller)
    own_user(caller, user_id)
    profile, preferences = await run_in_threadpool(_forget, door, tenant, user_id)
    note(request, target=user_id, before=[profile.before, preferences.before])
    known = profile.known.profile
    devices = [one.device_id for one in known.devices] if known is not None else []
    # So that no rebuild brings any of them back.
    first = device_tombstones(tenant.name, user_id, devices)
    await sent(door, [profile, preferences], *first)
    if wait_s and await door.applied.until(
        tenant, user_id, lambda now: now is None, timeout_s=wait_s
    ):
        return answered(request, None, 204, {"Preference-Applied": f"wait={wait_s}"})
    return answered(request, None, 202)


def _forget(
    door: Door, tenant: Tenant, user_id: str
) -> tuple[Said[ProfileBody], Said[PreferencesBody]]:
    return (
        say(door, tenant, PROFILE, user_id, lambda _known: None),
        say(door, tenant, PREFERENCES, user_id, lambda _known: None),
    )


_IMPORT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "maxItems": MAX_IMPORT,
                    "items": {"type": "object", "required": ["user_id"]},
                    "description": "as PUT takes them, with user_id",
                }
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.post("/users:batch", status_code=202, response_model=ImportAnswer, openapi_extra=_IMPORT)
async def import_users(
    request: Request, caller: Annotated[Principal, may(Scope.USERS_WRITE)]
) -> Response:
    """Say what is known about up to 1,000 users, each in place of what was said before.

    A JSON array or NDJSON; each is answered by itself, in order, once it is on Kafka. One that is
    wrong does not keep the others back.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller)
    items = _items_of(request, await read_body(request, MAX_IMPORT_BYTES))
    if len(items) > MAX_IMPORT:
        raise ProblemError(413, f"{len(items)} users: send at most {MAX_IMPORT} a request")
    wanted: dict[str, ProfileBody] = {}
    results = [_taken(caller, wanted, item) for item in items]
    edits = {user_id: instead(body, Condition()) for user_id, body in wanted.items()}
    done = await run_in_threadpool(say_many, door, tenant, PROFILE, edits)
    await sent(door, [one for one in done.values() if not isinstance(one, ProblemError)])
    answers = []
    for user_id, problem in results:
        said = done.get(user_id)
        fault = problem or (said if isinstance(said, ProblemError) else None)
        answers.append(ImportResult(user_id=user_id or None, problem=_told(fault)))
    rejected = sum(one.problem is not None for one in answers)
    note(request, target=f"{len(answers)} users", after=answers)
    answer = ImportAnswer(accepted=len(answers) - rejected, rejected=rejected, results=answers)
    return answered(request, answer, 202)


def _items_of(request: Request, raw: bytes) -> list[bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in NDJSON:
        return [line for line in raw.split(b"\n") if line.strip()]
    try:
        return [bytes(item) for item in _items(raw)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError(400, f"the body is no JSON array: {error}", code="bad_json") from None


def _taken(
    caller: Principal, wanted: dict[str, ProfileBody], raw: bytes
) -> tuple[str, ProblemError | None]:
    """Read one item; what is right is put among the wanted."""
    try:
        found = decode(ImportedUser, raw)
        own_user(caller, found.user_id)
    except BadMessageError as error:
        return "", faulty(str(error))
    except ProblemError as problem:
        return found.user_id, problem
    if found.user_id in wanted:
        return found.user_id, faulty("user_id: stands twice in this batch, give each user once")
    wanted[found.user_id] = ProfileBody.model_construct(
        **{name: getattr(found, name) for name in ProfileBody.model_fields}
    )
    return found.user_id, None


def _told(problem: ProblemError | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    return document(problem.status, problem.code, problem.detail, problem.errors)
