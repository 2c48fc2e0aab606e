"""Who is calling: the credential of a request to a Principal, fast when it was seen before."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from schemas.access import Principal

FRESH_MS = 2_000
"""How long a credential that was proven is believed without another look: a revocation counts
after this time."""
MAX_KNOWN = 10_000
MAX_CREDENTIAL_CHARS = 8_192


class UnauthenticatedError(Exception):
    """Nobody that we know; the text says what to do and nothing about what is there."""


class Prover(Protocol):
    """Proves one kind of credential."""

    def prove(self, credential: str) -> Principal | None:
        """Give who it is, None when it is no credential of this kind. May block.

        Raises UnauthenticatedError for one of this kind that does not hold, StateError.
        """
        ...


class _Known(NamedTuple):
    principal: Principal
    until_ms: int


class Access:
    """Proves credentials, and remembers for FRESH_MS whom they prove.

    provers: asked in turn. now_ms: the machine's clock.
    """

    def __init__(self, provers: Sequence[Prover], now_ms: Callable[[], int]) -> None:
        self._provers = provers
        self._now_ms = now_ms
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def known(self, credential: str) -> Principal | None:
        """Give whom a credential proved lately, None when it has to be proven. Never blocks."""
        found = self._known.get(_digest(credential))
        if found is None or found.until_ms <= self._now_ms():
            return None
        return found.principal

    def prove(self, credential: str) -> Principal:
        """Prove a credential. Blocks. Raises UnauthenticatedError, StateError."""
        if not credential or len(credential) > MAX_CREDENTIAL_CHARS:
            raise UnauthenticatedError("send Authorization: Bearer, with an API key or a token")
        for prover in self._provers:
            principal = prover.prove(credential)
            if principal is not None:
                self._remember(credential, principal)
                return principal
        raise UnauthenticatedError("the credential is no API key and no token")

    def _remember(self, credential: str, principal: Principal) -> None:
        until_ms = self._now_ms() + FRESH_MS
        if principal.expires_at_ms:
            until_ms = min(until_ms, principal.expires_at_ms)
        self._known[_digest(credential)] = _Known(principal, until_ms)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _digest(credential: str) -> bytes:
    """Stand for a credential in memory; secrets are long and random, so a fast hash will do."""
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
