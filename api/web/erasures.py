"""Forgetting users: the request, how far it is, and the receipt."""

import secrets
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from api.auth.signing import BadSignatureError, Purpose, Signer
from api.waiting import wait_until
from api.web.audit import note
from api.web.door import Door, door_of
from api.web.guard import may, own_user
from api.web.problems import ProblemError, not_found
from api.web.routing import DoorRoute
from operators.forget import requested
from schemas.access import Principal, Scope
from schemas.definitions import MAX_PER_KIND, Kind
from schemas.erasure_api import ErasureView, Receipt, ReceiptAnswer, ReceiptCheck, StoreView
from schemas.erasures import MAX_OPEN, Erasure, ErasureBody, ErasureState, erasure_of
from schemas.user_api import UserId
from state.profiles import RedisProfiles

FOLLOW_S = 2.0
"""How long the answer waits for the registry, so that the erasure is found when it is asked for."""

router = APIRouter(prefix="/v1", tags=["erasure and export"], route_class=DoorRoute)
ErasureId = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^er-[0-9a-f]{32}$")]


@router.post("/users/{user_id}/erase", status_code=202)
def erase_user(
    request: Request, user_id: UserId, caller: Annotated[Principal, may(Scope.USERS_ERASE)]
) -> ErasureView:
    """Forget all about a user, in every store; 202 also for one who is not there.

    Messages that are under way end before they are sent. Who registers again is a new user.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller)
    own_user(caller, user_id)
    _check_room(door, tenant.name)
    now_ms = door.wall_ms()
    one = Erasure(
        f"er-{secrets.token_hex(16)}",
        tenant.name,
        1,
        ErasureBody(
            user_id=user_id,
            user_hash=door.signer.pseudonym(Purpose.ERASED, f"{tenant.name}/{user_id}"),
            erased_ms=now_ms,
        ),
    )
    (profile,) = RedisProfiles(door.redis).get_many(tenant.name, tenant.shards, [user_id])
    devices = [device.device_id for device in profile.devices] if profile is not None else []
    note(request, target=one.id)  # not the user: the audit log outlives the erasure
    door.publisher().put(requested(one, devices, now_ms))
    wait_until(
        lambda: door.definitions.get(Kind.ERASURE, tenant.name, one.id) is not None,
        timeout_s=FOLLOW_S,
    )
    return _view(door.signer, one)


def _check_room(door: Door, tenant: str) -> None:
    known = door.definitions.all(Kind.ERASURE, tenant)
    is_open = sum(erasure_of(one).body.state is not ErasureState.COMPLETE for one in known.values())
    if is_open >= MAX_OPEN or len(known) >= MAX_PER_KIND:
        raise ProblemError(
            429,
            f"{is_open} erasures are not complete, and {len(known)} are known: at most {MAX_OPEN}"
            f" and {MAX_PER_KIND} may be; try again later",
            code="too_many_erasures",
            headers={"Retry-After": "3600"},
        )


@router.get("/erasures/{erasure_id}")
def get_erasure(
    request: Request, erasure_id: ErasureId, caller: Annotated[Principal, may(Scope.USERS_ERASE)]
) -> ErasureView:
    """Tell how far an erasure is. It is the receipt, too, signed as it stands now."""
    door = door_of(request)
    found = door.definitions.get(Kind.ERASURE, door.tenant_of(caller).name, erasure_id)
    if found is None:
        raise not_found(f"erasure {erasure_id!r}")
    return _view(door.signer, erasure_of(found))


@router.post("/erasures/check")
def check_receipt(
    request: Request, body: ReceiptCheck, caller: Annotated[Principal, may(Scope.USERS_ERASE)]
) -> ReceiptAnswer:
    """Tell whether a receipt was signed here and is unchanged, and whether it is of this user."""
    door = door_of(request)
    name, given = door.tenant_of(caller).name, body.receipt
    is_valid = given.tenant == name and _is_signed(door, given)
    note(request, target=given.erasure_id[:64])
    is_of_user = None
    if body.user_id is not None:
        text = f"{name}/{body.user_id}"
        is_of_user = is_valid and door.signer.is_pseudonym(Purpose.ERASED, text, given.user_hash)
    return ReceiptAnswer(is_valid=is_valid, is_of_user=is_of_user)


def _is_signed(door: Door, given: ErasureView) -> bool:
    try:
        signed = door.signer.open(Purpose.RECEIPT, given.signature, door.wall_ms())
    except BadSignatureError:
        return False
    return bool(signed == _digest(given))


def _view(signer: Signer, one: Erasure) -> ErasureView:
    body = one.body
    receipt = Receipt(
        erasure_id=one.id,
        tenant=one.tenant,
        user_hash=body.user_hash,
        state=body.state,
        requested_at=_known_time(body.erased_ms),
        erased_at=_time(body.first_swept_ms),
        completed_at=_time(body.completed_ms),
        stores=tuple(
            StoreView(
                store=store.store,
                removed=store.removed,
                swept_at=_time(store.at_ms),
                note=store.note,
            )
            for store in body.stores
        ),
    )
    signature = signer.sign(Purpose.RECEIPT, _digest(receipt))
    return ErasureView.model_validate({**receipt.model_dump(), "signature": signature})


def _digest(receipt: BaseModel) -> bytes:
    """Hash the fields of a receipt, whatever way they were written."""
    text = Receipt.model_validate(receipt.model_dump(exclude={"signature"})).model_dump_json()
    return sha256(text.encode()).digest()


def _time(at_ms: int) -> datetime | None:
    return _known_time(at_ms) if at_ms else None


def _known_time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)
