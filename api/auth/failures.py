"""How often an address may fail to prove who it is: guessing and faulty clients cost little."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil
from threading import Lock

BURST = 20
"""Failures that an address has at once."""
EVERY_MS = 3_000
"""One more failure after this time."""
MAX_ADDRESSES = 10_000


class Failures:
    """Failed proofs by address, a leaky bucket each; the ones longest without one are forgotten.

    An IPv6 address counts as its /64, which is what one subscriber has. now_ms: the machine's
    clock. Safe to share among threads.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._lock = Lock()
        self._full_at_ms: OrderedDict[str, int] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Give how many seconds an address has to wait before its next attempt; 0 for none."""
        full_at_ms = self._full_at_ms.get(_block(address), 0)
        return max(0, ceil((full_at_ms - self._now_ms() - (BURST - 1) * EVERY_MS) / 1_000))

    def count(self, address: str) -> None:
        """Count an attempt as failed, in advance; see forgive."""
        self._move(address, EVERY_MS)

    def forgive(self, address: str) -> None:
        """Take back one that went well after all."""
        self._move(address, -EVERY_MS)

    def _move(self, address: str, by_ms: int) -> None:
        block, now_ms = _block(address), self._now_ms()
        with self._lock:
            full_at_ms = max(now_ms, self._full_at_ms.pop(block, 0)) + by_ms
            if full_at_ms > now_ms:
                self._full_at_ms[block] = full_at_ms
            while len(self._full_at_ms) > MAX_ADDRESSES:
                self._full_at_ms.popitem(last=False)


def _block(address: str) -> str:
    if ":" not in address:
        return address
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{int(found) >> 64:x}/64"
