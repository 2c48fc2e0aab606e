"""What people bring back signed: device tokens and links. HMAC-SHA-256, a key per purpose."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_SIGNED_CHARS = 4_096
_MAC_BYTES = 20


class Purpose(StrEnum):
    """What a signed text is for; one made for another purpose does not hold."""

    DEVICE = "device"
    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"
    CLICK = "click"
    CURSOR = "cursor"
    RECEIPT = "receipt"
    ERASED = "erased"


class BadSignatureError(ValueError):
    """The text was not signed here for this purpose, or has expired."""


class Signer:
    """Signs with the first key and takes the signatures of all of them.

    master_keys: 32 bytes each, the newest first.
    """

    def __init__(self, master_keys: Sequence[bytes]) -> None:
        if not master_keys:
            raise ValueError("give at least one key")
        self._keys = {
            purpose: [_derived(key, purpose) for key in master_keys] for purpose in Purpose
        }

    def sign(self, purpose: Purpose, body: Any, *, expires_at_ms: int = 0) -> str:
        """Sign what msgpack can hold, short, as text for URLs. expires_at_ms: 0 for never."""
        packed = msgspec.msgpack.encode((expires_at_ms, body))
        return _text(_mac(self._keys[purpose][0], packed) + packed)

    def open(self, purpose: Purpose, signed: str, now_ms: int) -> Any:
        """Give what was signed. Raises BadSignatureError."""
        try:
            if len(signed) > MAX_SIGNED_CHARS:
                raise BadSignatureError("too long")
            raw = urlsafe_b64decode(signed + "=" * (-len(signed) % 4))
            mac, packed = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        except (Base64Error, ValueError):
            raise BadSignatureError("the link or token is damaged") from None
        if _text(raw) != signed:  # base64 can be spelled in many ways: one of them counts
            raise BadSignatureError("the link or token is damaged")
        if not any(hmac.compare_digest(_mac(key, packed), mac) for key in self._keys[purpose]):
            raise BadSignatureError("the link or token is damaged, or not of this service")
        expires_at_ms, body = msgspec.msgpack.decode(packed)
        if expires_at_ms and expires_at_ms <= now_ms:
            raise BadSignatureError("the link or token has expired")
        return body

    def pseudonym(self, purpose: Purpose, text: str) -> str:
        """Give a keyed hash that stands for a text: who has the key can tell it is of this text."""
        return _mac(self._keys[purpose][0], text.encode()).hex()

    def is_pseudonym(self, purpose: Purpose, text: str, given: str) -> bool:
        """Tell whether it stands for the text, also by an older key."""
        return any(
            hmac.compare_digest(_mac(key, text.encode()).hex(), given)
            for key in self._keys[purpose]
        )


def _derived(master: bytes, purpose: Purpose) -> bytes:
    info = f"clarion {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(master)


def _mac(key: bytes, packed: bytes) -> bytes:
    return hmac.digest(key, packed, hashlib.sha256)[:_MAC_BYTES]


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
