"""The APNs provider token: a JSON Web Token signed with the tenant's key, used again and again."""

from collections.abc import Callable

import jwt

from sinks.credentials import ApnsCredential

REFRESH_AFTER_S = 3000.0
"""Apple refuses a token older than an hour; a new one leaves after 50 minutes."""

MIN_AGE_S = 1200.0
"""Apple answers TooManyProviderTokenUpdates to more than one new token in 20 minutes."""


class ProviderToken:
    """The current token of one key.

    now: UTC seconds since the epoch. Source:
    https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
    """

    def __init__(self, credential: ApnsCredential, now: Callable[[], float]) -> None:
        self._credential = credential
        self._now = now
        self._value = ""
        self._minted_at_s = 0.0

    def current(self) -> str:
        """Give the value of the authorization header; signs only when 50 minutes have passed.

        Raises ValueError or jwt.PyJWTError when the key cannot sign.
        """
        age_s = self._now() - self._minted_at_s
        # A negative age is a clock set back: the token's time would lie ahead, which Apple refuses.
        if not self._value or not 0 <= age_s < REFRESH_AFTER_S:
            self._mint()
        return self._value

    def replace(self, refused: str) -> float:
        """Mint a new token after ExpiredProviderToken, unless that came with an older one.

        Gives the seconds to wait before the next attempt: 0.0, or what is left of the 20 minutes
        in which no new token may be made. Raises as current() does.
        """
        if refused != self._value:
            return 0.0
        age_s = self._now() - self._minted_at_s
        if 0 <= age_s < MIN_AGE_S:
            return MIN_AGE_S - age_s
        self._mint()
        return 0.0

    def _mint(self) -> None:
        issued_at_s = self._now()
        token = jwt.encode(
            {"iss": self._credential.team_id, "iat": int(issued_at_s)},
            self._credential.private_key_pem,
            algorithm="ES256",
            headers={"kid": self._credential.key_id},
        )
        self._value = f"bearer {token}"
        self._minted_at_s = issued_at_s
