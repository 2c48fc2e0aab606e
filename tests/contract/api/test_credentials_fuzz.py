"""Whatever stands in Authorization: nobody gets in who should not, and nothing breaks."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from api.auth.access import Access
from api.auth.api_keys import ApiKeys
from api.auth.device_tokens import DeviceTokens, issue_device_token
from api.web.app import create_app
from api.web.door import Door
from schemas.pipeline import Platform
from state.profiles import Device, Profile, RedisProfiles
from tests.contract.api.door_stand import NOW_MS, TENANTS, AsCaller
from tests.unit.api.auth.jwt_stand import AUDIENCE, ISSUER, ROLES, Provider, tenant, token

ROUTES = [
    ("GET", "/v1/templates"),
    ("GET", "/v1/users/u1"),
    ("POST", "/v1/events"),
    ("PUT", "/v1/users/u1/preferences"),
    ("GET", "/v1/keys"),
]
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Stand(NamedTuple):
    """The application behind all provers, and one good credential of each kind."""

    app: FastAPI
    good: dict[str, str]
    runner: asyncio.Runner
    numbers: Iterator[int]

    def status(self, authorization: bytes, route: tuple[str, str] = ROUTES[0]) -> int:
        """Ask from an address that failed nothing yet."""
        return self.runner.run(self._ask(authorization, route))

    async def _ask(self, authorization: bytes, route: tuple[str, str]) -> int:
        number = next(self.numbers)
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        # Errors of the application itself come out, instead of a 500.
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.request(*route, headers=[(b"Authorization", authorization)])
        return answer.status_code


@pytest.fixture
async def key(as_caller: AsCaller) -> str:
    """Give the text of an API key of acme's."""
    made = await as_caller("admin").post("/v1/keys", json={"name": "k", "roles": ["operator"]})
    text: str = made.json()["key"]
    return text


@pytest.fixture
def stand(door: Door, key: str) -> Iterator[Stand]:
    """Give the application; its stores are empty but for one user with one device."""
    profiles, provider = RedisProfiles(door.redis), Provider()
    shards = TENANTS["acme"].shards
    phone = Device("d1", Platform.FCM, "android", "t1", NOW_MS)
    profiles.update_many("acme", shards, {"u1": lambda _: Profile("u1", 1, devices=(phone,))})
    provers = [
        ApiKeys(TENANTS, door.definitions, lambda: NOW_MS),
        DeviceTokens(door.signer, TENANTS, profiles, lambda: NOW_MS),
        provider.prover(tenant(roles={**ROLES, "ops": "operator"})),
    ]
    good = {
        "key": key,
        "device": issue_device_token(door.signer, "acme", "u1", "d1", NOW_MS),
        "jwt": token(roles=["ops"]),
    }
    app = create_app(replace(door, access=Access(provers, lambda: NOW_MS)))
    with asyncio.Runner() as runner:
        yield Stand(app, good, runner, count())


def test_a_good_credential_of_each_kind_is_let_in(stand: Stand) -> None:
    """Otherwise the tests below would say nothing."""
    for kind, route in (("key", 0), ("jwt", 0), ("device", 3)):
        assert stand.status(f"Bearer {stand.good[kind]}".encode(), ROUTES[route]) not in {401, 403}


@FUZZ
@given(authorization=st.binary(max_size=300), route=st.sampled_from(ROUTES))
def test_any_bytes_are_refused(stand: Stand, authorization: bytes, route: tuple[str, str]) -> None:
    """401, with a scheme or without."""
    assert stand.status(authorization, route) == 401
    assert stand.status(b"Bearer " + authorization, route) == 401


@FUZZ
@given(
    kind=st.sampled_from(["key", "device", "jwt"]),
    change=st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 3),
        st.text("abcXYZ019-_.=", max_size=3),
    ),
    route=st.sampled_from(ROUTES),
)
def test_a_changed_credential_is_refused(
    stand: Stand, kind: str, change: tuple[float, int, str], route: tuple[str, str]
) -> None:
    """One letter more, less or another is enough, anywhere in it."""
    good = stand.good[kind]
    where, cut, put = change
    at = int(where * (len(good) + 1))
    changed = good[:at] + put + good[at + cut :]
    assume(changed != good)
    assert stand.status(f"Bearer {changed}".encode(), route) == 401


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@FUZZ
@given(
    header=st.fixed_dictionaries(
        {"alg": st.sampled_from(["none", "HS256", "ES256", "RS256", "ES512"]) | JSON},
        optional=dict.fromkeys(("kid", "crit", "b64", "typ", "jwk", "jku", "x5c"), JSON),
    )
    | JSON,
    claims=st.fixed_dictionaries(
        {"iss": st.just(ISSUER), "aud": st.just(AUDIENCE) | st.just([AUDIENCE])},
        optional=dict.fromkeys(("sub", "exp", "iat", "nbf", "roles", "jti"), JSON),
    )
    | JSON,
    signature=st.binary(max_size=80),
)
def test_a_made_up_token_is_refused(
    stand: Stand, header: Any, claims: Any, signature: bytes
) -> None:
    """Whatever it says of itself."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    made_up = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    assert stand.status(b"Bearer " + made_up) == 401


@FUZZ
@given(claims=st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "roles", "aud"]), JSON))
def test_a_signed_token_with_any_claims_breaks_nothing(
    stand: Stand, claims: dict[str, Any]
) -> None:
    """The provider may sign what it likes: it is let in, may do nothing, or is refused."""
    given_ = {name: value for name, value in claims.items() if _can_be_signed(name, value)}
    assert stand.status(f"Bearer {token(**given_)}".encode()) in {200, 401, 403}


def _can_be_signed(name: str, value: Any) -> bool:
    """Tell whether PyJWT signs it: it looks at times and texts itself."""
    return not (name in {"exp", "iat", "nbf"} and isinstance(value, list | dict))
