"""Tokens of identity providers: which hold, for whom, and why others do not."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest

from api.auth.access import UnauthenticatedError
from flows.config import ConfigError
from schemas.access import SCOPES, Principal, Role
from schemas.pipeline import Priority
from tests.unit.api.auth.jwt_stand import (
    AUDIENCE,
    ISSUER,
    NOW_S,
    Provider,
    jwk_of,
    key_set,
    private_key,
    tenant,
    token,
)


def prove(credential: str, **issuer: Any) -> Principal | None:
    return Provider().prover(tenant(**issuer)).prove(credential)


def refusal(credential: str, **issuer: Any) -> str:
    with pytest.raises(UnauthenticatedError) as refused:
        prove(credential, **issuer)
    return str(refused.value)


def raw(header: object, claims: object, signature: bytes = b"") -> str:
    """Put a token together from any parts."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_a_token_says_who_calls_and_for_which_tenant() -> None:
    """Its issuer, subject and roles, until it expires; the leeway counts."""
    found = prove(token())
    assert found == Principal(
        "acme",
        "jwt",
        f"{ISSUER} backend",
        SCOPES[Role.PRODUCER],
        expires_at_ms=(NOW_S + 630) * 1_000,
    )


def test_rsa_keys_sign_too() -> None:
    """RS256 with 2,048 bits."""
    provider = Provider()
    key = private_key("r1", "RS256")
    provider.answer = key_set(jwk_of(key, kid="r1", use="sig", alg="RS256"))
    assert provider.prover().prove(token(key=key, algorithm="RS256", kid="r1")) is not None


@pytest.mark.parametrize(
    "credential", ["", "clk_x", "a.b", "a.b.c.d", "a b.c.d", "ä.b.c", "..", "a..c"]
)
def test_what_is_no_token_is_left_to_others(credential: str) -> None:
    """Three parts of base64url make a token."""
    assert prove(credential) is None


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other.example.com"}, "issuer and audience"),
        ({"aud": "others"}, "issuer and audience"),
        ({"aud": None}, "issuer and audience"),
        ({"iss": None}, "issuer and audience"),
        ({"aud": ["x"] * 21}, "issuer and audience"),
        ({"aud": {"clarion": 1}}, "issuer and audience"),
        ({"exp": None}, "exp: the token has no"),
        ({"iat": None}, "iat: the token has no"),
        ({"sub": None}, "sub: the token has no"),
        ({"exp": NOW_S - 30}, "exp: the token has expired"),
        ({"exp": NOW_S + 3_601}, "exp: the token is valid for too long"),
        ({"iat": NOW_S + 31}, "iat, nbf"),
        ({"nbf": NOW_S + 31}, "iat, nbf"),
        ({"exp": "soon"}, "exp: must be a number"),
        ({"iat": True}, "iat: must be a number"),
        ({"exp": float("inf")}, "exp: must be a number"),
        ({"exp": float("nan")}, "exp: must be a number"),
        ({"exp": 10**4_000}, "exp: must be a number"),
        ({"nbf": None, "sub": ""}, "sub: must have"),
        ({"sub": "a b"}, "sub: must have"),
        ({"sub": "a\n"}, "sub: must have"),
        ({"sub": "\ud800"}, "sub: must have"),
        ({"sub": "x" * 129}, "sub: must have"),
    ],
)
def test_a_claim_that_is_wrong_is_named(claims: dict[str, Any], why: str) -> None:
    """Once the signature holds, the answer says which claim it is."""
    assert why in refusal(token(**claims))


def test_clocks_may_differ_by_the_leeway() -> None:
    """An end just before, and a beginning just after, still count."""
    assert prove(token(exp=NOW_S - 29, iat=NOW_S - 600)) is not None
    assert prove(token(iat=NOW_S + 30, nbf=NOW_S + 30)) is not None


