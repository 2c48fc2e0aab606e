"""The public keys of identity providers: fetched, kept for a while, looked up by their id."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, wait
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, NamedTuple

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from api.auth.access import UnauthenticatedError, UnprovableError
from schemas import metrics
from schemas.tenant_access import Jwks

FRESH_MS = 600_000
"""How long keys are used without another look."""
KEPT_MS = 86_400_000
"""How long they are used while nobody answers."""
AGAIN_MS = 30_000
"""Between two looks for a key id that is not known."""
RETRY_MS = 5_000
"""Between two attempts while the last one failed."""
FETCH_TIMEOUT_S = 5.0
"""For the connection, and for each part of the answer."""
FETCH_WITHIN_MS = 10_000
"""For the whole answer."""
WAIT_S = 2.0
"""How long a caller waits for keys that are on their way."""
MAX_BYTES = 262_144
MAX_KEYS = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 8_192
"""Source: RFC 7518 §3.3 for the least; more than the most only costs time."""


class NoKeysError(Exception):
    """The keys could not be had; the text says why."""


class _Key(NamedTuple):
    kid: str | None
    algorithm: str
    jwk: PyJWK


class _KeySet(NamedTuple):
    keys: tuple[_Key, ...]
    read_ms: int


class KeySource:
    """The keys of one issuer; for any thread.

    name: (tenant, issuer), for metrics and the log. fetch: gives the JWK Set's bytes, or raises
    NoKeysError. executor: where it runs. waiting: bounds how many callers wait, over all sources,
    so that an issuer that hangs does not keep everybody out. now_ms: the machine's clock.
    """

    def __init__(
        self,
        name: tuple[str, str],
        fetch: Callable[[], bytes],
        executor: Executor,
        waiting: BoundedSemaphore,
        now_ms: Callable[[], int],
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._executor = executor
        self._waiting = waiting
        self._now_ms = now_ms
        self._lock = Lock()
        self._known: _KeySet | None = None
        self._under_way: Future[None] | None = None
        self._tried_ms = -AGAIN_MS
        self._failed = False

    def key(self, kid: str | None, algorithm: str) -> PyJWK:
        """Give the key that a token names, without a name the only one that can be meant.

        Raises UnauthenticatedError when there is none, UnprovableError when that cannot be told.
        """
        found = self._found(kid, algorithm)
        if found is not None:
            if self._age_ms() >= FRESH_MS:
                self._refresh()
            return found
        under_way = self._refresh()
        if under_way is not None:
            self._wait(under_way)
            found = self._found(kid, algorithm)
        if found is not None:
            return found
        if self._failed or self._age_ms() >= KEPT_MS:
            raise UnprovableError("the public keys of the token's issuer cannot be had now")
        raise UnauthenticatedError("the token is signed with a key that its issuer does not have")

    def _age_ms(self) -> int:
        return KEPT_MS if self._known is None else self._now_ms() - self._known.read_ms

    def _found(self, kid: str | None, algorithm: str) -> PyJWK | None:
        known = self._known
        if known is None or self._age_ms() >= KEPT_MS:
            return None
        fit = [one for one in known.keys if one.algorithm == algorithm]
        if kid is not None:
            return next((one.jwk for one in fit if one.kid == kid), None)
        return fit[0].jwk if len(fit) == 1 else None

    def _refresh(self) -> "Future[None] | None":
        """Begin to fetch, unless that goes on already; None when it was tried just now."""
        with self._lock:
            if self._under_way is not None and not self._under_way.done():
                return self._under_way
            now_ms = self._now_ms()
            pause_ms = RETRY_MS if self._failed else AGAIN_MS
            if 0 <= now_ms - self._tried_ms < pause_ms:
                return None
            self._tried_ms = now_ms
            self._under_way = self._executor.submit(self._read)
            return self._under_way

    def _wait(self, under_way: "Future[None]") -> None:
        if under_way.done():
            return
        if not self._waiting.acquire(blocking=False):
            raise UnprovableError("too many wait for the public keys of token issuers")
        try:
            done, _ = wait([under_way], WAIT_S)
        finally:
            self._waiting.release()
        if not done:
            raise UnprovableError("the public keys of the token's issuer are on their way")

    def _read(self) -> None:
        self._failed = True  # until it is known better
        try:
            keys = parsed_keys(self._fetch())
        except NoKeysError as error:
            tenant, issuer = self._name
            metrics.API_JWKS_FAILURES.labels(tenant, issuer).inc()
            structlog.get_logger().warning(
                "jwks_unreadable", tenant=tenant, issuer=issuer, fault=str(error)
            )
            return
        self._known = _KeySet(keys, self._now_ms())
        self._failed = False


def parsed_keys(raw: bytes) -> tuple[_Key, ...]:
    """Read a JWK Set (RFC 7517 §5): the keys that ES256 and RS256 can be checked with.

    Others are passed over, as the RFC asks. Raises NoKeysError for no such key, or for too many.
    """
    try:
        listed = json.loads(raw)["keys"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise NoKeysError("is no JWK Set, a JSON object with `keys`") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise NoKeysError(f"`keys` must be a list of at most {MAX_KEYS}")
    keys = tuple(key for one in listed if (key := _key_of(one)) is not None)
    if not keys:
        raise NoKeysError("has no key for ES256 (P-256) or RS256 (RSA, 2,048 to 8,192 bits)")
    return keys


def _key_of(jwk: Any) -> _Key | None:
    if not isinstance(jwk, dict) or "d" in jwk:  # a private key that was published is no secret
        return None
    algorithm = {"EC": "ES256", "RSA": "RS256"}.get(str(jwk.get("kty")), "")
    for field, good in (("use", "sig"), ("alg", algorithm)):
        if jwk.get(field, good) != good:
            return None
    uses = jwk.get("key_ops", ["verify"])
    kid = jwk.get("kid")
    if not algorithm or not isinstance(uses, list) or "verify" not in uses:
        return None
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        key = PyJWK.from_dict(jwk, algorithm)
    except (PyJWTError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return _Key(kid, algorithm, key) if _is_strong(key.key) else None


def _is_strong(key: Any) -> bool:
    if isinstance(key, RSAPublicKey):
        return MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


def fetcher(jwks: Jwks, client: httpx.Client, now_ms: Callable[[], int]) -> Callable[[], bytes]:
    """Give what reads a JWK Set's bytes, at most MAX_BYTES, from its URL or file.

    What it gives raises NoKeysError. client: follows no redirects, and has timeouts.
    """
    if jwks.file is not None:
        path = Path(jwks.file)
        return lambda: _from_file(path)
    url = str(jwks.url)
    return lambda: _from_url(url, client, now_ms)


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NoKeysError(f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise NoKeysError(f"has more than {MAX_BYTES} bytes")
    return raw


def _from_url(url: str, client: httpx.Client, now_ms: Callable[[], int]) -> bytes:
    until_ms = now_ms() + FETCH_WITHIN_MS
    raw = bytearray()
    try:
        with client.stream("GET", url, headers=_HEADERS, follow_redirects=False) as answer:
            if answer.status_code != httpx.codes.OK:
                raise NoKeysError(f"answers with status {answer.status_code}")
            for part in answer.iter_bytes(65_536):
                raw += part
                if len(raw) > MAX_BYTES:
                    raise NoKeysError(f"has more than {MAX_BYTES} bytes")
                if now_ms() > until_ms:
                    raise NoKeysError(f"takes longer than {FETCH_WITHIN_MS // 1_000} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoKeysError(f"cannot be fetched: {type(error).__name__}") from None
    return bytes(raw)


# Not compressed: MAX_BYTES then bounds what is taken from the network, too.
_HEADERS: Mapping[str, str] = {"Accept": "application/json", "Accept-Encoding": "identity"}
