"""An identity provider for tests: keys made here, tokens signed with them, a JWK Set of them."""

import json
from concurrent.futures import Executor, Future
from functools import cache
from threading import BoundedSemaphore
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.auth.jwks import KeySource, NoKeysError
from api.auth.jwts import Jwts
from schemas.tenant import Tenant
from schemas.tenant_access import TokenIssuer

NOW_S = 1_796_000_000  # 2026-11-30
ISSUER, AUDIENCE = "https://id.example.com", "clarion"
ROLES = {"senders": "producer", "app": "device", "campaigns": "marketer"}


@cache
def private_key(name: str, algorithm: str = "ES256") -> Any:
    """Give the key of this name, always the same."""
    del name
    if algorithm == "RS256":
        return rsa.generate_private_key(65_537, 2_048)
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: Any, **more: Any) -> dict[str, Any]:
    """Give the public half as a JWK."""
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    algorithm: Any = jwt.get_algorithm_by_name("RS256" if is_rsa else "ES256")
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **more}


def key_set(*jwks: dict[str, Any]) -> bytes:
    """Give a JWK Set."""
    return json.dumps({"keys": jwks}).encode()


def token(
    *, key: Any = None, algorithm: str = "ES256", kid: str | None = "k1", **claims: Any
) -> str:
    """Sign a token that holds, but for what is said; None takes a claim out."""
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "backend",
        "iat": NOW_S,
        "exp": NOW_S + 600,
        "roles": ["senders"],
        **claims,
    }
    given = {name: value for name, value in whole.items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(given, key or private_key("k1"), algorithm, headers=headers)


def tenant(name: str = "acme", **issuer: Any) -> Tenant:
    """Give a tenant that believes the provider."""
    entry = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks": {"url": "https://id.example.com/keys"},
        "roles": ROLES,
        **issuer,
    }
    access = {"issuers": [entry]}
    return Tenant.model_validate(
        {"name": name, "categories": {"news": {}}, "apps": {}, "access": access}
    )


class AtOnce(Executor):
    """Runs what it is given before submit returns."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as a thread's would
            done.set_exception(error)
        return done


class Provider:
    """Serves a JWK Set that tests change. fetches: how often it was asked."""

    def __init__(self) -> None:
        self.now_s: float = NOW_S
        self.answer: bytes | None = key_set(jwk_of(private_key("k1"), kid="k1"))
        self.fetches = 0

    def now_ms(self) -> int:
        return int(self.now_s * 1_000)

    def fetch(self) -> bytes:
        self.fetches += 1
        if self.answer is None:
            raise NoKeysError("is away")
        return self.answer

    def source(self, name: str = "acme", executor: Executor | None = None) -> KeySource:
        waiting = BoundedSemaphore(2)
        return KeySource((name, ISSUER), self.fetch, executor or AtOnce(), waiting, self.now_ms)

    def prover(self, *tenants: Tenant) -> Jwts:
        def source_of(name: str, _issuer: TokenIssuer) -> KeySource:
            return self.source(name)

        return Jwts({one.name: one for one in tenants or (tenant(),)}, source_of, self.now_ms)