def test_only_the_algorithms_of_the_issuer_count() -> None:
    """None, HMAC and others do not: a public key is no secret."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    for algorithm in ("none", "NONE", "HS256", "ES384", "EdDSA", ""):
        forged = raw({"alg": algorithm, "kid": "k1"}, claims, b"x")
        assert refusal(forged).startswith("alg: ")
    assert refusal(token(key="s" * 32, algorithm="HS256")).startswith("alg: ")
    assert "alg" in refusal(token(), algorithms=["RS256"])


def test_a_signature_of_another_key_does_not_hold() -> None:
    """Also one under the same key id, or none at all."""
    assert "was changed" in refusal(token(key=private_key("other")))
    assert "was changed" in refusal(token().rpartition(".")[0] + ".")
    header, _, signature = token().split(".")
    _, claims, _ = token(sub="somebody-else").split(".")
    assert "was changed" in refusal(f"{header}.{claims}.{signature}")


def test_a_key_that_the_token_brings_is_not_used() -> None:
    """`jwk` and `jku` in the header count nothing; an unknown `kid` is refused."""
    key = private_key("own")
    headers = {"kid": "own", "jwk": jwk_of(key), "jku": "https://evil.example.com"}
    claims = jwt.decode(token(), options={"verify_signature": False})
    assert "does not have" in refusal(jwt.encode(claims, key, "ES256", headers=headers))


def test_extensions_are_refused() -> None:
    """`crit` names what a reader must know; nothing of it is known here."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    assert refusal(raw({"alg": "ES256", "kid": "k1", "crit": ["exp"], "exp": 1}, claims, b"x"))


@pytest.mark.parametrize(
    "credential",
    [
        "a.b.c",
        raw([], {}),
        raw({"alg": "ES256"}, []),
        raw({"alg": "ES256", "kid": 5}, {"iss": ISSUER, "aud": AUDIENCE}),
        "e30.W1tb.x",
        urlsafe_b64encode(b"[" * 3_000).rstrip(b"=").decode() + ".e30.x",
        "e30." + urlsafe_b64encode(b"[" * 3_000).rstrip(b"=").decode() + ".x",
    ],
)
def test_a_damaged_token_is_refused(credential: str) -> None:
    """Whatever is wrong with it."""
    assert refusal(credential)


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("roles", {"roles": ["senders", "unknown", 7]}),
        ("scope", {"scope": "openid senders"}),
        ("realm_access.roles", {"realm_access": {"roles": ["senders"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["senders"]}),
    ],
)
def test_roles_come_from_the_claim_that_the_tenant_names(
    claim: str, claims: dict[str, Any]
) -> None:
    """A list, words, inside an object, or under a name with dots."""
    found = prove(token(**{"roles": None, **claims}), roles_claim=claim)
    assert found is not None
    assert found.scopes == SCOPES[Role.PRODUCER]


@pytest.mark.parametrize("roles", [None, [], "", ["others"], {"senders": True}, 5])
def test_a_token_without_a_known_role_may_nothing(roles: Any) -> None:
    """It is known who calls, and that they may do nothing."""
    found = prove(token(roles=roles))
    assert found is not None
    assert found.scopes == frozenset()


def test_the_role_device_binds_to_the_user_and_leaves_no_other_role() -> None:
    """The subject is the user."""
    found = prove(token(sub="u1", roles=["senders", "app"]))
    assert found is not None
    assert (found.kind, found.user_id, found.device_id) == ("device", "u1", "")
    assert found.scopes == SCOPES[Role.DEVICE]


def test_the_issuer_narrows_categories_and_priorities() -> None:
    """Beside what the roles allow."""
    found = prove(
        token(roles=["campaigns"]), categories=["news"], priorities=["critical", "normal"]
    )
    assert found is not None
    assert found.categories == {"news"}
    assert found.priorities == {Priority.NORMAL}


def test_the_audience_decides_whose_a_token_is() -> None:
    """One provider serves two tenants; a token for both is nobody's."""
    prover = Provider().prover(tenant(), tenant("rival", audience="rival"))
    found = prover.prove(token(aud=["x", "rival"]))
    assert found is not None
    assert found.tenant == "rival"
    with pytest.raises(UnauthenticatedError):
        prover.prove(token(aud=["clarion", "rival"]))


def test_two_tenants_cannot_have_the_same_issuer_and_audience() -> None:
    """Both are named."""
    with pytest.raises(ConfigError, match=r"tenant rival: access.issuers: .* tenant 'acme'"):
        Provider().prover(tenant(), tenant("rival"))
