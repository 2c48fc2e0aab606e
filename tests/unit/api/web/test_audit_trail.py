"""Entries of the audit log on their way to Kafka."""

from collections.abc import Sequence

import pytest

from api.web.audit import Deed
from api.web.audit_trail import MANY, MAX_SUMS, MAX_UNSENT, KafkaAuditTrail
from api.web.outbox import NotTakenError
from schemas.access import Principal
from schemas.audit import AUTHENTICATE, AuditEntry
from schemas.stream import Record
from schemas.topics import AUDIT

NOW_MS = 1_796_000_040_000
KEY = Principal("acme", "key", "k1", frozenset())
APP = Principal("acme", "device", "u1/d1", frozenset())


class Outbox:
    """Takes records while it may."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.refuses = False

    async def put(self, records: Sequence[Record]) -> None:
        if self.refuses:
            raise NotTakenError("no broker")
        self.records += records

    async def ping(self) -> None:
        """Answer."""

    def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    @property
    def entries(self) -> list[AuditEntry]:
        assert {record.topic for record in self.records} <= {AUDIT}
        return [AuditEntry.model_validate_json(one.value or b"") for one in self.records]


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def deed(principal: Principal = KEY, address: str = "10.0.0.1") -> Deed:
    return Deed(principal, "POST /v1/events", "t" * 600, 202, address, "curl", "r-1", "", "")


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trail(outbox: Outbox, clock: Clock) -> KafkaAuditTrail:
    return KafkaAuditTrail(outbox, clock)


async def test_a_deed_is_on_kafka_before_keep_returns(
    trail: KafkaAuditTrail, outbox: Outbox
) -> None:
    """Whole, with a target that is too long cut."""
    await trail.keep(deed())
    (entry,) = outbox.entries
    assert (entry.tenant, entry.actor_kind, entry.actor) == ("acme", "key", "k1")
    assert (entry.action, entry.status, entry.at_ms) == ("POST /v1/events", 202, NOW_MS)
    assert entry.target == "t" * 512


async def test_a_deed_that_kafka_does_not_take_is_an_error(
    trail: KafkaAuditTrail, outbox: Outbox
) -> None:
    """The caller answers 503."""
    outbox.refuses = True
    with pytest.raises(NotTakenError):
        await trail.keep(deed())


async def test_calls_alike_are_summed_by_the_minute(
    trail: KafkaAuditTrail, outbox: Outbox, clock: Clock
) -> None:
    """By credential, action, address and status; nothing is put before its time."""
    for _ in range(3):
        trail.count(deed(), 10)
    trail.count(deed(address="10.0.0.2"), 1)
    clock.now_ms += 60_000
    trail.count(deed(), 1)
    assert not outbox.records
    await trail.put_out()
    found = [(one.at_ms - NOW_MS, one.address, one.count) for one in outbox.entries]
    assert found == [(0, "10.0.0.1", 30), (0, "10.0.0.2", 1), (60_000, "10.0.0.1", 1)]


async def test_what_kafka_does_not_take_is_put_again_as_the_same_entries(
    trail: KafkaAuditTrail, outbox: Outbox
) -> None:
    """An attempt whose answer was lost leaves no second row: the ids are the same."""
    trail.count(deed(), 5)
    outbox.refuses = True
    await trail.put_out()
    trail.count(deed(), 2)
    outbox.refuses = False
    await trail.put_out()
    assert [one.count for one in outbox.entries] == [5, 2]


async def test_a_stop_puts_out_the_rest(trail: KafkaAuditTrail, outbox: Outbox) -> None:
    """Nothing is lost at a graceful stop."""
    trail.start()
    trail.count(deed(), 5)
    await trail.stop()
    assert [one.count for one in outbox.entries] == [5]


async def test_the_first_use_of_a_credential_in_an_hour_is_kept(
    trail: KafkaAuditTrail, outbox: Outbox, clock: Clock
) -> None:
    """From each address; the devices' are counted, as there are millions of them."""
    for _ in range(2):
        trail.used(KEY, "10.0.0.1", "curl")
        trail.used(APP, "10.0.0.9", "app")
    trail.used(KEY, "10.0.0.2", "curl")
    clock.now_ms += 3_600_000
    trail.used(KEY, "10.0.0.1", "curl")
    await trail.put_out()
    assert {one.action for one in outbox.entries} == {AUTHENTICATE}
    found = sorted((one.actor, one.address, one.count) for one in outbox.entries)
    assert found == [
        (MANY, MANY, 1),
        ("k1", "10.0.0.1", 1),
        ("k1", "10.0.0.1", 1),
        ("k1", "10.0.0.2", 1),
    ]


async def test_credentials_that_prove_nobody_are_summed_by_address(
    trail: KafkaAuditTrail, outbox: Outbox
) -> None:
    """They belong to no tenant."""
    for _ in range(4):
        trail.refused("10.6.6.6")
    await trail.put_out()
    (entry,) = outbox.entries
    assert (entry.tenant, entry.status, entry.address, entry.count) == ("", 401, "10.6.6.6", 4)


async def test_memory_is_bounded(trail: KafkaAuditTrail, outbox: Outbox) -> None:
    """Beyond the bound calls are added up without telling who made them."""
    for number in range(MAX_SUMS + 50):
        trail.refused(f"a{number}")
    outbox.refuses = True
    await trail.put_out()
    for round_ in range(1 + MAX_UNSENT // MAX_SUMS):
        for number in range(MAX_SUMS):
            trail.refused(f"{round_}.{number}")
        await trail.put_out()
    outbox.refuses = False
    await trail.put_out()
    assert len(outbox.records) == MAX_UNSENT
    assert [one.count for one in outbox.entries if one.address == MANY] == [50]
