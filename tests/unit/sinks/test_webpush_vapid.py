import re

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from sinks.credentials import WebPushCredential
from sinks.webpush_crypto import decode_base64url
from sinks.webpush_vapid import LIFETIME_S, BadVapidError, VapidHeaders, load_key, public_key

NOW = 1_800_000_000.0
ORIGIN = "https://web.push.apple.com"


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


CREDENTIAL = WebPushCredential(
    pem(ec.generate_private_key(ec.SECP256R1())), "mailto:push@example.com"
)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def read(header: str) -> tuple[dict[str, object], str]:
    """Verify with the k key as a push service does; give the claims and k."""
    match = re.fullmatch(r"vapid t=(\S+), k=(\S+)", header)
    assert match is not None
    point = decode_base64url(match[2])
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    options = {"verify_aud": False, "verify_exp": False}
    claims = jwt.decode(match[1], key, algorithms=["ES256"], options=options)  # type: ignore[arg-type] # a TypedDict
    return claims, match[2]


def test_the_header_is_signed_for_one_origin() -> None:
    """Aud is the push service, exp within 24 hours, sub the contact, k the public key."""
    claims, key = read(VapidHeaders(Clock()).get(CREDENTIAL, ORIGIN))
    assert claims == {
        "aud": ORIGIN,
        "exp": NOW + LIFETIME_S,
        "sub": "mailto:push@example.com",
    }
    assert LIFETIME_S <= 24 * 3600
    assert key == public_key(load_key(CREDENTIAL.private_key_pem))


def test_a_header_is_kept_for_half_its_life() -> None:
    """The same header is given until half of its life is over, then a new one."""
    clock = Clock()
    headers = VapidHeaders(clock)
    first = headers.get(CREDENTIAL, ORIGIN)
    clock.now += LIFETIME_S / 2 - 1
    assert headers.get(CREDENTIAL, ORIGIN) is first
    clock.now += 1
    second = headers.get(CREDENTIAL, ORIGIN)
    assert read(second)[0]["exp"] == NOW + 1.5 * LIFETIME_S


def test_a_clock_set_back_mints_anew() -> None:
    """A header from the future would carry an exp that is too far ahead."""
    clock = Clock()
    headers = VapidHeaders(clock)
    headers.get(CREDENTIAL, ORIGIN)
    clock.now -= 7200
    assert read(headers.get(CREDENTIAL, ORIGIN))[0]["exp"] == NOW - 7200 + LIFETIME_S


def test_origins_and_credentials_have_their_own() -> None:
    """Another origin or key never gets a header made for the first."""
    headers = VapidHeaders(Clock())
    other = WebPushCredential(pem(ec.generate_private_key(ec.SECP256R1())), "https://example.com")
    asked = [(CREDENTIAL, ORIGIN), (CREDENTIAL, "https://fcm.googleapis.com"), (other, ORIGIN)]
    given = [headers.get(*pair) for pair in asked]
    assert len(set(given)) == 3
    assert [headers.get(*pair) for pair in asked] == given


def test_the_cache_is_bounded() -> None:
    """The least recently used header goes first."""
    headers = VapidHeaders(Clock(), max_cached=2)
    kept = headers.get(CREDENTIAL, "https://a.example")
    dropped = headers.get(CREDENTIAL, "https://b.example")
    assert headers.get(CREDENTIAL, "https://a.example") is kept
    headers.get(CREDENTIAL, "https://c.example")
    assert headers.get(CREDENTIAL, "https://a.example") is kept
    assert headers.get(CREDENTIAL, "https://b.example") is not dropped


@pytest.mark.parametrize(
    ("key", "subject", "text"),
    [
        (CREDENTIAL.private_key_pem, "push@example.com", "subject"),
        ("no key at all", "mailto:a@example.com", "readable PEM"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "mailto:a@example.com", "P-256"),
        (pem(rsa.generate_private_key(65537, 2048)), "mailto:a@example.com", "P-256"),
    ],
)
def test_a_bad_credential_is_named(key: str, subject: str, text: str) -> None:
    """What cannot sign says why and never quotes the key."""
    with pytest.raises(BadVapidError, match=text) as raised:
        VapidHeaders(Clock()).get(WebPushCredential(key, subject), ORIGIN)
    assert key not in str(raised.value)
