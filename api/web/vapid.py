"""The public half of a web app's VAPID key, which browsers subscribe with."""

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.web.answers import answered
from api.web.door import door_of
from api.web.guard import may
from api.web.problems import ProblemError, not_found
from api.web.routing import DoorRoute
from flows.config import ConfigError, resolve_credentials
from schemas.access import Principal, Scope
from schemas.fields import Name
from schemas.tenant import Tenant, WebPushApp
from schemas.user_api import VapidKey
from sinks.credentials import UnknownAppError, WebPushCredential
from sinks.webpush_vapid import load_key, public_key

FRESH_MS = 60_000
"""How long a key is given as it was read: one that was changed counts after this time."""

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
        key = _public_key(tenant.name, app, known, door.wall_ms() // FRESH_MS)
    except (ConfigError, UnknownAppError):
        # What is wrong with a secret is for operators: `clarion config check` says it.
        raise ProblemError(
            503, f"the key of the app {app!r} cannot be read", code="key_unavailable"
        ) from None
    return answered(request, VapidKey(public_key=key))


@lru_cache(maxsize=1_000)
def _public_key(tenant: str, name: str, app: WebPushApp, _minute: int) -> str:
    """Derive it from the private key. Raises ConfigError, UnknownAppError."""
    one = Tenant.model_construct(name=tenant, categories={}, apps={name: app})
    found = resolve_credentials({tenant: one}).get(tenant, name, WebPushCredential)
    return public_key(load_key(found.private_key_pem))
