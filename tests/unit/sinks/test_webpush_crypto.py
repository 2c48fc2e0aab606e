import json
import os
from pathlib import Path
from typing import Any

import http_ece
import pytest
import pywebpush
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.webpush_crypto import (
    BadKeysError,
    FastPusher,
    SubscriptionKeys,
    base64url,
    decode_base64url,
    decrypt,
    encrypt,
    parse_keys,
)
from sinks.webpush_payload import MAX_PLAINTEXT_BYTES
from sinks.webpush_vapid import public_key

DATA = Path(__file__).parents[2] / "data"
RFC8291 = json.loads((DATA / "rfc8291_vector.json").read_text())
RFC8188 = json.loads((DATA / "rfc8188_vector.json").read_text())

PUSHERS = pytest.mark.parametrize("pusher_class", [FastPusher, pywebpush.WebPusher])


def vector(name: str) -> bytes:
    return decode_base64url(RFC8291[name])


def private_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1())


def pusher_of(pusher_class: Any) -> Any:
    return pusher_class({"endpoint": ""})


@PUSHERS
def test_rfc8291_appendix_a_encrypts(pusher_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the RFC's sender key and salt, both encoders give the RFC's body to the byte."""
    sender = private_key(vector("as_private"))
    monkeypatch.setattr(ec, "generate_private_key", lambda *_: sender)
    monkeypatch.setattr(os, "urandom", lambda _: vector("salt"))
    keys = parse_keys(RFC8291["ua_public"], RFC8291["auth_secret"])
    body = encrypt(vector("plaintext_b64url"), keys, pusher=pusher_of(pusher_class))
    assert body == vector("body")
    assert len(body) == RFC8291["body_length"]


def test_rfc8291_appendix_a_decrypts() -> None:
    """The RFC's body opens with the user agent's key and auth secret."""
    opened = decrypt(vector("body"), private_key(vector("ua_private")), vector("auth_secret"))
    assert opened.decode() == RFC8291["plaintext"]


@pytest.mark.parametrize("example", ["example_3_1", "example_3_2"])
def test_rfc8188_examples_hold_in_both_directions(example: str) -> None:
    """The content coding underneath opens RFC 8188's bodies, and makes them where none is padded.

    Example 3.2 pads its first record, which no sender here does: its text makes another body.
    """
    case = RFC8188[example]
    body, salt, key = (decode_base64url(case[name]) for name in ("body", "salt", "ikm"))
    plaintext = case["plaintext"].encode()
    assert http_ece.decrypt(body, key=key) == plaintext
    sealed = http_ece.encrypt(
        plaintext, salt=salt, key=key, keyid=case["keyid"], rs=case["record_size"]
    )
    assert (sealed == body) is (case["records"] == 1)
    assert http_ece.decrypt(sealed, key=key) == plaintext


@PUSHERS
@settings(max_examples=20, deadline=None)
@given(plaintext=st.binary(min_size=1, max_size=MAX_PLAINTEXT_BYTES))
def test_what_is_encrypted_can_be_read(pusher_class: Any, plaintext: bytes) -> None:
    """Every plaintext within the limit opens again, in a body of at most 4096 bytes."""
    receiver = private_key(b"\x05" * 32)
    keys = SubscriptionKeys(decode_base64url(public_key(receiver)), b"a" * 16)
    body = encrypt(plaintext, keys, pusher=pusher_of(pusher_class))
    assert decrypt(body, receiver, b"a" * 16) == plaintext
    assert len(body) == 86 + len(plaintext) + 17 <= 4096


def test_each_message_has_its_own_key_and_salt() -> None:
    """The same text twice shares no sender key and no salt."""
    keys = parse_keys(RFC8291["ua_public"], RFC8291["auth_secret"])
    one, two = (encrypt(b"x", keys, pusher=pusher_of(FastPusher)) for _ in range(2))
    assert one[:16] != two[:16]
    assert one[21:86] != two[21:86]


@pytest.mark.parametrize(
    ("p256dh", "auth", "text"),
    [
        ("", RFC8291["auth_secret"], "p256dh is not base64url"),
        ("not+base64/url", RFC8291["auth_secret"], "p256dh is not base64url"),
        ("AAAAA", RFC8291["auth_secret"], "p256dh is not base64url"),
        (RFC8291["ua_private"], RFC8291["auth_secret"], "uncompressed P-256 point"),
        (RFC8291["ua_public"], "", "auth is not base64url"),
        (RFC8291["ua_public"], "AAAA", "auth is 3 bytes"),
    ],
)
def test_malformed_keys_are_named(p256dh: str, auth: str, text: str) -> None:
    """What is wrong with a subscription's keys is said, and which one."""
    with pytest.raises(BadKeysError, match=text):
        parse_keys(p256dh, auth)


@PUSHERS
def test_a_point_off_the_curve_is_refused(pusher_class: Any) -> None:
    """65 bytes that start with 4 need not be a point."""
    keys = parse_keys(base64url(b"\x04" + b"\x01" * 64), RFC8291["auth_secret"])
    with pytest.raises(BadKeysError, match="not a point"):
        encrypt(b"x", keys, pusher=pusher_of(pusher_class))


def test_padded_keys_are_taken() -> None:
    """Some libraries hand subscriptions on with base64 padding."""
    plain = parse_keys(RFC8291["ua_public"], RFC8291["auth_secret"])
    assert parse_keys(RFC8291["ua_public"] + "=", RFC8291["auth_secret"] + "==") == plain


@pytest.mark.parametrize("body", [b"", b"x" * 20, b"x" * 30, vector("body")[:-1], b"x" * 200])
def test_a_broken_body_is_a_value_error(body: bytes) -> None:
    """Whatever arrives, decrypt() says that it cannot be opened."""
    with pytest.raises(ValueError, match=r".+"):
        decrypt(body, private_key(vector("ua_private")), vector("auth_secret"))


def test_what_the_fast_pusher_does_not_do_pywebpush_does() -> None:
    """Two records, and the older aesgcm, are encoded by pywebpush itself."""
    pusher = pusher_of(FastPusher)
    pusher.receiver_key = vector("ua_public")
    pusher.auth_key = vector("auth_secret")
    body = pusher.encode(b"x" * 5000)["body"]
    assert decrypt(body, private_key(vector("ua_private")), vector("auth_secret")) == b"x" * 5000
    assert set(pusher.encode(b"x", "aesgcm")) == {"crypto_key", "body", "salt"}
    with pytest.raises(pywebpush.NoData):
        pusher.encode(b"")
