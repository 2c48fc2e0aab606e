"""How often a credential and a tenant may call: rates leased from Redis, a slice at a time."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from schemas.access import Principal


class Verdict(NamedTuple):
    """Whether a request may go on. headers: the rate-limit ones. retry_after_s: 0 when it may."""

    headers: Mapping[str, str]
    retry_after_s: int = 0
    why: str = ""


class RequestLimits(Protocol):
    """Limits of requests."""

    def take(self, principal: Principal, cost: int) -> Verdict | None:
        """Take from what this process has leased; None when it must lease first. Never blocks."""
        ...

    async def lease(self, principal: Principal, cost: int) -> Verdict:
        """Lease from Redis, then take. Without Redis everybody may."""
        ...

    async def take_events(self, principal: Principal, count: int) -> Verdict:
        """Take events from the quotas of the day: all of them, or none. As lease."""
        ...
