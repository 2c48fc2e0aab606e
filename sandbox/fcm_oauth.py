"""The OAuth side of the FCM sandbox: service accounts and the token endpoint.

Source: https://developers.google.com/identity/protocols/oauth2/service-account
"""

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.fcm_answers import answer
from sandbox.http_server import Request, Response

GOOGLE_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SEND_SCOPES: Final = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
TOKEN_LIFETIME_S: Final = 3600
CLOCK_SKEW_S: Final = 60
MAX_TOKENS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Account:
    """A service account that the sandbox knows: who it is, its project and its public key."""

    client_email: str
    project_id: str
    public_key_pem: str

    @classmethod
    def of(cls, service_account: dict[str, Any], public_key_pem: str) -> "Account":
        """Give the account of a parsed service account file."""
        return cls(service_account["client_email"], service_account["project_id"], public_key_pem)


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access token allows."""

    project_id: str
    scopes: frozenset[str]
    expires_at: float


def make_service_account(
    project_id: str, token_uri: str, directory: Path | None = None
) -> tuple[dict[str, Any], str]:
    """Give a service account with its own RSA key, as Google's JSON file, and the public key.

    directory: keeps the key there (readable by its owner only) and takes it from there next
    time, as making one takes a noticeable part of a second.
    """
    kept = directory / f"fcm-{project_id}.key.pem" if directory else None
    if kept is not None and kept.exists():
        pem = kept.read_bytes()
    else:
        pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.touch(mode=0o600)
            kept.write_bytes(pem)
    public_key = serialization.load_pem_private_key(pem, password=None).public_key()
    public_pem = public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    email = f"clarion@{project_id}.iam.gserviceaccount.com"
    service_account = {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": "sandbox",
        "private_key": pem.decode(),
        "client_email": email,
        "client_id": "1",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    }
    return service_account, public_pem.decode()


class TokenEndpoint:
    """Swaps signed assertions for access tokens and knows the tokens it gave.

    status: set it to 503 to be out of order. now: seconds since the epoch.
    """

    def __init__(self, accounts: Iterable[Account], *, now: Callable[[], float]) -> None:
        self._accounts = {account.client_email: account for account in accounts}
        self._now = now
        self._grants: dict[str, Grant] = {}
        self.status = 200
        self.minted = 0

    def projects(self) -> frozenset[str]:
        """Give the ids of the projects that exist."""
        return frozenset(account.project_id for account in self._accounts.values())

    def revoke_all(self) -> None:
        """Forget every access token given so far."""
        self._grants.clear()

    def grant_of(self, authorization: str) -> Grant | None:
        """Give what the Authorization header allows, None when nothing (any more)."""
        scheme, _, token = authorization.partition(" ")
        grant = self._grants.get(token) if scheme.lower() == "bearer" else None
        return grant if grant is not None and self._now() < grant.expires_at else None

    def handle(self, request: Request) -> Response:
        """Answer POST /token."""
        if self.status != 200:
            return answer({"error": "internal_failure"}, self.status)
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != [GRANT_TYPE]:
            return _refused("unsupported_grant_type", "Invalid grant_type")
        assertion = form.get("assertion", [""])[0]
        try:
            claims = self._verify(assertion)
        except jwt.InvalidTokenError as problem:
            return _refused("invalid_grant", str(problem))
        scopes = frozenset(str(claims.get("scope", "")).split())
        if not scopes:
            return _refused("invalid_scope", "Empty or missing scope not allowed.")
        return self._mint(self._accounts[claims["iss"]], scopes)

    def _verify(self, assertion: str) -> dict[str, Any]:
        """Check the assertion's signature and claims. Raises InvalidTokenError."""
        unverified = jwt.decode(assertion, options={"verify_signature": False})
        account = self._accounts.get(str(unverified.get("iss")))
        if account is None:
            raise jwt.InvalidTokenError("Invalid grant: account not found")
        # Google's libraries always name Google's endpoint, wherever token_uri points.
        claims: dict[str, Any] = jwt.decode(
            assertion,
            account.public_key_pem,
            algorithms=["RS256"],
            audience=[GOOGLE_AUDIENCE],
            options={
                "require": ["iss", "aud", "iat", "exp"],
                "verify_exp": False,  # below, on the sandbox's clock
                "verify_iat": False,
            },
        )
        issued, expires, now = claims["iat"], claims["exp"], self._now()
        numbers = isinstance(issued, int | float) and isinstance(expires, int | float)
        if not numbers or not (
            issued <= now + CLOCK_SKEW_S
            and now - CLOCK_SKEW_S < expires <= issued + TOKEN_LIFETIME_S
        ):
            raise jwt.InvalidTokenError(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
                "timeframe. Check your iat and exp values in the JWT claim."
            )
        return claims

    def _mint(self, account: Account, scopes: frozenset[str]) -> Response:
        token = f"ya29.sandbox-{secrets.token_urlsafe(32)}"
        if len(self._grants) >= MAX_TOKENS:
            del self._grants[next(iter(self._grants))]
        expires_at = self._now() + TOKEN_LIFETIME_S
        self._grants[token] = Grant(account.project_id, scopes, expires_at)
        self.minted += 1
        # One second off, as Google does.
        body = {"access_token": token, "expires_in": TOKEN_LIFETIME_S - 1, "token_type": "Bearer"}
        return answer(body)


def _refused(code: str, description: str) -> Response:
    body = {"error": code, "error_description": description}
    encoded = json.dumps(body).encode()
    return Response(400, {"content-type": "application/json; charset=utf-8"}, encoded)
