"""Device tokens that tell the APNs simulator what to answer.

Such a token is 32 bytes in hex, as a real one is:
magic (4) | CRC-32 of the scenario's name (4) | time in ms (8) | seed (8) | digest of those (8)
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping

import msgspec

REASONS: Mapping[int, tuple[str, ...]] = {
    400: (
        "BadCollapseId",
        "BadDeviceToken",
        "BadExpirationDate",
        "BadMessageId",
        "BadPriority",
        "BadTopic",
        "DeviceTokenNotForTopic",
        "DuplicateHeaders",
        "IdleTimeout",
        "InvalidPushType",
        "MissingDeviceToken",
        "MissingTopic",
        "PayloadEmpty",
        "TopicDisallowed",
        "FeatureNotEnabled",
        "MissingChannelId",
        "BadChannelId",
        "ChannelNotRegistered",
        "BadRequestParams",
        "BadRequestPayload",
        "MissingPushType",
        "CannotCreateChannelConfig",
    ),
    403: (
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadEnvironmentKeyIdInToken",
        "BadEnvironmentKeyInToken",
        "ExpiredProviderToken",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
        "UnrelatedKeyIdInToken",
        "TopicMismatch",
    ),
    404: ("BadPath",),
    405: ("MethodNotAllowed",),
    410: ("ExpiredToken", "Unregistered"),
    413: ("PayloadTooLarge",),
    429: ("TooManyProviderTokenUpdates", "TooManyRequests"),
    500: ("InternalServerError",),
    503: ("ServiceUnavailable", "Shutdown"),
}
"""Every reason APNs gives, by status. Source: Apple, "Handling notification responses from APNs"
(https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns)
and its pages on broadcast and channel management."""

STATUS_OF: Mapping[str, int] = {
    reason: status for status, reasons in REASONS.items() for reason in reasons
}

GOAWAY = "Goaway"
"""Accepted, then a graceful GOAWAY (NO_ERROR)."""
GOAWAY_ERROR = "GoawayError"
"""Accepted, then a GOAWAY with INTERNAL_ERROR."""
RESET = "Reset"
"""RST_STREAM instead of an answer."""
CLOSE = "Close"
"""The connection is cut instead of an answer."""
SLOW = "Slow"
"""Accepted after a while."""
HANG = "Hang"
"""Never answered."""
UNLISTED = "NobodyKnowsThisReason"
"""Refused with 400 and a reason that Apple does not list."""

SCENARIOS = (*STATUS_OF, GOAWAY, GOAWAY_ERROR, RESET, CLOSE, SLOW, HANG, UNLISTED)

DEFAULT_INVALID_AT_MS = 1_700_000_000_000
"""When a token of a 410 scenario died, unless dead_token() says otherwise."""

_MAGIC = bytes.fromhex("c1a510de")
_LAYOUT = struct.Struct(">4sIQQ")
_DIGEST_BYTES = 8
_TOKEN_CHARACTERS = 2 * (_LAYOUT.size + _DIGEST_BYTES)
_MAGIC_HEX = _MAGIC.hex()
_BY_CODE = {zlib.crc32(name.encode()): name for name in SCENARIOS}


class Scenario(msgspec.Struct, frozen=True):
    """What a token asks for. at_ms: the time of a 410."""

    name: str
    at_ms: int


def scenario_token(reason: str, seed: int) -> str:
    """Make a device token that is answered so.

    reason: an APNs reason or one of the scenarios above, else ValueError. seed: 0 to 2**64 - 1;
    tokens of different seeds differ.
    """
    return _token(reason, DEFAULT_INVALID_AT_MS, seed)


def dead_token(seed: int, invalid_at_ms: int) -> str:
    """Make a device token that is Unregistered since invalid_at_ms (UTC)."""
    return _token("Unregistered", invalid_at_ms, seed)


def read_scenario(token: str) -> Scenario | None:
    """Give what the token asks for, or None for an ordinary one."""
    lowered = token.lower()
    if not lowered.startswith(_MAGIC_HEX) or len(token) != _TOKEN_CHARACTERS:
        return None
    try:
        raw = bytes.fromhex(lowered)
    except ValueError:
        return None
    _, code, at_ms, _ = _LAYOUT.unpack(raw[: _LAYOUT.size])
    name = _BY_CODE.get(code)
    if name is None or raw[_LAYOUT.size :] != _digest(raw[: _LAYOUT.size]):
        return None
    return Scenario(name, at_ms)


def _token(name: str, at_ms: int, seed: int) -> str:
    if name not in SCENARIOS:
        raise ValueError(f"unknown scenario {name!r}; known are {SCENARIOS}")
    head = _LAYOUT.pack(_MAGIC, zlib.crc32(name.encode()), at_ms, seed)
    return (head + _digest(head)).hex()


def _digest(head: bytes) -> bytes:
    return hashlib.sha256(head).digest()[:_DIGEST_BYTES]
