"""Gatherings: memory and Redis behave alike, and as a simple model says."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.gatherings import ARMING, FULL_BYTES, Closed, Closing, Joined, Joining
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

T0 = 1_700_000_000_000
MINUTE_MS = 60_000


def item(name: str, *, due: int = T0 + MINUTE_MS, user: str = "u", **more: int) -> Joining:
    return Joining(user, "d:likes", name, name.encode(), due, more.pop("max_items", 9), **more)


def join(stores: Stores, *items: Joining, at: int = T0) -> list[Joined]:
    return stores.gatherings.join_many("acme", 4, items, at)


def close(stores: Stores, window: str, *, at: int, by: str = "me", user: str = "u") -> Closed:
    (closed,) = stores.gatherings.close_many("acme", 4, [Closing(user, "d:likes", window, by)], at)
    return closed


def test_items_of_one_name_gather_until_the_window_is_due(stores: Stores) -> None:
    """The first opens it, for the others it stays as it is."""
    first, second = join(stores, item("a"), item("b", due=T0 + 99 * MINUTE_MS))
    assert first == Joined(first.window_id, T0 + MINUTE_MS, is_open=True, arms=True)
    assert second == first
    assert close(stores, first.window_id, at=T0 + MINUTE_MS - 1) == Closed(T0 + MINUTE_MS, [])
    assert close(stores, first.window_id, at=T0 + MINUTE_MS) == Closed(
        0, [("a", b"a"), ("b", b"b")]
    )


def test_who_takes_the_items_gets_them_again_and_nobody_else(stores: Stores) -> None:
    """A replayed close; another timer of the same window."""
    (joined,) = join(stores, item("a"))
    for _ in range(2):
        assert close(stores, joined.window_id, at=T0 + MINUTE_MS).items == [("a", b"a")]
    assert close(stores, joined.window_id, at=T0 + MINUTE_MS, by="other").items == []
    assert close(stores, joined.window_id, at=T0 + MINUTE_MS, by="").items == [("a", b"a")]
    assert close(stores, "nope", at=T0) == Closed(0, [])


def test_what_comes_late_opens_another_window(stores: Stores) -> None:
    """Also when the first has not been closed yet; the first keeps its items."""
    (first,) = join(stores, item("a"))
    (second,) = join(stores, item("b", due=T0 + 9 * MINUTE_MS), at=T0 + MINUTE_MS)
    assert second.window_id != first.window_id
    assert close(stores, first.window_id, at=T0 + MINUTE_MS).items == [("a", b"a")]
    assert close(stores, second.window_id, at=T0 + 9 * MINUTE_MS).items == [("b", b"b")]


def test_a_replayed_join_gets_its_answer_and_changes_nothing(stores: Stores) -> None:
    """Before the window is closed, and after."""
    joined = join(stores, item("a"), item("b"))
    assert join(stores, item("a"), item("b"), at=T0 + 9) == joined
    close(stores, joined[0].window_id, at=T0 + MINUTE_MS)
    again = join(stores, item("b", due=T0 + 9 * MINUTE_MS), at=T0 + 2 * MINUTE_MS)
    assert again == [joined[1]._replace(is_open=False)]
    assert len(close(stores, joined[0].window_id, at=T0 + MINUTE_MS).items) == 2


def test_a_sliding_window_closes_after_the_last_item_within_bounds(stores: Stores) -> None:
    """Each item moves the end, up to the longest; a replay moves nothing."""
    slide = {"slide_ms": MINUTE_MS, "longest_ms": 2 * MINUTE_MS + 1}
    ends = []
    for name, minute in (("a", 0), ("b", 0.5), ("c", 1.2), ("d", 2.0), ("a", 2.0)):
        at = T0 + int(minute * MINUTE_MS)
        ends += join(stores, item(name, due=at + MINUTE_MS, **slide), at=at)
    minutes = [(one.due_ms - T0) / MINUTE_MS for one in ends]
    assert minutes == pytest.approx([1, 1.5, 2, 2, 1], abs=0.001)
    assert len({one.window_id for one in ends}) == 1


def test_a_full_window_closes_at_once(stores: Stores) -> None:
    """By count; the next item opens another."""
    joined = join(stores, *(item(name, max_items=2) for name in "abc"))
    assert [one.due_ms - T0 for one in joined] == [MINUTE_MS, 0, MINUTE_MS]
    assert [one.is_open for one in joined] == [True, False, True]
    assert joined[1].arms
    assert close(stores, joined[0].window_id, at=T0).items == [("a", b"a"), ("b", b"b")]
    assert joined[2].window_id != joined[0].window_id


def test_a_window_is_full_by_size_too(stores: Stores) -> None:
    """Large items close it early."""
    big = item("a")._replace(item=b"x" * FULL_BYTES)
    assert join(stores, big)[0].is_open is False


def test_the_first_items_set_the_timer(stores: Stores) -> None:
    """The others rely on them."""
    joined = join(stores, *(item(str(n)) for n in range(ARMING + 2)))
    assert [one.arms for one in joined] == [True] * ARMING + [False] * 2


def test_users_are_apart(stores: Stores) -> None:
    """Many of them in one call, in any shard."""
    users = [f"u{n}" for n in range(300)]
    joined = join(stores, *(item("a", user=user) for user in users))
    assert len({one.window_id for one in joined}) == 300
    for user, one in list(zip(users, joined, strict=True))[::97]:
        assert close(stores, one.window_id, at=T0 + MINUTE_MS, user=user).items == [("a", b"a")]


class Step(NamedTuple):
    wait_s: int
    names: list[int]
    closes: bool


steps = st.lists(
    st.builds(Step, st.integers(0, 70), st.lists(st.integers(0, 15), max_size=4), st.booleans()),
    max_size=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps, is_sliding=st.booleans())
def test_every_item_is_taken_exactly_once(
    new_stores: Callable[[], Stores], steps: list[Step], *, is_sliding: bool
) -> None:
    """Whatever is joined, joined again, and closed again: one window has it, in order."""
    stores, now = new_stores(), T0
    came: dict[str, None] = {}
    windows: dict[str, None] = {}
    for wait_s, names, closes in steps:
        now += wait_s * 1_000
        slide = {"slide_ms": MINUTE_MS, "longest_ms": 3 * MINUTE_MS} if is_sliding else {}
        items = [item(f"m{n}", due=now + MINUTE_MS, max_items=4, **slide) for n in names]
        joined = join(stores, *items, at=now)
        assert join(stores, *items, at=now)[-1:] == [
            one._replace(is_open=one.is_open and joined[-1].is_open) for one in joined[-1:]
        ]
        came |= dict.fromkeys(one.item_id for one in items)
        windows |= dict.fromkeys(one.window_id for one in joined)
        if closes:
            for window in windows:
                close(stores, window, at=now)
    end = now + 10 * MINUTE_MS
    taken = [name for window in windows for name, _ in close(stores, window, at=end).items]
    assert taken == list(came)
    assert all(close(stores, window, at=end, by="other").items == [] for window in windows)
