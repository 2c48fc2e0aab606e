"""How limits are told: RateLimit-Policy and RateLimit.

Source: draft-ietf-httpapi-ratelimit-headers-10 (structured fields, RFC 9651).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import ceil, floor

DAY_S = 86_400


@lru_cache(maxsize=4_096)
def rate_policy(name: str, rate_per_s: float) -> str:
    """Say a rate as a whole number (q) in a whole number of seconds (w)."""
    if rate_per_s >= 1:
        return f'"{name}";q={floor(rate_per_s)};w=1'
    return f'"{name}";q=1;w={ceil(1 / rate_per_s)}'


def day_policy(name: str, events: int) -> str:
    """Say a quota of events in a day."""
    return f'"{name}";q={events};w={DAY_S}'


def headers(policies: Sequence[str], name: str, left: float, reset_s: int) -> Mapping[str, str]:
    """Give the headers: all policies, and of the named one what is left until it is reset."""
    return {
        "RateLimit-Policy": ", ".join(policies),
        "RateLimit": f'"{name}";r={max(0, floor(left))};t={reset_s}',
    }
