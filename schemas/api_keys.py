"""API keys as they are stored: what they may do, and hashes of their secrets."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.access import Role, Scope, priorities_of, scopes_of
from schemas.content import Wire
from schemas.duration import WholeSeconds
from schemas.fields import Name, Time
from schemas.pipeline import Priority
from schemas.tenant_access import EventsPerDay, PerSecond

MAX_SECRETS = 3
"""Secrets of one key that hold at the same time."""
MAX_OVERLAP_S = 30 * 86_400

Label = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""What people call a key."""
_Hex = Annotated[str, Field(max_length=128, pattern=r"^([0-9a-f]{2})+$")]


class SecretHash(Wire):
    """What a secret is checked against: scrypt with these parameters (RFC 7914).

    salt, digest: hex. until: from then on the secret does not hold; null for no end.
    """

    salt: _Hex
    digest: _Hex
    n: Annotated[int, Field(strict=True, ge=1_024, le=65_536)]
    r: Annotated[int, Field(strict=True, ge=1, le=16)]
    p: Annotated[int, Field(strict=True, ge=1, le=4)]
    made_at: Time
    until: Time | None = None


class KeyGrants(Wire):
    """What a key may do.

    roles: bundles of scopes; a device's tokens are issued when it registers, so that role is none
    for a key. scopes: of those of the roles, these alone; null for all. priorities: that it may
    send, of those of the roles. categories: that it may send; null for all. requests_per_s,
    events_per_day: null for what the tenant's `access.limits` say. expires_at: null for never.
    """

    name: Label
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=len(Role))]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))] | None = None
    priorities: (
        Annotated[tuple[Priority, ...], Field(min_length=1, max_length=len(Priority))] | None
    ) = None
    categories: Annotated[tuple[Name, ...], Field(min_length=1, max_length=200)] | None = None
    requests_per_s: PerSecond | None = None
    events_per_day: EventsPerDay | None = None
    expires_at: Time | None = None

    @model_validator(mode="after")
    def _within_roles(self) -> Self:
        if Role.DEVICE in self.roles:
            raise ValueError("roles: 'device' is for tokens of devices, use other roles")
        if beyond := set(self.scopes or ()) - scopes_of(self.roles):
            raise ValueError(f"scopes: the roles have not {min(beyond)!r}, remove it")
        if beyond_them := set(self.priorities or ()) - priorities_of(self.roles):
            raise ValueError(f"priorities: the roles have not {min(beyond_them)!r}, remove it")
        return self

    def effective_scopes(self) -> frozenset[Scope]:
        """Give what it may do."""
        return scopes_of(self.roles) if self.scopes is None else frozenset(self.scopes)

    def effective_priorities(self) -> frozenset[Priority]:
        """Give what it may send."""
        return priorities_of(self.roles) if self.priorities is None else frozenset(self.priorities)


class ApiKey(KeyGrants):
    """An API key: a definition of Kind.API_KEY, named by the key's id.

    created_by: the caller's kind and id, or "cli". secrets: the newest first.
    """

    created_at: Time
    created_by: Annotated[str, Field(max_length=400)]
    secrets: Annotated[tuple[SecretHash, ...], Field(min_length=1, max_length=MAX_SECRETS)]


class KeyChange(Wire):
    """What to change of a key; what is left out stays as it is, null takes a bound away."""

    name: Label | None = None
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=len(Role))] | None = None
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))] | None = None
    priorities: (
        Annotated[tuple[Priority, ...], Field(min_length=1, max_length=len(Priority))] | None
    ) = None
    categories: Annotated[tuple[Name, ...], Field(min_length=1, max_length=200)] | None = None
    requests_per_s: PerSecond | None = None
    events_per_day: EventsPerDay | None = None
    expires_at: Time | None = None


class KeyRotation(Wire):
    """How to change a key's secret. overlap_s: how long the secrets of before go on counting."""

    overlap_s: Annotated[WholeSeconds, Field(ge=0, le=MAX_OVERLAP_S)] = 86_400


class SecretView(Wire):
    """When a secret was made and until when it holds; null for no end."""

    made_at: Time
    until: Time | None = None


class KeyView(KeyGrants):
    """A key as it is shown: never its secret.

    id: stands in the key's text, clk_<tenant>_<id>_<secret>. version: one more with each change.
    """

    id: str
    version: int
    created_at: Time
    created_by: str
    secrets: tuple[SecretView, ...]


class NewKey(KeyView):
    """A key with its text, shown this once. key: what goes into Authorization: Bearer."""

    key: str
