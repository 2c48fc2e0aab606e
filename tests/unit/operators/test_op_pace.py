"""pace: what is over a rate waits in line."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.pace import Pace
from schemas.pipeline import Delivery, Outcome, Platform, Priority, Timer
from tests.unit.operators.builders import NOW_MS, UNTIMED, delivery, only, said, tenant

decode = msgspec.msgpack.Decoder(Delivery).decode


class FakeLeases:
    """Grants what it is told to, and remembers who asked."""

    def __init__(self, *grants: int) -> None:
        self.grants = list(grants)
        self.asked: list[tuple[str, float, int]] = []

    def take(self, key: str, rate_per_s: float, n: int, _now_ms: int) -> int:
        self.asked.append((key, rate_per_s, n))
        return min(n, self.grants.pop(0)) if self.grants else 0


def paced(leases: FakeLeases, **rates: Any) -> Pace:
    return Pace({"acme": tenant(rates=rates), "free": tenant(name="free")}, leases)


def some(count: int, start: int = 0, **changes: Any) -> list[Delivery]:
    return [
        delivery(delivery_id=f"id-{n}", user_id=f"u{n}", **changes)
        for n in range(start, start + count)
    ]


def test_without_rates_nobody_is_asked() -> None:
    """All pass."""
    leases, batch = FakeLeases(), some(3)
    assert paced(leases)(batch, NOW_MS) == (batch, [])
    assert leases.asked == []


def test_a_tenant_without_rates_passes_beside_one_with() -> None:
    """Only the limited one is held."""
    free = some(2, tenant="free")
    going, outs = paced(FakeLeases(), per_second=10.0)([*some(1), *free], NOW_MS)
    assert going == free
    assert len(only(Timer, outs)) == 1


def test_what_is_granted_goes_and_the_rest_waits() -> None:
    """One timer and one outcome each."""
    going, outs = paced(FakeLeases(2), per_second=10.0)(some(4), NOW_MS)
    assert [d.user_id for d in going] == ["u0", "u1"]
    assert said(outs) == [("u2", "deferred", "tenant_rate"), ("u3", "deferred", "tenant_rate")]
    assert len(only(Timer, outs)) == 2


def test_a_region_is_slowed_down_alone() -> None:
    """Users of other countries go at the platform's rate."""
    leases = FakeLeases(1)
    here, there = some(2, region="eu"), some(1, start=5)
    step = paced(leases, regions={"eu": {"countries": ["DE"], "per_second": 3.0}})
    going, outs = step([*here, *there], NOW_MS)
    assert leases.asked == [("acme/region/eu", 3.0, 2)]
    assert [d.user_id for d in going] == ["u0", "u5"]
    assert said(outs) == [("u1", "deferred", "region_rate")]


def test_each_rate_is_asked_once_per_batch() -> None:
    """The platform's for what the tenant's lets through."""
    leases = FakeLeases(2, 1)
    going, outs = paced(leases, per_second=10.0, platforms={"fcm": 5.0})(some(4), NOW_MS)
    assert leases.asked == [("acme/all", 10.0, 4), ("acme/fcm", 5.0, 2)]
    assert len(going) == 1
    assert [reason for _, _, reason in said(outs)] == ["tenant_rate"] * 2 + ["platform_rate"]


def test_platforms_have_rates_of_their_own() -> None:
    """FCM's does not hold Web Push."""
    batch = [*some(1), *some(1, start=5, platform=Platform.WEBPUSH)]
    going, outs = paced(FakeLeases(), platforms={"fcm": 5.0})(batch, NOW_MS)
    assert [d.platform for d in going] == ["webpush"]
    assert said(outs) == [("u0", "deferred", "platform_rate")]


def test_a_timer_puts_the_delivery_on_its_topic_marked_as_held() -> None:
    """Its latency would mean nothing."""
    (first,) = some(1)
    (timer,) = only(Timer, paced(FakeLeases(), per_second=10.0)([first], NOW_MS)[1])
    assert (timer.topic, timer.key) == ("deliveries.fcm.normal", b"acme/u0")
    assert decode(timer.value) == msgspec.structs.replace(first, held=True)


def test_timers_are_spread_at_the_rate() -> None:
    """Ten a second are 100 ms apart."""
    timers = only(Timer, paced(FakeLeases(), per_second=10.0)(some(4), NOW_MS)[1])
    assert [t.due_at_ms - NOW_MS for t in timers] == [101, 201, 301, 401]


def test_the_next_batch_stands_behind_the_last() -> None:
    """Two batches at once do not make twice the rate."""
    step = paced(FakeLeases(), per_second=10.0)
    step(some(3), NOW_MS)
    timers = only(Timer, step(some(2, start=3), NOW_MS + 20)[1])
    assert [t.due_at_ms - NOW_MS for t in timers] == [401, 501]


def test_while_a_line_stands_nobody_passes_it() -> None:
    """What is granted meanwhile is for those in line."""
    leases = FakeLeases(0, 99)
    step = paced(leases, per_second=10.0)
    step(some(3), NOW_MS)
    going, outs = step(some(1, start=3), NOW_MS + 100)
    assert (going, len(only(Timer, outs))) == ([], 1)
    assert len(leases.asked) == 1


def test_when_the_line_is_over_rates_are_asked_again() -> None:
    """No line stands for ever."""
    leases = FakeLeases(0, 99)
    step = paced(leases, per_second=10.0)
    step(some(3), NOW_MS)
    assert len(step(some(1, start=3), NOW_MS + 301)[0]) == 1


