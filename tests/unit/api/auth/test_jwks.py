"""The keys of identity providers: what is taken, how long it is kept, and when it is fetched."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.auth.access import UnauthenticatedError, UnprovableError
from api.auth.jwks import MAX_BYTES, NoKeysError, fetcher, parsed_keys
from schemas.tenant_access import Jwks
from tests.unit.api.auth.jwt_stand import (
    NOW_S,
    AtOnce,
    Provider,
    jwk_of,
    key_set,
    private_key,
    token,
)

URL = Jwks(url="https://id.example.com/keys")


class Later(AtOnce):
    """Runs what it was given when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Future[Any]]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        del args, kwargs
        self.waiting.append((fn, Future()))
        return self.waiting[-1][1]

    def run(self) -> None:
        for fn, future in self.waiting:
            future.set_result(fn())


def rotate(provider: Provider, *names: str) -> None:
    provider.answer = key_set(*(jwk_of(private_key(name), kid=name) for name in names))


def test_keys_are_fetched_once_in_ten_minutes() -> None:
    """At first use, and then when they are no longer fresh."""
    provider = Provider()
    source = provider.source()
    assert provider.fetches == 0
    for seconds, fetches in ((0, 1), (599, 1), (600, 2), (601, 2)):
        provider.now_s = NOW_S + seconds
        source.key("k1", "ES256")
        assert provider.fetches == fetches


def test_a_new_key_is_found_at_once_and_a_made_up_one_costs_little() -> None:
    """An id that is not known is looked for at most every 30 seconds."""
    provider = Provider()
    prover = provider.prover()
    prover.prove(token())
    rotate(provider, "k1", "k2")
    provider.now_s += 30
    assert prover.prove(token(key=private_key("k2"), kid="k2")) is not None
    for number in range(5):
        with pytest.raises(UnauthenticatedError):
            prover.prove(token(kid=f"made-up-{number}"))
    assert provider.fetches == 2


def test_keys_count_for_a_day_while_the_provider_is_away() -> None:
    """Then it cannot be told any more; when it is back they count again."""
    provider = Provider()
    source = provider.source()
    source.key("k1", "ES256")
    provider.answer = None
    provider.now_s += 86_399
    source.key("k1", "ES256")
    provider.now_s += 1
    with pytest.raises(UnprovableError):
        source.key("k1", "ES256")
    rotate(provider, "k1")
    provider.now_s += 5
    source.key("k1", "ES256")


def test_an_unknown_id_cannot_be_told_while_the_provider_is_away() -> None:
    """It might be a new key: not 401."""
    provider = Provider()
    source = provider.source()
    source.key("k1", "ES256")
    provider.answer = None
    provider.now_s += 60
    with pytest.raises(UnprovableError):
        source.key("k2", "ES256")


def test_keys_that_never_came_are_asked_for_every_five_seconds() -> None:
    """However many tokens come."""
    provider = Provider()
    provider.answer = None
    source = provider.source()
    for _ in range(3):
        with pytest.raises(UnprovableError):
            source.key("k1", "ES256")
    assert provider.fetches == 1
    rotate(provider, "k1")
    provider.now_s += 5
    source.key("k1", "ES256")


def test_keys_in_use_are_renewed_without_waiting() -> None:
    """The old ones count until the new ones are there, and one fetch goes on at a time."""
    provider, later = Provider(), Later()
    source = provider.source(executor=later)
    with pytest.raises(UnprovableError, match="on their way"):
        source.key("k1", "ES256")
    later.run()
    later.waiting.clear()
    provider.now_s += 700
    for _ in range(3):
        source.key("k1", "ES256")
    assert len(later.waiting) == 1


def test_a_removed_key_ends_when_the_set_is_read_again() -> None:
    """Taking a key out of the set takes its tokens' power."""
    provider = Provider()
    source = provider.source()
    source.key("k1", "ES256")
    rotate(provider, "k2")
    provider.now_s += 600
    source.key("k1", "ES256")
    with pytest.raises(UnauthenticatedError):
        source.key("k1", "ES256")


