"""Who is calling: the credential of a request to a Principal, fast when it was seen before."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple, Protocol

from api.auth.failures import Failures
from schemas import metrics
from schemas.access import Principal
from state.errors import StateError

FRESH_MS = 2_000
"""How long a credential that was proven is believed without another look: a revocation counts
after this time."""
STALE_MS = 60_000
"""How long it is believed while nobody can look: the stores that would know are away."""
MAX_KNOWN = 10_000
MAX_CREDENTIAL_CHARS = 8_192
MAX_UNDER_WAY = 1_000
"""Proofs that wait or are worked on."""
PROVERS_AT_ONCE = 16


class UnauthenticatedError(Exception):
    """Nobody that we know; the text says what to do and nothing about what is there."""


class UnprovableError(Exception):
    """It cannot be told now who it is: a source of keys is away, or too many wait to be proven."""


class ThrottledError(Exception):
    """Too many credentials from this address did not hold. wait_s: before the next attempt."""

    def __init__(self, wait_s: int) -> None:
        super().__init__("too many credentials from this address did not hold")
        self.wait_s = wait_s


class Prover(Protocol):
    """Proves one kind of credential."""

    def prove(self, credential: str) -> Principal | None:
        """Give who it is, None when it is no credential of this kind. May block.

        Raises UnauthenticatedError for one of this kind that does not hold, UnprovableError,
        StateError.
        """
        ...


class _Known(NamedTuple):
    principal: Principal
    until_ms: int
    proven_ms: int


class Access:
    """Proves credentials, and remembers for FRESH_MS whom they prove.

    Somebody whose credential was proven within STALE_MS stays known while the stores are away. A
    credential is proven once at a time, however many requests bring it; an address whose
    credentials do not hold has to wait. provers: asked in turn. now_ms: the machine's clock.
    """

    def __init__(self, provers: Sequence[Prover], now_ms: Callable[[], int]) -> None:
        self._provers = provers
        self._now_ms = now_ms
        self._failures = Failures(now_ms)
        self._lock = Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[Principal]] = {}
        # Threads of its own: what else blocks in this process does not keep callers out.
        self._threads = ThreadPoolExecutor(PROVERS_AT_ONCE, "prove")

    def known(self, credential: str) -> Principal | None:
        """Give whom a credential proved lately, None when it has to be proven. Never blocks."""
        found = self._known.get(_digest(credential))
        if found is None or found.until_ms <= self._now_ms():
            return None
        return found.principal

    async def caller(self, credential: str, address: str) -> Principal:
        """Give who calls. address: from where.

        Raises ThrottledError, and as prove.
        """
        known = self.known(credential)
        if known is not None:
            return known
        mark = _digest(credential)
        under_way = self._under_way.get(mark)
        if under_way is None:
            under_way = self._begin(mark, credential, address)
        # Whoever goes away does not take the proof from those who wait for it, too.
        return await asyncio.shield(under_way)

    def _begin(self, mark: bytes, credential: str, address: str) -> "asyncio.Future[Principal]":
        if len(self._under_way) >= MAX_UNDER_WAY:
            raise UnprovableError("too many credentials wait to be proven")
        guesses = bool(credential) and self._stale(mark) is None
        if guesses:
            if wait_s := self._failures.wait_s(address):
                raise ThrottledError(wait_s)
            self._failures.count(address)

        def done(proof: "asyncio.Future[Principal]") -> None:
            self._under_way.pop(mark, None)
            # Asking for the error also tells asyncio that it was seen, should nobody wait.
            failed = proof.cancelled() or isinstance(proof.exception(), UnauthenticatedError)
            if guesses and not failed:
                self._failures.forgive(address)

        loop = asyncio.get_running_loop()
        proof = loop.run_in_executor(self._threads, self.prove, credential)
        self._under_way[mark] = proof
        proof.add_done_callback(done)
        return proof

    def prove(self, credential: str) -> Principal:
        """Prove a credential. Blocks. Raises UnauthenticatedError, UnprovableError, StateError."""
        if not credential or len(credential) > MAX_CREDENTIAL_CHARS:
            raise UnauthenticatedError("send Authorization: Bearer, with an API key or a token")
        mark = _digest(credential)
        try:
            principal = self._ask(credential)
        except UnauthenticatedError:
            with self._lock:
                self._known.pop(mark, None)
            raise
        except (StateError, UnprovableError):
            stale = self._stale(mark)
            if stale is None:
                raise
            metrics.API_STALE_PROOFS.inc()
            self._remember(mark, stale.principal, stale.proven_ms)
            return stale.principal
        self._remember(mark, principal, self._now_ms())
        return principal

    def _ask(self, credential: str) -> Principal:
        for prover in self._provers:
            principal = prover.prove(credential)
            if principal is not None:
                return principal
        raise UnauthenticatedError("the credential is no API key and no token")

    def _stale(self, mark: bytes) -> _Known | None:
        """Give who was proven within STALE_MS and has not expired since."""
        found = self._known.get(mark)
        if found is None:
            return None
        now_ms, expires_at_ms = self._now_ms(), found.principal.expires_at_ms
        is_over = now_ms >= found.proven_ms + STALE_MS or 0 < expires_at_ms <= now_ms
        return None if is_over else found

    def _remember(self, mark: bytes, principal: Principal, proven_ms: int) -> None:
        until_ms = min(self._now_ms() + FRESH_MS, proven_ms + STALE_MS)
        if principal.expires_at_ms:
            until_ms = min(until_ms, principal.expires_at_ms)
        with self._lock:
            self._known.pop(mark, None)
            self._known[mark] = _Known(principal, until_ms, proven_ms)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)


def _digest(credential: str) -> bytes:
    """Stand for a credential in memory; secrets are long and random, so a fast hash will do."""
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
