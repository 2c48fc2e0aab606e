"""A tenant's API keys: made, changed, rotated and revoked, by people and through the API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError

from api.auth.api_keys import KeyText, hashed, key_of, new_id, new_secret
from api.publishing import DefinitionWriter
from schemas.access import Principal
from schemas.api_keys import (
    MAX_SECRETS,
    ApiKey,
    KeyChange,
    KeyGrants,
    KeyView,
    NewKey,
    SecretHash,
    SecretView,
)
from schemas.decode import explain, faults
from schemas.definitions import Definition, Kind
from schemas.tenant import Tenant
from state.definitions import Definitions
from state.errors import StateCorruptError

MAX_KEYS = 1_000
"""Keys of one tenant."""
_GRANTS = tuple(KeyGrants.model_fields)


class KeyFaultError(ValueError):
    """Something is wrong with what was asked: `field: what to do`, by semicolons."""


class KeyForbiddenError(Exception):
    """The key may do more than who asks."""


class NoSuchKeyError(LookupError):
    """The tenant has no such key."""


class StoredKey(NamedTuple):
    """A key as it is stored."""

    id: str
    version: int
    key: ApiKey


class KeyRing:
    """The keys of a tenant. now_ms: the machine's clock.

    by: who asks, None for an operator at the stores themselves. Changes raise ConflictError when
    someone else changed the key meanwhile, PublishError and StateError.
    """

    def __init__(
        self,
        tenant: Tenant,
        *,
        definitions: Definitions,
        writer: Callable[[], DefinitionWriter],
        now_ms: Callable[[], int],
    ) -> None:
        self._tenant = tenant
        self._definitions = definitions
        self._writer = writer
        self._now_ms = now_ms

    def all(self) -> list[StoredKey]:
        """Give all keys, by id."""
        found = self._definitions.all(Kind.API_KEY, self._tenant.name)
        return [_stored(one) for one in found.values()]

    def get(self, key_id: str) -> StoredKey:
        """Give a key. Raises NoSuchKeyError."""
        found = self._definitions.get(Kind.API_KEY, self._tenant.name, key_id)
        if found is None:
            raise NoSuchKeyError(key_id)
        return _stored(found)

    def create(self, grants: KeyGrants, by: Principal | None) -> NewKey:
        """Make a key. Raises KeyFaultError, KeyForbiddenError."""
        self._check(grants, by)
        if len(self._definitions.all(Kind.API_KEY, self._tenant.name)) >= MAX_KEYS:
            raise KeyFaultError(f"the tenant has {MAX_KEYS} keys: revoke those not in use")
        now, secret = self._now(), new_secret()
        key = ApiKey(
            **_grants_of(grants),
            created_at=now,
            created_by="cli" if by is None else f"{by.kind} {by.id}",
            secrets=(hashed(secret, now),),
        )
        return self._shown(self._put(StoredKey(new_id(), 0, key)), secret)

    def change(self, key_id: str, change: KeyChange, by: Principal | None) -> StoredKey:
        """Change what a key may do. Raises NoSuchKeyError, KeyFaultError, KeyForbiddenError."""
        found = self.get(key_id)
        _check_covers(by, found.key)
        changes = {name: getattr(change, name) for name in change.model_fields_set}
        try:
            grants = KeyGrants.model_validate({**_grants_of(found.key), **changes})
        except ValidationError as error:
            raise KeyFaultError(explain(faults(KeyGrants, error))) from None
        self._check(grants, by, expires="expires_at" in changes)
        return self._put(found._replace(key=found.key.model_copy(update=_grants_of(grants))))

    def rotate(self, key_id: str, overlap_s: int, by: Principal | None) -> NewKey:
        """Give a key a new secret; those of before hold for overlap_s more, at most.

        Raises NoSuchKeyError, KeyFaultError, KeyForbiddenError.
        """
        found = self.get(key_id)
        _check_covers(by, found.key)
        now, secret = self._now(), new_secret()
        end = now + timedelta(seconds=overlap_s)
        kept = [_until(one, end) for one in found.key.secrets]
        kept = [one for one in kept if one.until is not None and one.until > now]
        if len(kept) >= MAX_SECRETS:
            raise KeyFaultError(
                f"overlap_s: {len(kept)} secrets of this key hold already; use 0 to end them,"
                " or wait until one has ended"
            )
        secrets = (hashed(secret, now), *kept)
        return self._shown(
            self._put(found._replace(key=found.key.model_copy(update={"secrets": secrets}))), secret
        )

    def revoke(self, key_id: str) -> bytes:
        """Remove a key, readable or not; give what was stored. Raises NoSuchKeyError."""
        found = self._definitions.get(Kind.API_KEY, self._tenant.name, key_id)
        if found is None:
            raise NoSuchKeyError(key_id)
        self._writer().remove(Kind.API_KEY, self._tenant.name, key_id)
        return found.body

    def _check(self, grants: KeyGrants, by: Principal | None, *, expires: bool = True) -> None:
        if unknown := set(grants.categories or ()) - set(self._tenant.categories):
            raise KeyFaultError(f"categories: the tenant has no category {min(unknown)!r}")
        if expires and grants.expires_at is not None and grants.expires_at <= self._now():
            raise KeyFaultError("expires_at: has passed already, use a later time")
        _check_covers(by, grants)

    def _put(self, one: StoredKey) -> StoredKey:
        body: dict[str, Any] = one.key.model_dump(mode="json", exclude_none=True)
        version = self._writer().put(
            Kind.API_KEY, self._tenant.name, one.id, body, over=one.version
        )
        return one._replace(version=version)

    def _shown(self, one: StoredKey, secret: str) -> NewKey:
        text = KeyText(self._tenant.name, one.id, secret)
        return NewKey(**dict(view_of(one)), key=str(text))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._now_ms() / 1_000, UTC)


def view_of(one: StoredKey) -> KeyView:
    """Give a key as it is shown."""
    return KeyView(
        **_grants_of(one.key),
        id=one.id,
        version=one.version,
        created_at=one.key.created_at,
        created_by=one.key.created_by,
        secrets=tuple(SecretView(made_at=s.made_at, until=s.until) for s in one.key.secrets),
    )


def _check_covers(by: Principal | None, key: KeyGrants) -> None:
    """Raise KeyForbiddenError unless who asks may do all that the key may."""
    if by is None:
        return
    if by.user_id or by.device_id:
        raise KeyForbiddenError("a caller who is bound to a user may not handle keys")
    beyond: list[str] = []
    if more := key.effective_scopes() - by.scopes:
        beyond.append(f"scopes {', '.join(sorted(more))}")
    if more_urgent := key.effective_priorities() - by.priorities:
        beyond.append(f"priorities {', '.join(sorted(more_urgent))}")
    if by.categories is not None:
        wider = None if key.categories is None else set(key.categories) - by.categories
        if wider is None:
            beyond.append("all categories")
        elif wider:
            beyond.append(f"categories {', '.join(sorted(wider))}")
    if beyond:
        raise KeyForbiddenError(f"the key may do more than this credential: {'; '.join(beyond)}")


def _grants_of(grants: KeyGrants) -> dict[str, Any]:
    return {name: getattr(grants, name) for name in _GRANTS}


def _until(secret: SecretHash, end: datetime) -> SecretHash:
    sooner = end if secret.until is None else min(secret.until, end)
    return secret.model_copy(update={"until": sooner})


def _stored(one: Definition) -> StoredKey:
    try:
        return StoredKey(one.name, one.version, key_of(one))
    except ValueError as error:
        what = f"API key {one.tenant}/{one.name}"
        raise StateCorruptError(f"{what} cannot be read: revoke it and make another") from error
