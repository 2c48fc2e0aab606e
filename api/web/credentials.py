"""/v1/credentials: the apps' keys at their providers, written here and never read back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Request

from api.credentials import CredentialShelf, NoSuchCredentialError, NotSealedError
from api.publishing import DefinitionWriter
from api.web.audit import note
from api.web.door import door_of
from api.web.guard import may
from api.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, after, page_of
from api.web.problems import ProblemError, not_found
from api.web.routing import DoorRoute
from schemas.access import Principal, Scope
from schemas.credentials import CredentialView, NewCredential
from schemas.fields import NAME_PATTERN
from sinks.credential_check import BadSecretError

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=DoorRoute)
Reader = Annotated[Principal, may(Scope.CREDENTIALS_READ)]
Keeper = Annotated[Principal, may(Scope.CREDENTIALS_WRITE)]
AppName = Annotated[str, Path(max_length=64, pattern=NAME_PATTERN)]


@router.get("/credentials")
def list_credentials(
    request: Request, caller: Reader, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[CredentialView]:
    """List the apps: where the key of each comes from, and when it was set, by whom."""
    door = door_of(request)
    what = f"{caller.tenant}/credentials"
    last = after(door.signer, what, cursor, door.wall_ms())
    with _shelf(request, caller) as shelf:
        found = [one for one in shelf.all() if one.app > last]
    return page_of(
        found[: limit + 1], signer=door.signer, what=what, limit=limit, name_of=lambda one: one.app
    )


@router.get("/credentials/{app}")
def get_credential(app: AppName, request: Request, caller: Reader) -> CredentialView:
    """Show what is known of an app's key; never the key."""
    with _shelf(request, caller) as shelf:
        return shelf.get(app)


@router.put("/credentials/{app}")
def put_credential(
    app: AppName, new: NewCredential, request: Request, caller: Keeper
) -> CredentialView:
    """Set an app's key: checked, sealed, and used by the flows within two seconds."""
    with _shelf(request, caller) as shelf:
        before = shelf.get(app)
        after_it = shelf.put(app, new.secret.get_secret_value(), f"{caller.kind}:{caller.id}")
    note(request, target=app, before=before.fingerprint, after=after_it.fingerprint)
    return after_it


@router.delete("/credentials/{app}", status_code=204)
def delete_credential(app: AppName, request: Request, caller: Keeper) -> None:
    """Remove an app's key: nothing is sent to its devices until there is a new one."""
    with _shelf(request, caller) as shelf:
        before = shelf.remove(app)
    note(request, target=app, before=before.fingerprint)


@contextmanager
def _shelf(request: Request, caller: Principal) -> Iterator[CredentialShelf]:
    door = door_of(request)
    try:
        yield CredentialShelf(
            door.tenant_of(caller),
            definitions=door.definitions,
            writer=lambda: DefinitionWriter(door.publisher(), door.definitions),
            ring=door.seals,
            fcm_url=door.settings.providers.fcm_url,
            now_ms=door.wall_ms,
        )
    except NoSuchCredentialError as error:
        raise not_found(f"credential of an app {error}") from None
    except NotSealedError as error:
        raise ProblemError(409, str(error), code="not_sealed") from None
    except BadSecretError as error:
        raise ProblemError(422, f"secret: {error}", errors=[("secret", str(error))]) from None
