"""Preferences: what users want and do not want."""

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.web.answers import WaitS
from api.web.conditions import When
from api.web.door import door_of
from api.web.guard import may, own_user
from api.web.problems import not_found
from api.web.routing import DoorRoute
from api.web.said import PREFERENCES, profile_of
from api.web.telling import instead, patch_with, shown, tell
from api.web.users import TAKEN, Patch
from schemas.access import Principal, Scope
from schemas.registry import PreferencesBody
from schemas.user_api import PreferencesView, UserId

PATH = "/users/{user_id}/preferences"

router = APIRouter(prefix="/v1", tags=["preferences"], route_class=DoorRoute)


@router.get(PATH, response_model=PreferencesView)
def get_preferences(
    request: Request, user_id: UserId, caller: Annotated[Principal, may(Scope.PREFERENCES_READ)]
) -> Response:
    """Give what a user wants, as the flows have it; the ETag is the version of the profile."""
    door = door_of(request)
    profile = profile_of(door, door.tenant_of(caller), own_user(caller, user_id))
    if profile is None:
        raise not_found(f"user {user_id!r}")
    return shown(request, PREFERENCES, user_id, profile)


@router.put(PATH, status_code=202, response_model=PreferencesView, responses=TAKEN)
async def put_preferences(
    request: Request,
    *,
    user_id: UserId,
    body: PreferencesBody,
    when: When,
    wait_s: WaitS,
    caller: Annotated[Principal, may(Scope.PREFERENCES_WRITE)],
) -> Response:
    """Say what a user wants, in place of all that was said before.

    202 once it is on Kafka; with `Prefer: wait=N` 200 once the flows go by it.
    """
    tenant = door_of(request).tenant_of(caller)
    edit = instead(body, when)
    return await tell(request, tenant, PREFERENCES, own_user(caller, user_id), edit, wait_s=wait_s)


@router.patch(PATH, status_code=202, response_model=PreferencesView, responses=TAKEN)
async def patch_preferences(
    request: Request,
    *,
    user_id: UserId,
    patch: Patch,
    when: When,
    wait_s: WaitS,
    caller: Annotated[Principal, may(Scope.PREFERENCES_WRITE)],
) -> Response:
    """Change a part of what a user wants, by a JSON merge patch; lists are replaced whole.

    Patches of a user count one upon the other, also when they follow each other at once.
    """
    tenant = door_of(request).tenant_of(caller)
    edit = patch_with(PREFERENCES, patch, when)
    return await tell(request, tenant, PREFERENCES, own_user(caller, user_id), edit, wait_s=wait_s)
