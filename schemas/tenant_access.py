"""Who may call the API for a tenant, and how often: the `access` group of a tenant's file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.access import Role
from schemas.content import Wire
from schemas.duration import WholeSeconds
from schemas.fields import ID_PATTERN, Name
from schemas.pipeline import Priority

PerSecond = Annotated[float, Field(strict=True, ge=0.01, le=1_000_000, allow_inf_nan=False)]
EventsPerDay = Annotated[int, Field(strict=True, ge=1, le=10_000_000_000)]
_Text = Annotated[str, Field(min_length=1, max_length=256, pattern=ID_PATTERN)]
_HttpsUrl = Annotated[str, Field(max_length=2_048, pattern=r"^https://[^\x00-\x20\x7f]+$")]


class Jwks(Wire):
    """Where an issuer's public keys are, a JWK Set (RFC 7517): a URL, or a file.

    file: relative to the tenant's file. Give exactly one.
    """

    url: _HttpsUrl | None = None
    file: Annotated[str, Field(min_length=1, max_length=4_096)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise ValueError("give exactly one of url and file")
        return self


class TokenIssuer(Wire):
    """An identity provider whose signed tokens (JWT, RFC 7519) the tenant believes.

    issuer, audience: as in the tokens' `iss` and `aud`; no two entries of all tenants have the same
    pair. algorithms: that tokens may be signed with. leeway_s: how far clocks may differ.
    max_lifetime_s: a token that is valid longer is refused. roles_claim: which claim names the
    roles, a list or words; `realm_access.roles` looks inside an object. roles: what its values
    mean; others mean nothing. The role `device` binds a token to its `sub` as the user and leaves
    it no other role. categories, priorities: that tokens may send; null for all.
    """

    issuer: _Text
    audience: _Text
    jwks: Jwks
    algorithms: Annotated[
        tuple[Literal["ES256", "RS256"], ...], Field(min_length=1, max_length=2)
    ] = ("ES256", "RS256")
    leeway_s: Annotated[WholeSeconds, Field(ge=0, le=120)] = 30
    max_lifetime_s: Annotated[WholeSeconds, Field(ge=60, le=86_400)] = 3_600
    roles_claim: Annotated[str, Field(min_length=1, max_length=200)] = "roles"
    roles: Annotated[dict[_Text, Role], Field(min_length=1, max_length=50)]
    categories: Annotated[tuple[Name, ...], Field(min_length=1, max_length=200)] | None = None
    priorities: (
        Annotated[tuple[Priority, ...], Field(min_length=1, max_length=len(Priority))] | None
    ) = None


class AccessLimits(Wire):
    """How often the API may be called. A burst of two seconds' worth is taken.

    requests_per_s: by the whole tenant. key_requests_per_s: with one API key, unless it says
    otherwise, or by one subject of an issuer. device_requests_per_s: by one device or one user with
    a token of the role device; counted by each process for itself. events_per_day,
    key_events_per_day: events in a calendar day of the tenant's time zone, each item of a batch
    being one; null is unlimited.
    """

    requests_per_s: PerSecond = 10_000.0
    key_requests_per_s: PerSecond = 5_000.0
    device_requests_per_s: PerSecond = 20.0
    events_per_day: EventsPerDay | None = None
    key_events_per_day: EventsPerDay | None = None


class TenantAccess(Wire):
    """Who may call the API for the tenant beside its API keys, and how often."""

    issuers: Annotated[tuple[TokenIssuer, ...], Field(max_length=20)] = ()
    limits: AccessLimits = AccessLimits()
