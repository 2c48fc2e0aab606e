"""Subscriptions of pretended browsers, which generator and simulator derive alike.

Nothing is shared between their processes: keys and scenario follow from the endpoint itself.
All pretended browsers share KEY_PAIRS key pairs, as making a pair for each would cost a demo of a
million devices a minute; real browsers never share one. The auth secrets differ.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.webpush_scenarios import NAMES
from sinks.webpush_crypto import base64url
from sinks.webpush_vapid import public_key

KEY_PAIRS: Final = 64
ACCEPT: Final = "ok"
ANY_KEY: Final = "any"

_PATH = re.compile(r"/push/(?P<scenario>[\w-]+)/(?P<key>[\w-]+)/(?P<id>[\w-]{24})", re.ASCII)
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Subscription(NamedTuple):
    """What a browser hands out. path: of the endpoint. p256dh, auth: base64url."""

    path: str
    p256dh: str
    auth: str


class Receiver(NamedTuple):
    """What stands behind an endpoint. key_print: of the VAPID key at subscribe, or ANY_KEY."""

    scenario: str
    key_print: str
    id: str
    private_key: ec.EllipticCurvePrivateKey
    auth: bytes


def make_subscription(
    seed: str, scenario: str | None = None, *, vapid_public_key: str | None = None
) -> Subscription:
    """Make the subscription of one pretended browser; the same seed gives the same one.

    scenario: one of webpush_scenarios.NAMES, or None to accept. vapid_public_key: base64url, the
    only key that may send to it (as browsers ask for); None lets any key send.
    Raises ValueError for an unknown scenario.
    """
    if scenario is not None and scenario not in NAMES:
        raise ValueError(f"unknown Web Push scenario {scenario!r}")
    key_print = key_print_of(vapid_public_key) if vapid_public_key else ANY_KEY
    identity = base64url(hashlib.sha256(seed.encode()).digest()[:18])
    return Subscription(
        path=f"/push/{scenario or ACCEPT}/{key_print}/{identity}",
        p256dh=_pair(_pair_number(identity))[1],
        auth=base64url(_auth(identity)),
    )


def find_receiver(path: str) -> Receiver | None:
    """Give what an endpoint's path stands for, None when it is none of ours."""
    match = _PATH.fullmatch(path)
    if match is None or match["scenario"] not in NAMES | {ACCEPT}:
        return None
    identity = match["id"]
    private_key = _pair(_pair_number(identity))[0]
    return Receiver(match["scenario"], match["key"], identity, private_key, _auth(identity))


def key_print_of(vapid_public_key: str) -> str:
    """Shorten a VAPID public key for the endpoint, as Mozilla does with its SHA-256."""
    return base64url(hashlib.sha256(vapid_public_key.encode()).digest()[:12])


@lru_cache(maxsize=KEY_PAIRS)
def _pair(number: int) -> tuple[ec.EllipticCurvePrivateKey, str]:
    digest = hashlib.sha256(b"Clarion sandbox key pair %d" % number).digest()
    secret = int.from_bytes(digest) % (_P256_ORDER - 1) + 1
    private_key = ec.derive_private_key(secret, ec.SECP256R1())
    return private_key, public_key(private_key)


def _pair_number(identity: str) -> int:
    return hashlib.sha256(identity.encode()).digest()[0] % KEY_PAIRS


def _auth(identity: str) -> bytes:
    return hashlib.sha256(b"auth of " + identity.encode()).digest()[:16]
