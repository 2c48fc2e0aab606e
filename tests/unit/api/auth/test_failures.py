"""Failed proofs slow an address down, and nobody else."""

import asyncio
from threading import Event

import pytest

from api.auth.access import Access, ThrottledError, UnauthenticatedError
from api.auth.failures import BURST, EVERY_MS, MAX_ADDRESSES, Failures
from schemas.access import Principal

NOW_MS = 1_796_000_000_000
KNOWN = Principal("acme", "key", "k", frozenset())


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class OneGood:
    """Believes "good", and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = Event()
        self.may_answer.set()

    def prove(self, credential: str) -> Principal | None:
        self.asked += 1
        assert self.may_answer.wait(10)
        return KNOWN if credential == "good" else None


def test_a_burst_of_failures_makes_an_address_wait() -> None:
    """Then one more after EVERY_MS."""
    clock = Clock()
    failures = Failures(clock)
    for _ in range(BURST):
        assert failures.wait_s("192.0.2.1") == 0
        failures.count("192.0.2.1")
    assert failures.wait_s("192.0.2.1") == EVERY_MS // 1_000
    assert failures.wait_s("192.0.2.2") == 0
    clock.now_ms += EVERY_MS
    assert failures.wait_s("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("not:an:address", "not:an:other", False),
    ],
)
def test_an_ipv6_address_counts_as_its_subnet(one: str, other: str, *, same: bool) -> None:
    """A /64 is one subscriber's."""
    failures = Failures(Clock())
    for _ in range(BURST):
        failures.count(one)
    assert bool(failures.wait_s(other)) is same


def test_the_table_is_bounded() -> None:
    """The address longest without a failure is forgotten."""
    failures = Failures(Clock())
    for _ in range(BURST):
        failures.count("first")
    for number in range(MAX_ADDRESSES):
        failures.count(f"host-{number}")
    assert failures.wait_s("first") == 0


async def test_guessing_ends_and_a_known_credential_goes_on() -> None:
    """Who shares the address and is known is let in all the same, also when proven again."""
    clock, prover = Clock(), OneGood()
    access = Access([prover], clock)
    assert await access.caller("good", "192.0.2.1") is KNOWN
    for number in range(BURST):
        with pytest.raises(UnauthenticatedError):
            await access.caller(f"guess-{number}", "192.0.2.1")
    asked = prover.asked
    with pytest.raises(ThrottledError):
        await access.caller("guess", "192.0.2.1")
    assert prover.asked == asked
    clock.now_ms += 2_001
    assert await access.caller("good", "192.0.2.1") is KNOWN
    assert prover.asked == asked + 1


async def test_a_credential_is_proven_once_for_all_who_wait() -> None:
    """Many requests at once with a new credential are one proof, and no failures."""
    prover = OneGood()
    prover.may_answer.clear()
    access = Access([prover], Clock())
    callers = [asyncio.create_task(access.caller("good", "a")) for _ in range(5 * BURST)]
    await asyncio.sleep(0)
    callers[0].cancel()
    prover.may_answer.set()
    found = await asyncio.gather(*callers[1:])
    assert found == [KNOWN] * (5 * BURST - 1)
    assert prover.asked == 1
