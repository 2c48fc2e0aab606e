"""/v1/keys: the tenant's API keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Request

from api.auth.key_ring import (
    KeyFaultError,
    KeyForbiddenError,
    KeyRing,
    NoSuchKeyError,
    StoredKey,
    view_of,
)
from api.publishing import DefinitionWriter
from api.web.audit import note
from api.web.door import Door, door_of
from api.web.guard import may
from api.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, after, page_of
from api.web.problems import ProblemError, faulty, not_found
from api.web.routing import DoorRoute
from schemas.access import Principal, Scope
from schemas.api_keys import KeyChange, KeyGrants, KeyRotation, KeyView, NewKey

router = APIRouter(prefix="/v1", tags=["keys"], route_class=DoorRoute)
Reader = Annotated[Principal, may(Scope.KEYS_READ)]
Keeper = Annotated[Principal, may(Scope.KEYS_WRITE)]
KeyId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9]+$")]


@router.post("/keys", status_code=201)
def create_key(grants: KeyGrants, request: Request, caller: Keeper) -> NewKey:
    """Make a key that may do no more than the caller. Its text is shown here and never again."""
    with _ring(request, caller) as ring:
        made = ring.create(grants, caller)
    note(request, target=made.id, after=_shown(made))
    return made


@router.get("/keys")
def list_keys(
    request: Request, caller: Reader, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[KeyView]:
    """List the keys, by id."""
    door = door_of(request)
    what = f"{caller.tenant}/keys"
    last = after(door.signer, what, cursor, door.wall_ms())
    with _ring(request, caller) as ring:
        found = [view_of(one) for one in ring.all() if one.id > last]
    return page_of(
        found[: limit + 1], signer=door.signer, what=what, limit=limit, name_of=lambda one: one.id
    )


@router.get("/keys/{key_id}")
def get_key(key_id: KeyId, request: Request, caller: Reader) -> KeyView:
    """Show what a key may do."""
    with _ring(request, caller) as ring:
        return view_of(ring.get(key_id))


@router.patch("/keys/{key_id}")
def change_key(key_id: KeyId, change: KeyChange, request: Request, caller: Keeper) -> KeyView:
    """Change a key. What is left out stays as it is; null takes a bound away."""
    with _ring(request, caller) as ring:
        before = ring.get(key_id)
        changed = ring.change(key_id, change, caller)
    note(request, target=key_id, before=_digested(before), after=_digested(changed))
    return view_of(changed)


@router.post("/keys/{key_id}/rotate")
def rotate_key(
    key_id: KeyId, request: Request, caller: Keeper, rotation: KeyRotation | None = None
) -> NewKey:
    """Give a key a new secret, shown here and never again; the old one holds for overlap_s more."""
    overlap_s = (rotation or KeyRotation()).overlap_s
    with _ring(request, caller) as ring:
        before = ring.get(key_id)
        made = ring.rotate(key_id, overlap_s, caller)
    note(request, target=key_id, before=_digested(before), after=_shown(made))
    return made


@router.delete("/keys/{key_id}", status_code=204)
def revoke_key(key_id: KeyId, request: Request, caller: Keeper) -> None:
    """Revoke a key: nobody gets in with it any more after two seconds."""
    with _ring(request, caller) as ring:
        before = ring.revoke(key_id)
    note(request, target=key_id, before=before)


@contextmanager
def _ring(request: Request, caller: Principal) -> Iterator[KeyRing]:
    door = door_of(request)
    try:
        yield ring_of(door, caller)
    except NoSuchKeyError as error:
        raise not_found(f"key {error}") from None
    except KeyForbiddenError as error:
        raise ProblemError(403, str(error)) from None
    except KeyFaultError as error:
        raise faulty(str(error)) from None


def ring_of(door: Door, caller: Principal) -> KeyRing:
    """Give the keys of the caller's tenant."""
    return KeyRing(
        door.tenant_of(caller),
        definitions=door.definitions,
        writer=lambda: DefinitionWriter(door.publisher(), door.definitions),
        now_ms=door.wall_ms,
    )


def _digested(one: StoredKey) -> object:
    return view_of(one).model_dump(mode="json")


def _shown(made: NewKey) -> object:
    """Leave out the key's text: not even a digest of it is kept."""
    return made.model_dump(mode="json", exclude={"key"})
