"""How the APNs simulator judges provider tokens: per connection, as Apple does.

Source: https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

from collections.abc import Callable, Mapping
from typing import Any

import jwt

from sandbox.http_types import Connection

MAX_AGE_S = 3600.0
MIN_UPDATE_INTERVAL_S = 1200.0
CLOCK_SKEW_S = 300.0
TOKENS_KEPT = 8
"""Verified tokens remembered on a connection; more than one is rare already."""

_STATE = "apns_auth"


class _Seen:
    """What a connection has shown so far."""

    def __init__(self) -> None:
        self.team_id = ""
        self.key_id = ""
        self.issued_at_s: dict[str, float] = {}
        self.updated_at_s = 0.0


class Judge:
    """Verifies tokens against the public keys.

    keys: key id -> (team id, public key PEM). now: UTC seconds. Verified tokens are remembered on
    their connection, so a signature is checked once a connection and token.
    """

    def __init__(
        self, keys: Mapping[str, tuple[str, bytes | str]], now: Callable[[], float]
    ) -> None:
        self._keys = dict(keys)
        self._now = now

    def check(self, authorization: str | None, connection: Connection) -> tuple[str, str]:
        """Give (reason, team id): the reason is empty when the token is good."""
        if authorization is None:
            return "MissingProviderToken", ""
        state = connection.state.get(_STATE)
        seen = state if isinstance(state, _Seen) else _Seen()
        issued_at_s = seen.issued_at_s.get(authorization)
        if issued_at_s is None:
            return self._check_new(authorization, seen, connection)
        if self._now() - issued_at_s > MAX_AGE_S:
            return "ExpiredProviderToken", ""
        return "", seen.team_id

    def _check_new(
        self,
        authorization: str,
        seen: _Seen,
        connection: Connection,
    ) -> tuple[str, str]:
        scheme, _, token = authorization.partition(" ")
        verified = self._verify(token) if scheme.lower() == "bearer" else None
        if verified is None:
            return "InvalidProviderToken", ""
        key_id, team_id, issued_at_s = verified
        now_s = self._now()
        reason = ""
        if now_s - issued_at_s > MAX_AGE_S:
            reason = "ExpiredProviderToken"
        elif issued_at_s > now_s + CLOCK_SKEW_S or (seen.team_id and seen.team_id != team_id):
            reason = "InvalidProviderToken"
        elif seen.key_id and seen.key_id != key_id:
            reason = "UnrelatedKeyIdInToken"
        elif seen.issued_at_s and now_s - seen.updated_at_s < MIN_UPDATE_INTERVAL_S:
            reason = "TooManyProviderTokenUpdates"
        if reason:
            return reason, ""
        if len(seen.issued_at_s) >= TOKENS_KEPT:
            seen.issued_at_s.pop(next(iter(seen.issued_at_s)))
        seen.team_id, seen.key_id, seen.updated_at_s = team_id, key_id, now_s
        seen.issued_at_s[authorization] = issued_at_s
        connection.state[_STATE] = seen
        return "", team_id

    def _verify(self, token: str) -> tuple[str, str, float] | None:
        """Give (key id, team id, issued at) of a token with a good signature, else None."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            team_id, public_key = self._keys[str(key_id)]
            claims: dict[str, Any] = jwt.decode(
                token,
                public_key,
                algorithms=["ES256"],
                # iat is judged above, by our clock: its age has a reason of its own.
                options={"require": ["iss", "iat"], "verify_iat": False},
                issuer=team_id,
            )
        except (jwt.PyJWTError, KeyError):
            return None
        issued_at_s = claims["iat"]
        if isinstance(issued_at_s, bool) or not isinstance(issued_at_s, int | float):
            return None
        return str(key_id), team_id, float(issued_at_s)
