"""gather: a contest spends a scarce cap on what is worth most."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.route_steps import at_once
from operators.cap import ApplyCaps
from operators.decode import Decode
from operators.gather import Gather, value_of
from schemas.pipeline import Priority, Timer
from schemas.stream import Source
from schemas.tenant import Tenant
from state.memory_gatherings import MemoryGatherings
from state.memory_limits import MemoryCaps
from tests.unit.operators.builders import (
    NOW_MS,
    UNTIMED,
    FakeMessage,
    addressed,
    only,
    profile,
    said,
    tenant,
    work,
)

WINDOW_MS = 30_000


def contest(limit: int = 1, value: str = "value") -> Tenant:
    return tenant(
        categories={
            "news": {
                "arbitration": {"window_s": 30, "value": value},
                "caps": [{"limit": limit, "window_s": "1d"}],
            }
        }
    )


class Ring:
    """The steps of a contest; who got through, and what was said of the others."""

    def __init__(self, of: Tenant) -> None:
        self.of = of
        self.gather, self.caps = Gather(MemoryGatherings()), ApplyCaps(MemoryCaps(), at_once)
        self.offset = 0

    def enter(self, message: str, value: float, at: int = NOW_MS, **changes: Any) -> list[Timer]:
        self.offset += 1
        piece = work(
            "a",
            of=self.of,
            source=Source("events.normal", 0, self.offset),
            message_id=message,
            variables={"value": value},
            **changes,
        )
        _, outs = self.gather([addressed(piece, profile("a"))], at)
        assert said(outs) == [("a", "deferred", "arbitration")]
        return only(Timer, outs)

    def back(self, timer: Timer, at: int) -> tuple[list[str], list[Any]]:
        """Give who passes when a timer has fired, and what is decided."""
        record = FakeMessage(timer.value, Source(timer.topic, 0, self.offset), timer.key, at)
        works, _ = Decode({"acme": self.of})([record], at)  # type: ignore[list-item]
        works = [addressed(piece, profile("a")) for piece in works]
        works, outs = self.gather(works, at)
        works, more = self.caps.settle(self.caps.ask(works, at)[0], at)
        passed = [piece.draft.notice.message_id for piece in works if piece.recipients]
        return passed, [*outs, *more]


def test_the_most_valuable_gets_the_cap_and_not_the_first() -> None:
    """Whoever comes back first; the others are told that they were outranked."""
    ring = Ring(contest())
    timers = [ring.enter(f"m{n}", value)[0] for n, value in enumerate((1.0, 5.0, 3.0))]
    assert {timer.due_at_ms for timer in timers} == {NOW_MS + WINDOW_MS}
    results = [ring.back(timer, NOW_MS + WINDOW_MS) for timer in timers]
    assert [passed for passed, _ in results] == [[], ["m1"], []]
    for at in (0, 2):
        assert said(results[at][1]) == [("a", "suppressed", "outranked")]


def test_what_comes_later_meets_the_next_contest() -> None:
    """And there the cap is used up."""
    ring = Ring(contest())
    (first,) = ring.enter("m0", 1.0)
    (second,) = ring.enter("m1", 9.0, at=NOW_MS + WINDOW_MS)
    assert ring.back(first, NOW_MS + WINDOW_MS)[0] == ["m0"]
    passed, outs = ring.back(second, NOW_MS + 2 * WINDOW_MS)
    assert (passed, said(outs)) == ([], [("a", "suppressed", "frequency_cap")])


def test_a_return_that_is_done_again_ends_the_same() -> None:
    """Contest and cap know the messages."""
    ring = Ring(contest())
    timers = [ring.enter(f"m{n}", float(n))[0] for n in range(2)]
    for _ in range(2):
        assert [ring.back(timer, NOW_MS + WINDOW_MS)[0] for timer in timers] == [[], ["m1"]]


def test_a_clock_that_is_behind_waits_on() -> None:
    """Nobody is ranked before the window has closed."""
    ring = Ring(contest())
    (timer,) = ring.enter("m0", 1.0)
    passed, outs = ring.back(timer, NOW_MS + WINDOW_MS - 1)
    (again,) = only(Timer, outs)
    assert (passed, again.due_at_ms) == ([], NOW_MS + WINDOW_MS)
    assert ring.back(again, NOW_MS + WINDOW_MS)[0] == ["m0"]


def test_critical_messages_do_not_compete() -> None:
    """They go at once."""
    of = contest()
    piece = addressed(work("a", of=of, priority=Priority.CRITICAL), profile("a"))
    assert Gather(MemoryGatherings())([piece], NOW_MS) == ([piece], [])
    assert piece.recipients


@pytest.mark.parametrize(
    ("name", "changes", "value"),
    [
        ("v", {"data": {"v": "2.5"}, "variables": {"v": 9}}, 2.5),
        ("v", {"variables": {"v": 9}}, 9.0),
        ("v", {"variables": {"v": "much"}}, 0.0),
        ("v", {"variables": {"v": "inf"}}, 0.0),
        ("v", {"variables": {"v": [1]}}, 0.0),
        ("v", {}, 0.0),
        ("priority", {"priority": Priority.HIGH}, 3.0),
        ("priority", {"priority": Priority.LOW}, 1.0),
    ],
)
def test_what_a_message_is_worth(name: str, changes: dict[str, Any], value: float) -> None:
    """A number in its data, or else its variables, or its priority; 0 otherwise."""
    assert value_of(work("a", **changes).draft, name) == value


@UNTIMED
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_the_best_pass_in_whatever_order_they_come_back(
    values: list[int], limit: int, random: Any
) -> None:
    """As many as the cap allows: the highest values, of equals the earlier."""
    ring = Ring(contest(limit))
    timers = [
        ring.enter(f"m{n}", float(value), accepted_at_ms=NOW_MS + n)[0]
        for n, value in enumerate(values)
    ]
    random.shuffle(timers)
    passed = {name for timer in timers for name in ring.back(timer, NOW_MS + WINDOW_MS)[0]}
    ranked = sorted(range(len(values)), key=lambda n: (-values[n], n))
    assert passed == {f"m{n}" for n in ranked[:limit]}
