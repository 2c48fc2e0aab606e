import dataclasses
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from sandbox.http_types import Connection, Request
from sandbox.webpush import WebPushSimulator, make_subscription
from sandbox.webpush_subscriptions import KEY_PAIRS, Subscription
from sinks.credentials import WebPushCredential
from sinks.webpush_crypto import FastPusher, base64url, encrypt, parse_keys
from sinks.webpush_vapid import public_key, sign

NOW = 1_800_000_000.0
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
SUBJECT = "mailto:push@example.com"
ORIGIN = "http://127.0.0.1:4000"


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def vapid(*, key: Any = KEY, aud: str = ORIGIN, exp: float = NOW + 3600) -> str:
    return sign(WebPushCredential(pem(key), SUBJECT), aud, expires_at_s=int(exp))


def seal(subscription: Subscription, plaintext: bytes = b'{"title":"t"}') -> bytes:
    keys = parse_keys(subscription.p256dh, subscription.auth)
    return encrypt(plaintext, keys, pusher=FastPusher({"endpoint": ""}))


def request(subscription: Subscription, **headers: str | None) -> Request:
    given = {
        "authorization": vapid(),
        "ttl": "60",
        "content-encoding": "aes128gcm",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Request(
        "POST",
        subscription.path,
        {name: value for name, value in given.items() if value is not None},
        seal(subscription),
        "2",
        Connection("2"),
    )


@pytest.fixture
def simulator() -> WebPushSimulator:
    simulator = WebPushSimulator(now=lambda: NOW)
    simulator._origins = frozenset({ORIGIN})
    return simulator


REGISTERED = make_subscription("seed", vapid_public_key=public_key(KEY))


def test_a_right_request_is_accepted_and_read(simulator: WebPushSimulator) -> None:
    """201 with Location and the TTL that is kept; the plaintext is what was sent."""
    response = simulator.handle(request(REGISTERED, ttl="9999999", urgency="low", topic="a-b_c"))
    assert response.status == 201
    assert response.headers["ttl"] == "2592000"
    assert "/m/" in response.headers["location"]
    assert simulator.recent[0].plaintext == b'{"title":"t"}'
    assert (simulator.requests, simulator.accepted, simulator.rejected) == (1, 1, 0)


def claims_without(name: str) -> str:
    claims = {"aud": ORIGIN, "exp": NOW + 60, "sub": SUBJECT}
    del claims[name]
    return f"vapid t={jwt.encode(claims, KEY, algorithm='ES256')}, k={public_key(KEY)}"


def with_sub(sub: str) -> str:
    claims = {"aud": ORIGIN, "exp": NOW + 60, "sub": sub}
    return f"vapid t={jwt.encode(claims, KEY, algorithm='ES256')}, k={public_key(KEY)}"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer x", 401),
        ("vapid t=x", 401),
        (f"vapid t=x.y.z, k={public_key(KEY)}", 403),
        (vapid().replace(public_key(KEY), public_key(OTHER_KEY)), 403),
        (vapid().replace(public_key(KEY), base64url(b"\4" * 65)), 403),
        (vapid(key=OTHER_KEY), 403),
        (vapid(aud="https://fcm.googleapis.com"), 403),
        (vapid(exp=NOW), 403),
        (vapid(exp=NOW + 24 * 3600 + 1), 403),
        (claims_without("exp"), 403),
        (claims_without("aud"), 403),
        (claims_without("sub"), 403),
        (with_sub("push@example.com"), 403),
    ],
)
def test_vapid_faults(simulator: WebPushSimulator, authorization: str | None, status: int) -> None:
    """Each fault of RFC 8292 is refused, also when it comes a second time."""
    for _ in range(2):
        assert simulator.handle(request(REGISTERED, authorization=authorization)).status == status
    assert (simulator.requests, simulator.accepted, simulator.rejected) == (2, 0, 2)


def test_a_verified_header_still_expires() -> None:
    """The signature is verified once, the expiry each time."""
    times = iter([NOW, NOW + 3601])
    simulator = WebPushSimulator(now=lambda: next(times))
    simulator._origins = frozenset({ORIGIN})
    assert simulator.handle(request(REGISTERED)).status == 201
    assert simulator.handle(request(REGISTERED)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"ttl": None},
        {"ttl": "-1"},
        {"ttl": "1.5"},
        {"ttl": "²"},
        {"urgency": "urgent"},
        {"topic": ""},
        {"topic": "a" * 33},
        {"topic": "a b"},
        {"content_encoding": None},
        {"content_encoding": "aesgcm"},
    ],
)
def test_header_faults(simulator: WebPushSimulator, headers: dict[str, str | None]) -> None:
    """Each fault of RFC 8030's headers is a 400."""
    assert simulator.handle(request(REGISTERED, **headers)).status == 400


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "GET"}, 405),
        ({"path": "/push/ok/any/short"}, 404),
        ({"path": REGISTERED.path.replace("/ok/", "/no-such-scenario/")}, 404),
        ({"body": b"x" * 4097}, 413),
        ({"body": b"x" * 200}, 400),
        ({"body": seal(make_subscription("another"))}, 400),
        ({"body": seal(REGISTERED, b"x" * 3993)}, 201),
        ({"body": b""}, 201),
        ({"duplicates": frozenset({"ttl"})}, 400),
        ({"duplicates": frozenset({"accept"})}, 201),
    ],
)
def test_requests(simulator: WebPushSimulator, changes: dict[str, Any], status: int) -> None:
    """Unknown resources, sizes and bodies for another subscription are told apart."""
    changed = dataclasses.replace(request(REGISTERED), **changes)
    assert simulator.handle(changed).status == status


def test_an_unrestricted_subscription_takes_any_key(simulator: WebPushSimulator) -> None:
    """Without a key at subscribe time any valid VAPID header will do."""
    open_to_all = make_subscription("seed")
    assert simulator.handle(request(open_to_all, authorization=vapid(key=OTHER_KEY))).status == 201


def test_stats(simulator: WebPushSimulator) -> None:
    """GET /sandbox/stats counts what came, and not itself."""
    simulator.handle(request(REGISTERED))
    simulator.handle(request(make_subscription("x", "mozilla-410-106")))
    stats = simulator.handle(
        dataclasses.replace(request(REGISTERED), method="GET", path="/sandbox/stats")
    )
    assert json.loads(stats.body) == {"accepted": 1, "requests": 2, "rejected": 1}


def test_subscriptions_are_made_alike_everywhere() -> None:
    """The same seed gives the same subscription; seeds differ in path and auth, keys are pooled."""
    made = [make_subscription(f"device-{n}") for n in range(500)]
    assert made == [make_subscription(f"device-{n}") for n in range(500)]
    assert len({s.path for s in made}) == len({s.auth for s in made}) == 500
    assert len({s.p256dh for s in made}) == KEY_PAIRS


def test_an_unknown_scenario_is_refused() -> None:
    """A misspelt scenario shows when the subscription is made."""
    with pytest.raises(ValueError, match="'gone'"):
        make_subscription("seed", "gone")
