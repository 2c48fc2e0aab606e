"""Identities derived from what they identify, so that a replay gives the same ones."""

from collections.abc import Iterable
from hashlib import blake2b

from schemas.stream import Source

DIGEST_BYTES = 16


_RANGE = 2.0**64


def draw(text: str) -> float:
    """Give a number from 0 up to 100, the same for the same text on every machine."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _RANGE * 100


class DeliveryIds:
    """Delivery ids of one message: a canonical UUID per device (RFC 9562 version 8)."""

    def __init__(self, tenant: str, message_id: str) -> None:
        self._base = blake2b(f"{tenant}\x00{message_id}\x00".encode(), digest_size=DIGEST_BYTES)

    def of(self, user_id: str, device_id: str) -> str:
        """Give the id for a device of a user."""
        hashed = self._base.copy()
        hashed.update(f"{user_id}\x00{device_id}".encode())
        x = hashed.hexdigest()
        return f"{x[:8]}-{x[8:12]}-8{x[13:16]}-a{x[17:20]}-{x[20:]}"


def decision_id(source: Source, user_id: str, device_id: str, reason: str) -> str:
    """Id of a decision taken on the record at these coordinates."""
    text = (
        f"{source.topic}/{source.partition}/{source.offset}\x00{user_id}\x00{device_id}\x00{reason}"
    )
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def attempt_id(delivery_id: str, attempt: int, status: str) -> str:
    """Id of the outcome of one attempt at a delivery."""
    return f"{delivery_id}.{attempt}.{status}"


def hold_id(delivery_id: str, attempt: int, holds: int) -> str:
    """Id of the outcome of holding a delivery back before an attempt, for the holds-th time.

    Apart from those of attempts and of rates, whose last part is a status or a reason alone.
    """
    return f"{delivery_id}.{attempt}.hold.{holds}"


def trace_id_of(traceparent: str) -> str:
    """Give the trace id inside a W3C traceparent, or an empty string."""
    return traceparent[3:35]


def feedback_id(said: Iterable[str]) -> str:
    """Id of the outcome that a report becomes: of what it says, so that a repeat has the same."""
    return blake2b("\x00".join(said).encode(), digest_size=DIGEST_BYTES).hexdigest()
