"""The APNs provider token's life."""

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sinks.apns_token import MIN_AGE_S, REFRESH_AFTER_S, ProviderToken
from sinks.credentials import ApnsCredential


class Clock:
    """A wall clock set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def token(clock: Clock) -> ProviderToken:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return ProviderToken(ApnsCredential("TEAM", "KEY", pem.decode(), "com.x"), clock)


def test_claims(token: ProviderToken, clock: Clock) -> None:
    """The token names key and team, is signed with ES256 and dated now."""
    scheme, _, value = token.current().partition(" ")
    assert scheme == "bearer"
    assert jwt.get_unverified_header(value) == {"alg": "ES256", "kid": "KEY", "typ": "JWT"}
    claims = jwt.decode(value, options={"verify_signature": False})
    assert claims == {"iss": "TEAM", "iat": int(clock.now_s)}


def test_reused_then_refreshed(token: ProviderToken, clock: Clock) -> None:
    """One token serves for 50 minutes, then a new one does."""
    first = token.current()
    clock.now_s += REFRESH_AFTER_S - 1
    assert token.current() == first
    clock.now_s += 1
    assert token.current() != first


def test_refused_token_is_replaced_once(token: ProviderToken, clock: Clock) -> None:
    """ExpiredProviderToken mints one new token, however many requests it answered."""
    first = token.current()
    clock.now_s += MIN_AGE_S
    assert token.replace(first) == 0.0
    second = token.current()
    assert second != first
    assert token.replace(first) == 0.0
    assert token.current() == second


def test_never_two_in_twenty_minutes(token: ProviderToken, clock: Clock) -> None:
    """A young token that is refused stays; the answer says how long to wait."""
    first = token.current()
    clock.now_s += 500
    assert token.replace(first) == MIN_AGE_S - 500
    assert token.current() == first


def test_clock_set_back(token: ProviderToken, clock: Clock) -> None:
    """A token dated ahead of the clock is replaced at once: Apple would refuse it."""
    first = token.current()
    clock.now_s -= 86_400
    assert token.current() != first


def test_unusable_key(clock: Clock) -> None:
    """A key that is no P-256 private key raises, each time."""
    broken = ProviderToken(ApnsCredential("TEAM", "KEY", "not a key", "com.x"), clock)
    for _ in range(2):
        with pytest.raises((ValueError, jwt.PyJWTError)):
            broken.current()
