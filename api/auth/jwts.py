"""Tokens of the tenants' own identity providers: signed JWTs (RFC 7519, RFC 8725)."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any, NamedTuple

import httpx
import jwt
from jwt.utils import base64url_decode, base64url_encode

from api.auth.access import PROVERS_AT_ONCE, UnauthenticatedError
from api.auth.jwks import FETCH_TIMEOUT_S, KeySource, fetcher
from flows.config import ConfigError, Problem
from schemas.access import Principal, Role, priorities_of, scopes_of
from schemas.fields import ID_PATTERN
from schemas.tenant import Tenant
from schemas.tenant_access import TokenIssuer

MAX_AUDIENCES = 20
MAX_SUBJECT_CHARS = 128
"""As user ids have."""
FETCHES_AT_ONCE = 4
WAITING_AT_ONCE = PROVERS_AT_ONCE // 2
"""Callers that wait for keys: the other half of the provers' threads is never held up by it."""
REQUIRED = ("exp", "iat", "aud", "iss", "sub")
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_ID = re.compile(ID_PATTERN)
_UNKNOWN = "the token does not hold: this service does not know its issuer and audience"
_BAD_FORM = "the token does not hold: it is damaged"

MakeSource = Callable[[str, TokenIssuer], KeySource]


class _Trusted(NamedTuple):
    tenant: str
    issuer: TokenIssuer
    source: KeySource


class Jwts:
    """Proves JWTs; see Prover.

    A token names its issuer and audience, and the pair decides whose it is: no two tenants have the
    same. Nothing else in it is believed before its signature held. source_of: makes the source of
    an issuer's keys; fetches nothing. now_ms: the machine's clock. Raises ConfigError for a pair
    that is there twice.
    """

    def __init__(
        self, tenants: Mapping[str, Tenant], source_of: MakeSource, now_ms: Callable[[], int]
    ) -> None:
        self._now_ms = now_ms
        self._trusted: dict[tuple[str, str], _Trusted] = {}
        for name, tenant in tenants.items():
            for issuer in tenant.access.issuers:
                pair = issuer.issuer, issuer.audience
                if other := self._trusted.get(pair):
                    raise ConfigError([_claimed_twice(issuer, name, other.tenant)])
                self._trusted[pair] = _Trusted(name, issuer, source_of(name, issuer))

    def prove(self, credential: str) -> Principal | None:
        """See Prover: no I/O while the issuer's keys are known."""
        if not _FORM.fullmatch(credential):
            return None
        if not _is_canonical(credential.rpartition(".")[2]):
            raise UnauthenticatedError(_BAD_FORM)
        trusted = self._whose(_peek(credential))
        claims = _verified(credential, trusted)
        self._check_times(claims, trusted.issuer)
        return _principal(claims, trusted)

    def _whose(self, claims: Mapping[str, Any]) -> _Trusted:
        """Find the issuer by what a token says of itself; its signature is checked next."""
        issuer, audience = claims.get("iss"), claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if not isinstance(issuer, str) or len(named) > MAX_AUDIENCES:
            raise UnauthenticatedError(_UNKNOWN)
        found = [
            self._trusted[issuer, one]
            for one in dict.fromkeys(one for one in named if isinstance(one, str))
            if (issuer, one) in self._trusted
        ]
        if len(found) != 1:
            raise UnauthenticatedError(_UNKNOWN)
        return found[0]

    def _check_times(self, claims: Mapping[str, Any], issuer: TokenIssuer) -> None:
        now_s = self._now_ms() / 1_000
        expires_s, issued_s = _moment(claims, "exp"), _moment(claims, "iat")
        begins_s = _moment(claims, "nbf") if "nbf" in claims else issued_s
        if expires_s + issuer.leeway_s <= now_s:
            raise UnauthenticatedError("exp: the token has expired, get a new one")
        if max(issued_s, begins_s) > now_s + issuer.leeway_s:
            raise UnauthenticatedError("iat, nbf: the token does not hold yet, compare the clocks")
        if expires_s - issued_s > issuer.max_lifetime_s:
            fix = f"ask for one that is valid for at most {issuer.max_lifetime_s} s"
            raise UnauthenticatedError(f"exp: the token is valid for too long, {fix}")


