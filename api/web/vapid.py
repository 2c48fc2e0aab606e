"""The public half of a web app's VAPID key, which browsers subscribe with."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from api.web.answers import answered
from api.web.door import Door, door_of
from api.web.guard import may
from api.web.problems import ProblemError, not_found
from api.web.routing import DoorRoute
from schemas.access import Principal, Scope
from schemas.apps import secret_of
from schemas.credentials import SealedCredential
from schemas.definitions import Kind
from schemas.fields import Name
from schemas.tenant import WebPushApp
from schemas.user_api import VapidKey
from sinks.credential_check import BadSecretError
from sinks.sealing import SealError
from sinks.webpush_vapid import BadVapidError, load_key, public_key

FRESH = {"Cache-Control": "private, max-age=60"}
"""A key that was changed counts for browsers after this time."""

router = APIRouter(prefix="/v1", tags=["devices"], route_class=DoorRoute)


@router.get("/apps/{app}/vapid-public-key", response_model=VapidKey)
def get_vapid_public_key(
    request: Request, app: Name, caller: Annotated[Principal, may(Scope.DEVICES_READ)]
) -> Response:
    """Give what a web app passes to pushManager.subscribe() as applicationServerKey."""
    door = door_of(request)
    tenant = door.tenant_of(caller)
    known = tenant.apps.get(app)
    if not isinstance(known, WebPushApp):
        raise not_found(f"web app {app!r}")
    try:
        key = public_key(load_key(_private_key(door, tenant.name, app, known)))
    except (BadSecretError, SealError, BadVapidError, ValidationError, UnicodeDecodeError):
        # What is wrong with a secret is for operators: deliver logs it, and nothing of it is told.
        raise ProblemError(
            503, f"the key of the app {app!r} cannot be read", code="key_unavailable"
        ) from None
    return answered(request, VapidKey(public_key=key), headers=FRESH)


def _private_key(door: Door, tenant: str, name: str, app: WebPushApp) -> str:
    """Read the key from where the tenant's file says. Raises BadSecretError, SealError."""
    text = door.secrets.read(secret_of(app))
    if text is not None:
        return text
    sealed = door.definitions.get(Kind.CREDENTIAL, tenant, name)
    if sealed is None or door.seals is None:
        raise BadSecretError("nothing is set for the app, or there is no master key")
    envelope = SealedCredential.model_validate_json(sealed.body).envelope
    return door.seals.open(envelope, tenant=tenant, app=name).decode()
