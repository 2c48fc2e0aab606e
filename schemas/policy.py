"""What a tenant's rules are: who gets how much, how fast, and what is held together."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.content import Wire
from schemas.duration import WholeSeconds
from schemas.fields import Country, HoldoutPercent, Name
from schemas.gathering import Arbitration, CategoryDigest
from schemas.pipeline import Platform

DAY_S = 86_400

_Window = Annotated[WholeSeconds, Field(ge=1, le=31 * DAY_S)]
_Names = Annotated[tuple[Name, ...], Field(max_length=200)]


class Cap(Wire):
    """At most `limit` messages to one user in any window of window_s seconds.

    Each message is counted: a rolling window to the millisecond.
    """

    limit: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    window_s: _Window


class CapGroup(Wire):
    """Caps that several categories, or single types of message, share.

    A message counts when its category is among categories and its type among types; an empty list
    means all. channels: counts, and holds back, only what goes out on these; empty counts a
    message once, whatever it goes out on. limits: all hold at once, beside the category's own.
    """

    name: Name
    categories: _Names = ()
    types: _Names = ()
    channels: Annotated[tuple[Platform, ...], Field(max_length=10)] = ()
    limits: Annotated[tuple[Cap, ...], Field(min_length=1, max_length=5)]

    def counts(self, category: str, kind: str) -> bool:
        """Tell whether a message of this category and type counts."""
        return (not self.categories or category in self.categories) and (
            not self.types or kind in self.types
        )


class Category(Wire):
    """The rules for one category of messages.

    consent: whether users get it until they say no (opt_out), or only once they have said yes
    (opt_in). quiet_hours: what happens to a message in the user's quiet hours: defer it to their
    end, drop it, or ignore them. default_ttl_s: for events that give neither ttl_s nor expires_at.
    digest: collapses a user's events into one message. arbitration: lets what comes within a short
    time compete for the caps. flag: only users for whom it is on get any of it.
    """

    caps: Annotated[tuple[Cap, ...], Field(max_length=5)] = ()
    consent: Literal["opt_out", "opt_in"] = "opt_out"
    quiet_hours: Literal["defer", "drop", "ignore"] = "defer"
    default_ttl_s: Annotated[WholeSeconds, Field(ge=1, le=28 * DAY_S)] = 3 * DAY_S
    digest: CategoryDigest | None = None
    arbitration: Arbitration | None = None
    flag: Name | None = None

    @model_validator(mode="after")
    def _one_gathering(self) -> Self:
        if self.digest is not None and self.arbitration is not None:
            raise ValueError("give at most one of digest and arbitration")
        return self


_Rate = Annotated[float, Field(strict=True, gt=0, le=1_000_000, allow_inf_nan=False)]
_Quota = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]


class PlatformRates(Wire):
    """Messages per second to each platform; null is unlimited."""

    apns: _Rate | None = None
    fcm: _Rate | None = None
    webpush: _Rate | None = None


class RegionRate(Wire):
    """How fast to send to users of these countries; a user is of the country in the profile."""

    countries: Annotated[tuple[Country, ...], Field(min_length=1, max_length=300)]
    per_second: _Rate


class Rates(Wire):
    """How fast the tenant may send. per_second: over all platforms; null is unlimited.

    regions: by name; users of a country that none lists are not slowed down by any.
    """

    per_second: _Rate | None = None
    platforms: PlatformRates = PlatformRates()
    regions: dict[Name, RegionRate] = Field(default_factory=dict, max_length=50)

    @model_validator(mode="after")
    def _one_region_each(self) -> Self:
        named: dict[str, str] = {}
        for name, region in self.regions.items():
            for country in region.countries:
                if named.setdefault(country, name) != name:
                    raise ValueError(
                        f"regions: {country} is in {named[country]!r} and {name!r}, keep one"
                    )
        return self

    def of(self, platform: Platform) -> float | None:
        """Messages per second to this platform, None for unlimited."""
        rate: float | None = getattr(self.platforms, platform.value)
        return rate


class Quotas(Wire):
    """Limits over all categories; null is unlimited. Critical messages do not count.

    user_daily: messages to one user in any 24 hours. daily: messages to users, all together, in a
    calendar day of the tenant's time zone.
    """

    user_daily: _Quota | None = None
    daily: _Quota | None = None


class Holdout(Wire):
    """Users who get nothing of some categories, to measure what these do.

    percent: of the tenant's users. name: another name draws other users.
    """

    percent: HoldoutPercent
    categories: Annotated[tuple[Name, ...], Field(min_length=1, max_length=200)]
    name: Name = "all"
