"""What may be shown of a token or a user id in a log line."""

from hashlib import blake2b


def masked(value: str) -> str:
    """Give a short stand-in that is always the same for a value, and not reversible."""
    if not value:
        return ""
    return "~" + blake2b(value.encode(), digest_size=5).hexdigest()
