"""Requests to hosts that strangers choose: only to addresses that were checked, by those addresses.

A name is resolved here and its addresses are checked; the pool then connects to them without
asking again, so that a name that resolves to another address later (DNS rebinding) reaches nobody.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from sinks.http import HttpAnswer, HttpPool, NoConnectionError, NotSentError
from sinks.http_retired import RetiredPools
from sinks.webpush_endpoint import Endpoint, address_of

FRESH_S: Final = 300.0
"""How long resolved addresses are taken; a lost connection ends that at once."""
AGAIN_S: Final = 5.0
"""Between two look-ups of a name that failed, or whose addresses are refused."""
RESOLVE_TIMEOUT_S: Final = 5.0
MAX_ORIGINS: Final = 256
MAX_PINS: Final = 8

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_PRIVATE: Final = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "::1/128",
            "fc00::/7",
        ),
    )
)
"""What private_network allows: RFC 1918, CGNAT, loopback, ULA; not link-local, where clouds have
their metadata."""
_NAT64: Final = ip_network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """A host's name resolves to addresses that we do not connect to."""


def address_fault(address: Address, *, private_network: bool) -> str | None:
    """Say why we do not connect to an address, or None. Also of one inside an IPv6 address."""
    inner = _embedded(address)
    if inner is not None:
        return address_fault(inner, private_network=private_network)
    if any(address in network for network in _PRIVATE):
        return None if private_network else f"{address} is a private address"
    if address.is_multicast or not address.is_global:
        return f"{address} is no address of the public Internet"
    return None


def _embedded(address: Address) -> IPv4Address | None:
    """Give the IPv4 address that packets to this one reach: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver; addresses in its order of preference. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


@dataclass
class _Site:
    """A host as it was resolved last, at looked_s, good until_s (both monotonic).

    pins: the addresses that the pool connects to. refused: why nothing goes there. failed: an
    address did not take a connection, so that the next look-up begins with another (turn).
    """

    pool: HttpPool | None = None
    pins: frozenset[str] = frozenset()
    refused: str = ""
    looked_s: float = float("-inf")
    until_s: float = float("-inf")
    turn: int = 0
    failed: bool = False
    under_way: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class PinnedPools:
    """Posts to hosts, each through a pool of its own.

    options: of HttpPool. resolve: a name's addresses; raises OSError.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        longest_s: float,
        resolve: Resolve = system_resolve,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._resolve = resolve
        self._monotonic = monotonic
        self._sites: dict[tuple[str, bool], _Site] = {}
        self._retired = RetiredPools(longest_s=longest_s)
        self._open = False

    async def open(self) -> None:
        """Make ready. Connects to nothing; the first requests do."""
        self._open = True

    async def close(self) -> None:
        """Close all connections."""
        self._open = False
        sites, self._sites = self._sites, {}
        for site in sites.values():
            if site.pool is not None:
                await site.pool.close()
        await self._retired.close()

    async def post(
        self,
        endpoint: Endpoint,
        url: str,
        *,
        private_network: bool,
        headers: Mapping[str, str],
        body: bytes,
    ) -> HttpAnswer:
        """Send one POST; see HttpPool.post. url: the whole of the endpoint.

        Raises ForbiddenAddressError as well. An address that stands in the URL itself is not
        looked at here: the app has named it.
        """
        site = self._site(endpoint.origin, private=private_network)
        site.under_way += 1
        try:
            pool = await self._pool(site, endpoint, private_network=private_network)
            return await pool.post(url, headers=headers, body=body)
        except NoConnectionError:
            site.failed = True
            site.until_s = min(site.until_s, site.looked_s + AGAIN_S)  # it may have moved
            raise
        finally:
            site.under_way -= 1

    def _site(self, origin: str, *, private: bool) -> _Site:
        site = self._sites.get((origin, private))
        if site is None:
            if not self._open:
                raise NotSentError("the pool is not open")
            self._make_room()
            site = self._sites[origin, private] = _Site()
        return site

    def _make_room(self) -> None:
        if len(self._sites) < MAX_ORIGINS:
            return
        for key, site in self._sites.items():
            if not site.under_way:
                del self._sites[key]
                if site.pool is not None:
                    self._retired.retire(site.pool)
                return
        raise NotSentError(f"requests to {MAX_ORIGINS} hosts are under way")

    async def _pool(self, site: _Site, endpoint: Endpoint, *, private_network: bool) -> HttpPool:
        if self._monotonic() >= site.until_s and not (site.lock.locked() and site.pool):
            async with site.lock:
                if self._monotonic() >= site.until_s:
                    await self._look_up(site, endpoint, private_network=private_network)
        if not self._open:
            raise NotSentError("the pool is not open")
        if site.refused:
            raise ForbiddenAddressError(site.refused)
        if site.pool is None:
            raise NotSentError(f"the name {endpoint.host} cannot be resolved")
        return site.pool

    async def _look_up(self, site: _Site, endpoint: Endpoint, *, private_network: bool) -> None:
        site.looked_s = self._monotonic()
        if address_of(endpoint.host) is not None:
            site.pool = await self._connected(endpoint.host, [])
            site.until_s = float("inf")
            return
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await self._resolve(endpoint.host, endpoint.port)
        except (OSError, UnicodeError):  # TimeoutError is one; what was checked before still holds
            site.until_s = self._monotonic() + AGAIN_S
            return
        faults = {one: _fault_of(one, private_network=private_network) for one in found}
        good = [one for one, fault in faults.items() if fault is None]
        if not good:
            why = next(iter(faults.values()), "it has no address")
            site.refused = f"{endpoint.host}: {why}"
            site.until_s = self._monotonic() + AGAIN_S
            self._retire(site)
            return
        site.refused = ""
        site.until_s = self._monotonic() + FRESH_S
        if site.pool is None or site.failed or not site.pins <= set(good):
            site.turn += site.failed
            start = site.turn % len(good)
            pins = [*good[start:], *good[:start]][:MAX_PINS]
            self._retire(site)
            site.pool, site.pins = await self._connected(endpoint.host, pins), frozenset(pins)
        site.failed = False

    def _retire(self, site: _Site) -> None:
        if site.pool is not None:
            self._retired.retire(site.pool)
        site.pool, site.pins = None, frozenset()

    async def _connected(self, host: str, addresses: Sequence[str]) -> HttpPool:
        pool = HttpPool(**self._options, pins=(host, addresses))
        await pool.open()
        return pool


def _fault_of(text: str, *, private_network: bool) -> str | None:
    return address_fault(ip_address(text), private_network=private_network)
