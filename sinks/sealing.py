"""Secrets at rest: envelopes under master keys, each bound to what it is for.

A data key per secret, so that a new master key means wrapping 32 bytes anew, not every secret.
"""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.credentials import Envelope
from schemas.security import SecuritySettings
from schemas.settings import variable

KEY_BYTES: Final = 32
MAX_MASTER_KEYS: Final = 10
_NONCE_BYTES: Final = 12
_HOW = "make one with: clarion secrets new-key"


class MasterKeyError(ValueError):
    """There is no usable master key; the message says what to do and holds no key."""


class SealError(ValueError):
    """An envelope does not open; the message holds nothing of it."""


def new_master_key() -> str:
    """Make a master key: base64 of 32 random bytes."""
    return b64encode(os.urandom(KEY_BYTES)).decode()


def read_master_keys(security: SecuritySettings) -> list[bytes]:
    """Give the master keys, newest first; none when none is set. Raises MasterKeyError."""
    if security.master_key_file is not None:
        if security.master_key is not None or security.master_keys is not None:
            name = variable("security", "master_key_file")
            raise MasterKeyError(f"{name}: keys are given by value as well, keep one of both")
        return _parsed(_lines(security.master_key_file), variable("security", "master_key_file"))
    newest = [security.master_key] if security.master_key is not None else []
    if not newest and security.master_keys is not None:
        name = variable("security", "master_key")
        raise MasterKeyError(f"{name}: only older keys are set, set the newest here")
    older = security.master_keys.get_secret_value().split(",") if security.master_keys else []
    texts = [*(one.get_secret_value() for one in newest), *older]
    return _parsed(texts, variable("security", "master_key"))


def _lines(path: Path) -> list[str]:
    name = variable("security", "master_key_file")
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(MAX_MASTER_KEYS * 200)
    except OSError as error:
        raise MasterKeyError(f"{name}: cannot read {path}: {error.strerror}; {_HOW}") from None
    except UnicodeDecodeError:
        raise MasterKeyError(f"{name}: {path} is no text file; {_HOW}") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise MasterKeyError(f"{name}: {path} holds no key; {_HOW}")
    return lines


def _parsed(texts: Sequence[str], name: str) -> list[bytes]:
    if len(texts) > MAX_MASTER_KEYS:
        raise MasterKeyError(f"{name}: {len(texts)} keys, keep the newest {MAX_MASTER_KEYS}")
    keys: list[bytes] = []
    for number, text in enumerate(texts, 1):
        try:
            key = b64decode(text.strip(), validate=True)
        except (Base64Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise MasterKeyError(f"{name}: key {number} is not base64 of 32 bytes; {_HOW}")
        if len(set(key)) < KEY_BYTES // 4:
            raise MasterKeyError(f"{name}: key {number} is not random; {_HOW}")
        keys.append(key)
    return keys


class KeyRing:
    """Seals under the first master key and opens under all of them.

    master_keys: 32 bytes each, newest first.
    """

    def __init__(self, master_keys: Sequence[bytes]) -> None:
        if not master_keys:
            raise MasterKeyError(f"there is no master key: {_HOW}")
        # The id is derived as well: it tells which key it was and nothing about the key.
        self._wrappers = {
            _derived(key, "key id", 8).hex(): AESGCM(_derived(key, "credentials", KEY_BYTES))
            for key in master_keys
        }
        self.newest = next(iter(self._wrappers))

    def seal(self, secret: bytes, *, tenant: str, app: str) -> Envelope:
        """Seal a secret for one app of one tenant."""
        data_key = AESGCM.generate_key(8 * KEY_BYTES)
        bound = _bound(tenant, app)
        return Envelope(
            key_id=self.newest,
            wrapped_key=_encrypt(self._wrappers[self.newest], data_key, bound),
            sealed=_encrypt(AESGCM(data_key), secret, bound),
        )

    def open(self, envelope: Envelope, *, tenant: str, app: str) -> bytes:
        """Give the secret. Raises SealError: unknown key, tampered with, or of another app."""
        data_key = self._unwrap(envelope, tenant, app)
        return _decrypt(AESGCM(data_key), envelope.sealed, _bound(tenant, app))

    def rewrap(self, envelope: Envelope, *, tenant: str, app: str) -> Envelope | None:
        """Give it under the newest master key, None when it is already. Raises SealError."""
        if envelope.key_id == self.newest:
            return None
        data_key = self._unwrap(envelope, tenant, app)
        wrapped = _encrypt(self._wrappers[self.newest], data_key, _bound(tenant, app))
        return envelope.model_copy(update={"key_id": self.newest, "wrapped_key": wrapped})

    def _unwrap(self, envelope: Envelope, tenant: str, app: str) -> bytes:
        wrapper = self._wrappers.get(envelope.key_id)
        if wrapper is None:
            raise SealError(f"it is sealed under master key {envelope.key_id}, which is not here")
        data_key = _decrypt(wrapper, envelope.wrapped_key, _bound(tenant, app))
        if len(data_key) != KEY_BYTES:
            raise SealError("its data key has a wrong length")
        return data_key


def _derived(master: bytes, purpose: str, length: int) -> bytes:
    info = f"clarion {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(master)


def _bound(tenant: str, app: str) -> bytes:
    return b"\0".join([b"clarion credential", tenant.encode(), app.encode()])


def _encrypt(cipher: AESGCM, clear: bytes, bound: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return b64encode(nonce + cipher.encrypt(nonce, clear, bound)).decode()


def _decrypt(cipher: AESGCM, text: str, bound: bytes) -> bytes:
    try:
        raw = b64decode(text, validate=True)
        return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise SealError("it does not open: damaged, or of another tenant or app") from None
