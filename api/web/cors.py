"""What pages of other origins may ask of the API, and read of its answers."""

from collections.abc import Sequence
from typing import Any

MAX_AGE_S = 600
ASKED = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "X-Request-ID",
)
TOLD = (
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
)


def cors(origins: Sequence[str]) -> dict[str, Any]:
    """Give the options of Starlette's CORSMiddleware.

    Without cookies: a page shows a token that it was given, and acts for nobody else.
    """
    return {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "allow_headers": ASKED,
        "expose_headers": TOLD,
        "allow_credentials": False,
        "max_age": MAX_AGE_S,
    }