def test_a_long_line_of_bulk_does_not_delay_what_is_urgent() -> None:
    """Each priority has its own."""
    step = paced(FakeLeases(0, 0), per_second=1.0)
    step(some(500, priority=Priority.LOW), NOW_MS)
    (timer,) = only(Timer, step(some(1, priority=Priority.HIGH), NOW_MS)[1])
    assert timer.due_at_ms == NOW_MS + 1_001


def test_within_a_batch_the_urgent_go_first() -> None:
    """Whatever the order in which they came."""
    batch = [*some(2, priority=Priority.LOW), *some(1, start=9, priority=Priority.HIGH)]
    going, _ = paced(FakeLeases(1), per_second=10.0)(batch, NOW_MS)
    assert [d.priority for d in going] == ["high"]


def test_critical_is_counted_but_never_held() -> None:
    """Even when nothing is granted."""
    leases = FakeLeases(0, 0, 0)
    step = paced(leases, per_second=1.0, platforms={"fcm": 1.0})
    batch = [*some(2, priority=Priority.LOW), *some(3, start=9, priority=Priority.CRITICAL)]
    going, _ = step(batch, NOW_MS)
    assert [d.priority for d in going] == ["critical"] * 3
    assert [n for _, _, n in leases.asked] == [5, 3]
    assert len(step(some(2, start=20, priority=Priority.CRITICAL), NOW_MS)[0]) == 2


def test_what_would_expire_in_line_ends_and_takes_no_place() -> None:
    """The ones behind it move up."""
    short = some(1, start=3, expires_at_ms=NOW_MS + 301)
    _, outs = paced(FakeLeases(), per_second=10.0)([*some(2), *short, *some(1)], NOW_MS)
    assert said(outs)[2] == ("u3", "expired", "ttl_expired")
    assert [t.due_at_ms - NOW_MS for t in only(Timer, outs)] == [101, 201, 301]


def test_an_outcome_names_delivery_and_message() -> None:
    """So that its way can be followed."""
    (outcome,) = only(Outcome, paced(FakeLeases(), per_second=1.0)(some(1), NOW_MS)[1])
    assert (outcome.delivery_id, outcome.message_id, outcome.platform) == ("id-0", "m-1", "fcm")
    assert outcome.latency_ms == -1


def test_a_replay_makes_the_same_timer_and_outcome_ids() -> None:
    """They come from the delivery."""
    runs = [paced(FakeLeases(), per_second=1.0)(some(2), NOW_MS)[1] for _ in range(2)]
    assert runs[0] == runs[1]


def test_an_epoch_done_again_finds_its_places() -> None:
    """The line is no longer for it: who comes next stands where it would have stood."""
    step, batch = paced(FakeLeases(1), per_second=10.0), some(3)
    going, first = step(batch, NOW_MS)
    again, outs = step(batch[1:], NOW_MS + 50)
    assert ([d.user_id for d in going], again) == (["u0"], [])
    assert only(Timer, outs) == only(Timer, first)
    (last,) = only(Timer, step(some(1, start=9), NOW_MS + 50)[1])
    assert last.due_at_ms == NOW_MS + 301


def test_a_place_that_came_meanwhile_is_the_permission_to_go() -> None:
    """Done again after its time, a delivery goes at once."""
    step = paced(FakeLeases(), per_second=10.0)
    step(some(2), NOW_MS)
    going, outs = step(some(2), NOW_MS + 150)
    assert [d.user_id for d in going] == ["u0"]
    assert [t.due_at_ms for t in only(Timer, outs)] == [NOW_MS + 201]


def test_places_are_kept_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    monkeypatch.setattr("operators.pace.PLACES_KEPT", 3)
    step = paced(FakeLeases(), per_second=10.0)
    step(some(5), NOW_MS)
    assert list(step._places) == ["id-2", "id-3", "id-4"]


@UNTIMED
@given(
    st.lists(
        st.tuples(
            st.integers(0, 300), st.integers(0, 8), st.integers(0, 4), st.sampled_from(Priority)
        ),
        max_size=12,
    ),
    st.sampled_from([0.5, 3.0, 10.0, 5_000.0]),
)
@pytest.mark.parametrize("rates", [1, 2])
def test_everything_goes_or_waits_and_no_line_is_faster_than_its_rate(
    rates: int, batches: list[tuple[int, int, int, Priority]], rate_per_s: float
) -> None:
    """Over any batches, grants and priorities."""
    leases = FakeLeases()
    limits: dict[str, Any] = {"per_second": rate_per_s}
    step = paced(leases, **limits, **({"platforms": {"fcm": rate_per_s}} if rates == 2 else {}))
    now_ms, lines, made = NOW_MS, {}, 0
    for wait_ms, count, grant, priority in batches:
        now_ms += wait_ms
        leases.grants = [grant, grant]
        batch = some(count, start=made, priority=priority)
        made += count
        going, outs = step(batch, now_ms)
        timers = only(Timer, outs)
        held = [decode(timer.value) for timer in timers]
        assert {d.user_id for d in (*going, *held)} == {d.user_id for d in batch}
        assert len(going) + len(held) == count
        assert priority is not Priority.CRITICAL or not held
        for timer, outcome in zip(timers, only(Outcome, outs), strict=True):
            assert timer.due_at_ms > now_ms
            lines.setdefault((priority, outcome.reason), []).append(timer.due_at_ms)
    for due in lines.values():
        assert due == sorted(due)
        gaps = pairwise(due)
        assert all(later - first >= int(1_000 / rate_per_s) for first, later in gaps)