def test_a_token_without_an_id_means_the_only_key() -> None:
    """With two of its kind it means none."""
    provider = Provider()
    provider.source().key(None, "ES256")
    rotate(provider, "k1", "k2")
    with pytest.raises(UnauthenticatedError):
        provider.source().key(None, "ES256")


def test_a_key_is_used_for_its_own_algorithm_alone() -> None:
    """An EC key checks no RS256."""
    with pytest.raises(UnauthenticatedError):
        Provider().source().key("k1", "RS256")


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        jwk_of(private_key("k1"), use="enc"),
        jwk_of(private_key("k1"), alg="ES384"),
        jwk_of(private_key("k1"), key_ops=["sign"]),
        jwk_of(private_key("k1"), kid=5),
        jwk_of(private_key("k1"), d="c2VjcmV0"),
        jwk_of(private_key("k1")) | {"x": "AA"},
        jwk_of(private_key("k1")) | {"x": 5},
        jwk_of(private_key("k1")) | {"crv": "P-384"},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
        {"kty": ["EC"]},
        jwk_of(rsa.generate_private_key(65_537, 1_024)),  # noqa: S505  # what is refused here
        "text",
    ],
)
def test_keys_that_cannot_be_used_are_passed_over(jwk: Any) -> None:
    """Symmetric, for encryption, private, weak or damaged; a set of nothing else is none."""
    good = jwk_of(private_key("k1"), kid="good")
    assert [one.kid for one in parsed_keys(key_set(jwk, good))] == ["good"]
    with pytest.raises(NoKeysError):
        parsed_keys(key_set(jwk))


def test_other_curves_are_passed_over() -> None:
    """ES256 is P-256 alone (RFC 7518 §3.4)."""
    other: Any = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(NoKeysError):
        parsed_keys(key_set(jwk_of(other)))


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"keys": {}}', b"[" * 5_000, b"\xff", b'{"keys": [%b1]}' % (b"1," * 100)],
)
def test_what_is_no_key_set_is_said(raw: bytes) -> None:
    """Also one of too many keys."""
    with pytest.raises(NoKeysError):
        parsed_keys(raw)


def fetched(answer: httpx.Response, seconds: int = 0) -> bytes:
    times = iter(range(0, 10_000_000, seconds * 1_000 or 1))
    transport = httpx.MockTransport(lambda _request: answer)
    return fetcher(URL, httpx.Client(transport=transport), lambda: next(times))()


def test_keys_come_over_https() -> None:
    """The answer's bytes; no compression is asked for."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b'{"keys": []}')

    client = httpx.Client(transport=httpx.MockTransport(answer))
    assert json.loads(fetcher(URL, client, lambda: 0)()) == {"keys": []}
    assert asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(302, headers={"location": "https://id.example.com/k"}), "status 302"),
        (httpx.Response(500), "status 500"),
        (httpx.Response(200, content=b"x" * (MAX_BYTES + 1)), "more than"),
    ],
)
def test_other_answers_are_no_keys(answer: httpx.Response, why: str) -> None:
    """Redirects are not followed, and no more than a bounded answer is read."""
    with pytest.raises(NoKeysError, match=why):
        fetched(answer)


def test_a_slow_answer_is_given_up() -> None:
    """Parts that come one by one do not hold it for ever."""
    with pytest.raises(NoKeysError, match="longer than"):
        fetched(httpx.Response(200, content=iter([b"{", b"}"])), seconds=11)


def test_a_provider_that_cannot_be_reached_is_said() -> None:
    """By the kind of error."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    with pytest.raises(NoKeysError, match="ConnectError"):
        fetcher(URL, httpx.Client(transport=httpx.MockTransport(fail)), lambda: 0)()


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """A missing one, and one that is too large, are said."""
    path = tmp_path / "keys.json"
    read = fetcher(Jwks(file=str(path)), httpx.Client(), lambda: 0)
    with pytest.raises(NoKeysError, match="No such file"):
        read()
    path.write_bytes(key_set(jwk_of(private_key("k1"))))
    assert parsed_keys(read())
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(NoKeysError, match="more than"):
        read()
