"""A tenant: who sends, through which apps, and under which rules. One YAML file each."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from schemas.apps import ApnsApp, App, FcmApp, SecretRef, WebPushApp
from schemas.content import Wire, one_or_more
from schemas.duration import Seconds, WholeSeconds
from schemas.fields import Locale, Name, TimeZone
from schemas.gathering import Arbitration, CategoryDigest
from schemas.hooks import Hooks
from schemas.links import LinkRules
from schemas.policy import (
    DAY_S,
    Cap,
    CapGroup,
    Category,
    Holdout,
    PlatformRates,
    Quotas,
    Rates,
    RegionRate,
)
from schemas.registry import QuietWindows
from schemas.template import LintRules, Template
from schemas.tenant_access import TenantAccess

__all__ = [
    "ApnsApp",
    "App",
    "Arbitration",
    "Cap",
    "CapGroup",
    "Category",
    "CategoryDigest",
    "FcmApp",
    "Holdout",
    "PlatformRates",
    "Quotas",
    "Rates",
    "RegionRate",
    "RetryPolicy",
    "SecretRef",
    "Template",
    "Tenant",
    "TokenHygiene",
    "WebPushApp",
    "shards_of",
]


class RetryPolicy(Wire):
    """How transient failures are retried: exponential backoff with jitter.

    base_s: before the second attempt; cap_s: the longest wait. max_elapsed_s: no attempt later
    than this after the first.
    """

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 6
    base_s: Annotated[Seconds, Field(ge=0.05, le=3_600)] = 2.0
    cap_s: Annotated[Seconds, Field(ge=0.05, le=DAY_S)] = 300.0
    max_elapsed_s: Annotated[Seconds, Field(ge=1, le=7 * DAY_S)] = 6 * 3_600.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.base_s > self.cap_s:
            raise ValueError("base_s must not be larger than cap_s")
        return self


class TokenHygiene(Wire):
    """When dead tokens are not believed any more: they may be our own mistake.

    Once min_deaths answers about an app's tokens within window_s say that the token is dead or
    wrong, and they are more than max_share of the answers, no token of the app is pruned until
    `clarion tokens resume`. max_share 1 switches the guard off.
    """

    min_deaths: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 100
    max_share: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] = 0.2
    window_s: Annotated[WholeSeconds, Field(ge=10, le=DAY_S)] = 600


Versions = Annotated[
    tuple[Template, ...],
    Field(min_length=1, max_length=50),
    BeforeValidator(one_or_more, json_schema_input_type=Template | tuple[Template, ...]),
]


def _flag(value: object) -> object:
    """Take true, false and percentages; NaN compares false, so it is none."""
    if isinstance(value, bool) or (isinstance(value, (int, float)) and 0 <= value <= 100):
        return value
    raise ValueError("use true, false or a percentage from 0 to 100")


Flag = Annotated[bool | Annotated[float, Field(ge=0, le=100)], BeforeValidator(_flag)]


class Tenant(Wire):
    """Everything about one tenant.

    shards: into how many parts its users are divided; changing it later moves all users.
    time_zone, locale, quiet_hours: for users of whom nothing better is known.
    caps: over several categories or types, beside those of each category.
    flags: on, off, or on for that percentage of users.
    """

    name: Name
    shards: Annotated[int, Field(strict=True, ge=1, le=4_096)] = 16
    apps: dict[Name, App] = Field(default_factory=dict, max_length=100)
    categories: Annotated[dict[Name, Category], Field(min_length=1, max_length=200)]
    time_zone: TimeZone = "UTC"
    locale: Locale = "en"
    quiet_hours: QuietWindows = ()
    rates: Rates = Rates()
    quotas: Quotas = Quotas()
    holdout: Holdout | None = None
    caps: Annotated[tuple[CapGroup, ...], Field(max_length=20)] = ()
    retry: RetryPolicy = RetryPolicy()
    hygiene: TokenHygiene = TokenHygiene()
    lint: LintRules = LintRules()
    templates: dict[Name, Versions] = Field(default_factory=dict, max_length=1_000)
    flags: dict[Name, Flag] = Field(default_factory=dict, max_length=200)
    hooks: Hooks = Hooks()
    access: TenantAccess = TenantAccess()
    links: LinkRules = LinkRules()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shards & (self.shards - 1):
            raise ValueError("shards: use a power of two, such as 16")
        if unknown := set(self.holdout.categories if self.holdout else ()) - set(self.categories):
            raise ValueError(f"holdout.categories: there is no category {min(unknown)!r}")
        self._check_caps()
        self._check_issuers()
        for name, category in self.categories.items():
            if category.flag is not None and category.flag not in self.flags:
                raise ValueError(f"categories.{name}.flag: there is no flag {category.flag!r}")
        for name, versions in self.templates.items():
            numbers = [template.version for template in versions]
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"templates.{name}: give every version its own number")
            for template in versions:
                if self.locale not in template.texts:
                    raise ValueError(
                        f"templates.{name}: version {template.version} needs texts for the"
                        f" tenant's locale, {self.locale!r}"
                    )
        return self

    def _check_caps(self) -> None:
        names = [group.name for group in self.caps]
        if len(set(names)) < len(names):
            raise ValueError("caps: give every group its own name")
        for group in self.caps:
            if unknown := set(group.categories) - set(self.categories):
                raise ValueError(f"caps.{group.name}: there is no category {min(unknown)!r}")

    def _check_issuers(self) -> None:
        pairs = [(one.issuer, one.audience) for one in self.access.issuers]
        if len(set(pairs)) < len(pairs):
            raise ValueError("access.issuers: give every pair of issuer and audience once")
        for number, one in enumerate(self.access.issuers):
            if unknown := set(one.categories or ()) - set(self.categories):
                place = f"access.issuers.{number}.categories"
                raise ValueError(f"{place}: there is no category {min(unknown)!r}")

    def template(self, name: str, version: int | None = None) -> Template | None:
        """Give this version of a template, the newest without one; None when there is none."""
        versions = self.templates.get(name, ())
        found = [one for one in versions if version is None or one.version == version]
        return max(found, key=lambda one: one.version, default=None)

    def flag_percent(self, name: str) -> float:
        """For how many users of a hundred the flag is on; 0 for an unknown flag."""
        flag = self.flags.get(name, False)
        if isinstance(flag, bool):
            return 100.0 if flag else 0.0
        return flag


def shards_of(tenants: Mapping[str, Tenant], name: str) -> int:
    """Into how many parts the users of a tenant are divided, also of one that is not configured."""
    known = tenants.get(name)
    shards: int = Tenant.model_fields["shards"].default if known is None else known.shards
    return shards