def jwts_of(tenants: Mapping[str, Tenant], now_ms: Callable[[], int]) -> Jwts:
    """Give the prover with keys from files and over HTTPS. Connects, and reads, at first use.

    Raises ConfigError.
    """
    # trust_env: a proxy that the environment names is used, as elsewhere.
    client = httpx.Client(timeout=FETCH_TIMEOUT_S, follow_redirects=False)
    threads = ThreadPoolExecutor(FETCHES_AT_ONCE, "jwks")
    waiting = BoundedSemaphore(WAITING_AT_ONCE)

    def source_of(tenant: str, issuer: TokenIssuer) -> KeySource:
        fetch = fetcher(issuer.jwks, client, now_ms)
        return KeySource((tenant, issuer.issuer), fetch, threads, waiting, now_ms)

    return Jwts(tenants, source_of, now_ms)


def _claimed_twice(issuer: TokenIssuer, name: str, other: str) -> Problem:
    pair = f"issuer {issuer.issuer!r} with audience {issuer.audience!r}"
    fault = f"{pair} is also tenant {other!r}'s, change one: it must be clear whose a token is"
    return Problem(f"tenant {name}", "access.issuers", fault)


def _is_canonical(part: str) -> bool:
    """Tell whether this is how its bytes are spelled: of the last letter some bits mean nothing."""
    try:
        return base64url_encode(base64url_decode(part)).decode() == part
    except ValueError:
        return False


def _peek(credential: str) -> Mapping[str, Any]:
    """Read the claims of a token that nobody has verified yet."""
    try:
        claims: Mapping[str, Any] = jwt.decode(credential, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise UnauthenticatedError(_BAD_FORM) from None
    return claims


def _verified(credential: str, trusted: _Trusted) -> Mapping[str, Any]:
    """Give the claims of a token whose signature, issuer and audience hold."""
    issuer = trusted.issuer
    try:
        header = jwt.get_unverified_header(credential)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise UnauthenticatedError(_BAD_FORM) from None
    algorithm = next((one for one in issuer.algorithms if one == header.get("alg")), None)
    if algorithm is None:
        known = " or ".join(issuer.algorithms)
        raise UnauthenticatedError(f"alg: the token must be signed with {known}")
    if "crit" in header:
        raise UnauthenticatedError("crit: no extensions of tokens are known here")
    key = trusted.source.key(header.get("kid"), algorithm)
    try:
        claims: Mapping[str, Any] = jwt.decode(
            credential,
            key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            # The times are checked in _check_times, against this process's clock.
            options={
                "require": list(REQUIRED),
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.MissingRequiredClaimError as error:
        raise UnauthenticatedError(f"{error.claim}: the token has no such claim") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise UnauthenticatedError(
            "the token does not hold: it was changed or is damaged"
        ) from None
    return claims


def _moment(claims: Mapping[str, Any], claim: str) -> float:
    """Give a NumericDate in seconds (RFC 7519 §2)."""
    value = claims[claim]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LATEST_S:
        return float(value)
    raise UnauthenticatedError(f"{claim}: must be a number of seconds since 1970")


_LATEST_S = 1e11
"""Past the year 5000; NaN and infinity are not below it."""


def _principal(claims: Mapping[str, Any], trusted: _Trusted) -> Principal:
    issuer, subject = trusted.issuer, str(claims["sub"])
    roles = _roles(claims, issuer)
    is_device = Role.DEVICE in roles
    if is_device:
        roles = {Role.DEVICE}
    if len(subject) > MAX_SUBJECT_CHARS or not _is_id(subject):
        rule = f"1 to {MAX_SUBJECT_CHARS} characters, without blanks and control characters"
        raise UnauthenticatedError(f"sub: must have {rule}")
    priorities = priorities_of(roles)
    return Principal(
        trusted.tenant,
        "device" if is_device else "jwt",
        f"{issuer.issuer} {subject}",
        scopes_of(roles),
        priorities if issuer.priorities is None else priorities & set(issuer.priorities),
        None if issuer.categories is None else frozenset(issuer.categories),
        user_id=subject if is_device else "",
        expires_at_ms=int((_moment(claims, "exp") + issuer.leeway_s) * 1_000),
    )


def _is_id(subject: str) -> bool:
    # A lone surrogate, which JSON can spell, is no text that could be stored.
    return _ID.fullmatch(subject) is not None and not any(
        "\ud800" <= one <= "\udfff" for one in subject
    )


def _roles(claims: Mapping[str, Any], issuer: TokenIssuer) -> set[Role]:
    """Give the roles that a token's claim stands for; what means nothing here is passed over."""
    found = claims.get(issuer.roles_claim)  # whole: providers name claims by URLs, too
    if found is None:
        found = claims
        for part in issuer.roles_claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    named = found.split() if isinstance(found, str) else found
    if not isinstance(named, list):
        return set()
    return {issuer.roles[one] for one in named if isinstance(one, str) and one in issuer.roles}
