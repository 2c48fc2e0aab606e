"""VAPID: who sends, signed once per push service and reused (RFC 8292)."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from sinks.credentials import WebPushCredential
from sinks.webpush_crypto import base64url

LIFETIME_S: Final = 12 * 3600
"""At most 24 h may lie between request and exp; half of it leaves room for wrong clocks."""

REFRESH_AFTER_S: Final = LIFETIME_S / 2
"""Apple asks not to mint more than once an hour.

Source: https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers
"""

MAX_CACHED: Final = 1024


class BadVapidError(ValueError):
    """The credential's key or subject cannot make a VAPID header."""


class _Signed(NamedTuple):
    header: str
    minted_at_s: float


class VapidHeaders:
    """Authorization headers by (credential, origin). now: seconds since the epoch."""

    def __init__(self, now: Callable[[], float], *, max_cached: int = MAX_CACHED) -> None:
        self._now = now
        self._max_cached = max_cached
        self._signed: OrderedDict[tuple[WebPushCredential, str], _Signed] = OrderedDict()

    def get(self, credential: WebPushCredential, origin: str) -> str:
        """Give the header's value for this push service (scheme://host[:port]).

        Raises BadVapidError.
        """
        now = self._now()
        key = (credential, origin)
        found = self._signed.get(key)
        # A clock set back must not keep a token whose exp then lies too far ahead.
        if found is None or not 0 <= now - found.minted_at_s < REFRESH_AFTER_S:
            found = _Signed(sign(credential, origin, expires_at_s=int(now) + LIFETIME_S), now)
            self._signed[key] = found
            if len(self._signed) > self._max_cached:
                self._signed.popitem(last=False)
        self._signed.move_to_end(key)
        return found.header


def sign(credential: WebPushCredential, origin: str, *, expires_at_s: int) -> str:
    """Mint one header value, "vapid t=<JWT>, k=<public key>". Raises BadVapidError."""
    if not credential.subject.startswith(("mailto:", "https:")):
        raise BadVapidError("the VAPID subject must be a mailto: or https: URL")
    key = load_key(credential.private_key_pem)
    claims = {"aud": origin, "exp": expires_at_s, "sub": credential.subject}
    token = jwt.encode(claims, key, algorithm="ES256")
    return f"vapid t={token}, k={public_key(key)}"


def load_key(private_key_pem: str) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 private key. Raises BadVapidError, which never quotes the key."""
    try:
        key = load_pem_private_key(private_key_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadVapidError("the VAPID private key is not a readable PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadVapidError("the VAPID private key is not on P-256")
    return key


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """Give the applicationServerKey of the browser's subscribe(): uncompressed, base64url."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64url(point)
