"""quota: a tenant's messages of a day."""

from typing import Any

import pytest

from operators.fan_out import fan_out
from operators.quota import SpendQuota, day_of
from operators.work import Work
from schemas.pipeline import Priority
from schemas.stream import Source
from schemas.tenant import Tenant
from state.memory_limits import MemoryDailyQuotas
from tests.unit.operators.builders import (
    NOW_MS,
    addressed,
    device,
    profile,
    said,
    tenant,
    work,
)


def quota(most: int | None) -> Tenant:
    return tenant(quotas={"daily": most})


def ready(offset: int, *users: str, of: Tenant, **changes: Any) -> Work:
    """Make work that has its deliveries."""
    source = Source("events.normal", 0, offset)
    piece = addressed(work(*users, of=of, source=source, **changes), *map(profile, users))
    fan_out([piece], NOW_MS)
    return piece


def test_what_is_over_the_quota_is_not_sent() -> None:
    """Each user who goes without is told why."""
    step, of = SpendQuota(MemoryDailyQuotas()), quota(3)
    works = [ready(0, "a", "b", of=of), ready(1, "c", "d", of=of)]
    _, outs = step(works, NOW_MS)
    assert [[d.user_id for d in piece.deliveries] for piece in works] == [["a", "b"], ["c"]]
    assert said(outs) == [("d", "suppressed", "tenant_quota")]
    assert outs[0].detail == "3 on 2026-02-02"


def test_a_replayed_batch_gets_as_much_again() -> None:
    """It spends nothing."""
    step, of = SpendQuota(MemoryDailyQuotas()), quota(2)
    for _ in range(3):
        piece = ready(0, "a", "b", "c", of=of)
        assert said(step([piece], NOW_MS)[1]) == [("c", "suppressed", "tenant_quota")]


def test_a_user_with_two_devices_is_one_message() -> None:
    """The quota counts users."""
    of = quota(1)
    piece = addressed(work("a", of=of), profile("a", device("x"), device("y")))
    fan_out([piece], NOW_MS)
    assert SpendQuota(MemoryDailyQuotas())([piece], NOW_MS)[1] == []
    assert len(piece.deliveries) == 2


@pytest.mark.parametrize(
    ("most", "changes"),
    [(None, {}), (0, {"priority": Priority.CRITICAL})],
    ids=["none", "critical"],
)
def test_what_is_not_counted(most: int | None, changes: dict[str, Any]) -> None:
    """A tenant without a quota, and critical messages."""
    of = quota(1) if most == 0 else quota(None)
    step = SpendQuota(MemoryDailyQuotas())
    works = [ready(n, "a", of=of, **changes) for n in range(3)]
    assert step(works, NOW_MS) == (works, [])
    assert all(piece.deliveries for piece in works)


def test_the_day_is_the_tenants() -> None:
    """02:40 in London is still yesterday in New York."""
    assert day_of(NOW_MS, "Europe/London") == "2026-02-02"
    assert day_of(NOW_MS, "America/New_York") == "2026-02-01"
