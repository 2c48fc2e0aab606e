"""API keys: their text, the slow hash of their secrets, and who shows one."""

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import BoundedSemaphore, Lock
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from api.auth.access import UnauthenticatedError, UnprovableError
from schemas.access import Principal
from schemas.api_keys import ApiKey, SecretHash
from schemas.definitions import Definition, Kind
from schemas.fields import epoch_ms
from schemas.tenant import Tenant
from state.definitions import Definitions

PREFIX = "clk_"
ID_CHARS, SECRET_CHARS = 12, 32
"""Of base62: 71 and 190 bits."""
SCRYPT_N, SCRYPT_R, SCRYPT_P = 16_384, 8, 1
"""16 MiB and 40 ms a hash. Source: RFC 7914 §2; hashes keep the parameters they were made with."""
SALT_BYTES, DIGEST_BYTES = 16, 32
_MOST_MEMORY_BYTES = 256 * 1_024 * 1_024
HASHES_AT_ONCE = 2
HASH_WAIT_S = 2.0
MAX_REMEMBERED = 10_000
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT = re.compile(
    rf"{PREFIX}(?P<tenant>[A-Za-z0-9][A-Za-z0-9_.-]{{0,63}})"
    rf"_(?P<id>[A-Za-z0-9]{{{ID_CHARS}}})_(?P<secret>[A-Za-z0-9]{{{SECRET_CHARS}}})"
)
_REFUSED = "the API key does not hold: it is mistyped, expired or revoked"


class KeyText(NamedTuple):
    """The parts of a key's text, clk_<tenant>_<id>_<secret>."""

    tenant: str
    id: str
    secret: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.tenant}_{self.id}_{self.secret}"


def parsed(text: str) -> KeyText | None:
    """Take a key's text apart; None for one that is damaged."""
    found = _TEXT.fullmatch(text)
    return None if found is None else KeyText(*found.groups())


def new_id() -> str:
    """Make a key's id."""
    return _random(ID_CHARS)


def new_secret() -> str:
    """Make a secret."""
    return _random(SECRET_CHARS)


def _random(chars: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(chars))


def hashed(secret: str, made_at: datetime) -> SecretHash:
    """Hash a new secret. Takes 40 ms."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _scrypt(secret, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return SecretHash(
        salt=salt.hex(),
        digest=digest.hex(),
        n=SCRYPT_N,
        r=SCRYPT_R,
        p=SCRYPT_P,
        made_at=made_at,
    )


def matches(secret: str, known: SecretHash) -> bool:
    """Tell whether this is the secret that was hashed. Takes 40 ms."""
    digest = _scrypt(secret, bytes.fromhex(known.salt), known.n, known.r, known.p)
    return hmac.compare_digest(digest, bytes.fromhex(known.digest))


def _scrypt(secret: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        secret.encode(), salt=salt, n=n, r=r, p=p, dklen=DIGEST_BYTES, maxmem=_MOST_MEMORY_BYTES
    )


def key_of(definition: Definition) -> ApiKey:
    """Read a stored key. Raises ValueError for one that cannot be read."""
    return ApiKey.model_validate_json(definition.body)


T = TypeVar("T")


class _Remembered(Generic[T]):
    """The newest MAX_REMEMBERED of what was found out, for any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[bytes, T] = OrderedDict()

    def get(self, mark: bytes) -> T | None:
        return self._found.get(mark)

    def put(self, mark: bytes, found: T) -> None:
        with self._lock:
            self._found[mark] = found
            while len(self._found) > MAX_REMEMBERED:
                self._found.popitem(last=False)


class ApiKeys:
    """Proves API keys; see Prover.

    Each proof reads the key's definition, so that a change counts at once; the slow hash is
    computed once for each secret and process. now_ms: the machine's clock.
    """

    def __init__(
        self, tenants: Mapping[str, Tenant], definitions: Definitions, now_ms: Callable[[], int]
    ) -> None:
        self._tenants = tenants
        self._definitions = definitions
        self._now_ms = now_ms
        self._hashing = BoundedSemaphore(HASHES_AT_ONCE)
        # By the fast hash of a key's text: the slow hash that its secret was found to match, and
        # the state of the key in which it matched none.
        self._matched = _Remembered[str]()
        self._refused = _Remembered[tuple[int, int]]()

    def prove(self, credential: str) -> Principal | None:
        """See Prover: one read; for a new secret of a known key also a slow hash."""
        if not credential.startswith(PREFIX):
            return None
        text = parsed(credential)
        if text is None or text.tenant not in self._tenants:
            raise UnauthenticatedError(_REFUSED)
        found = self._definitions.get(Kind.API_KEY, text.tenant, text.id)
        if found is None:
            raise UnauthenticatedError(_REFUSED)
        try:
            key = key_of(found)
        except ValidationError:
            raise UnprovableError("this API key cannot be read: rotate or replace it") from None
        secret = self._secret(credential, text, key, (found.version, found.at_ms))
        ends = [epoch_ms(end) for end in (key.expires_at, secret.until) if end is not None]
        expires_at_ms = min(ends, default=0)
        if 0 < expires_at_ms <= self._now_ms():
            raise UnauthenticatedError(_REFUSED)
        return principal_of(text.tenant, text.id, key, expires_at_ms)

    def _secret(
        self, credential: str, text: KeyText, key: ApiKey, state: tuple[int, int]
    ) -> SecretHash:
        """Give the hash that the secret matches. Raises UnauthenticatedError, UnprovableError."""
        mark = hashlib.sha256(credential.encode()).digest()
        found = self._looked_up(mark, key)
        if found is not None:
            return found
        if self._refused.get(mark) == state:
            raise UnauthenticatedError(_REFUSED)
        if not self._hashing.acquire(timeout=HASH_WAIT_S):
            raise UnprovableError("too many credentials wait to be proven")
        try:
            found = self._looked_up(mark, key)
            if found is not None:
                return found
            for one in self._holding(key):
                if matches(text.secret, one):
                    self._matched.put(mark, one.digest)
                    return one
        finally:
            self._hashing.release()
        self._refused.put(mark, state)
        raise UnauthenticatedError(_REFUSED)

    def _looked_up(self, mark: bytes, key: ApiKey) -> SecretHash | None:
        digest = self._matched.get(mark)
        return next((one for one in self._holding(key) if one.digest == digest), None)

    def _holding(self, key: ApiKey) -> list[SecretHash]:
        now_ms = self._now_ms()
        return [one for one in key.secrets if one.until is None or epoch_ms(one.until) > now_ms]


def principal_of(tenant: str, key_id: str, key: ApiKey, expires_at_ms: int) -> Principal:
    """Give who shows this key."""
    return Principal(
        tenant,
        "key",
        key_id,
        key.effective_scopes(),
        key.effective_priorities(),
        None if key.categories is None else frozenset(key.categories),
        expires_at_ms=expires_at_ms,
        requests_per_s=key.requests_per_s or 0,
        events_per_day=key.events_per_day or 0,
    )
