"""Frequency caps: memory and Redis behave alike, and as a simple model says."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.caps import RECENT, REPLAY_MS, SUBWINDOWS, CapCheck, CapLimit, RedisCaps
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

SHARDS = 4
T0 = 1_700_000_000_000
DAY_MS = 86_400_000
both_ways = pytest.mark.parametrize("exact", [True, False], ids=["exact", "subwindows"])


def admit(stores: Stores, now_ms: int, *checks: CapCheck) -> list[bool | int]:
    return stores.caps.admit_many("acme", SHARDS, checks, now_ms)


def one(user: str, message: str, limit: int, window_ms: int, *, exact: bool = True) -> CapCheck:
    return CapCheck(user, message, (CapLimit("offers", limit, window_ms),), exact)


@both_ways
def test_a_cap_admits_up_to_its_limit_then_names_itself(stores: Stores, *, exact: bool) -> None:
    """Within one batch and across batches; another user is not touched."""
    checks = [one("u", f"m{n}", 2, DAY_MS, exact=exact) for n in range(3)]
    assert admit(stores, T0, *checks) == [True, True, 0]
    assert admit(stores, T0 + 1, one("u", "m3", 2, DAY_MS, exact=exact)) == [0]
    assert admit(stores, T0 + 1, one("v", "m3", 2, DAY_MS, exact=exact)) == [True]


@both_ways
def test_a_replay_gets_the_same_answers_and_counts_nothing_twice(
    stores: Stores, *, exact: bool
) -> None:
    """The same batch again, at once or later, also when the cap is full."""
    checks = [one("u", f"m{n}", 2, DAY_MS, exact=exact) for n in range(3)]
    first = admit(stores, T0, *checks)
    assert admit(stores, T0, *checks) == first
    assert admit(stores, T0 + 60_000, *checks) == first
    assert admit(stores, T0 - 60_000, *checks) == first


def test_what_a_replay_lets_through_counts_from_then(stores: Stores) -> None:
    """It goes out at the replay: the next one waits a window from there."""
    admit(stores, T0, one("u", "a", 1, 10_000))
    assert admit(stores, T0 + 7_000, one("u", "a", 1, 10_000)) == [True]
    assert admit(stores, T0 + 16_999, one("u", "b", 1, 10_000)) == [0]
    assert admit(stores, T0 + 17_000, one("u", "b", 1, 10_000)) == [True]


@both_ways
def test_two_devices_of_one_message_count_once(stores: Stores, *, exact: bool) -> None:
    """The member is the message: asked twice in one batch it is recorded once."""
    check = one("u", "m", 2, DAY_MS, exact=exact)
    answers = admit(stores, T0, check, check, one("u", "n", 2, DAY_MS, exact=exact))
    assert answers == [True, True, True]


def test_the_exact_window_rolls_to_the_millisecond(stores: Stores) -> None:
    """A message counts up to, not including, now + window_ms."""
    admit(stores, T0, one("u", "a", 1, 1_000))
    assert admit(stores, T0 + 999, one("u", "b", 1, 1_000)) == [0]
    assert admit(stores, T0 + 1_000, one("u", "c", 1, 1_000)) == [True]


def test_subwindows_hold_at_most_one_part_longer(stores: Stores) -> None:
    """Never shorter than the window, and free again a part later."""
    admit(stores, T0, one("u", "a", 1, 8_000, exact=False))
    assert admit(stores, T0 + 7_999, one("u", "b", 1, 8_000, exact=False)) == [0]
    assert admit(stores, T0 + 9_000, one("u", "c", 1, 8_000, exact=False)) == [True]


@both_ways
def test_all_limits_hold_or_nothing_is_recorded(stores: Stores, *, exact: bool) -> None:
    """The index is that of the first limit used up; the others were not charged."""
    day, all_day = CapLimit("offers", 5, DAY_MS), CapLimit("all", 1, DAY_MS)
    assert admit(stores, T0, CapCheck("u", "a", (all_day,), exact)) == [True]
    refused = [CapCheck("u", f"b{n}", (day, all_day), exact) for n in range(9)]
    assert admit(stores, T0, *refused) == [1] * 9
    five = [CapCheck("u", f"c{n}", (day,), exact) for n in range(6)]
    assert admit(stores, T0, *five) == [True] * 5 + [0]


@both_ways
def test_several_windows_of_one_name_share_a_record(stores: Stores, *, exact: bool) -> None:
    """Two an hour and three a day."""
    limits = (("offers", 2, 3_600_000), ("offers", 3, DAY_MS))

    def ask(message: str, hours: int) -> list[bool | int]:
        return admit(stores, T0 + hours * 3_600_000, CapCheck("u", message, limits, exact))

    assert [ask("a", 0), ask("b", 0), ask("c", 0)] == [[True], [True], [0]]
    assert [ask("d", 2), ask("e", 2)] == [[True], [1]]


@both_ways
def test_a_limit_of_zero_refuses_and_no_limit_admits(stores: Stores, *, exact: bool) -> None:
    """The edges."""
    checks = (one("u", "a", 0, DAY_MS, exact=exact), CapCheck("u", "a", (), exact))
    assert admit(stores, T0, *checks) == [0, True]
    assert admit(stores, T0) == []


@both_ways
def test_large_limits_are_kept_too(stores: Stores, *, exact: bool) -> None:
    """Beyond what the script reads at once, and beyond one script call."""
    checks = [one("u", f"m{n}", 290, DAY_MS, exact=exact) for n in range(300)]
    assert admit(stores, T0, *checks) == [True] * 290 + [0] * 10
    assert admit(stores, T0 + 1, *checks[280:]) == [True] * 10 + [0] * 10


def test_exact_and_subwindows_in_one_batch(stores: Stores) -> None:
    """Answers stay in place."""
    checks = [one(f"u{n % 5}", f"m{n}", 1, DAY_MS, exact=n % 2 == 0) for n in range(20)]
    assert admit(stores, T0, *checks) == [True] * 10 + [0] * 10


def test_tenants_do_not_share_caps(stores: Stores) -> None:
    """The same user and name in two tenants."""
    admit(stores, T0, one("u", "a", 1, DAY_MS))
    assert stores.caps.admit_many("other", SHARDS, [one("u", "b", 1, DAY_MS)], T0) == [True]


@both_ways
def test_wrong_limits_are_refused_by_name(stores: Stores, *, exact: bool) -> None:
    """A negative limit, a window below the smallest."""
    for limit, window_ms in ((-1, DAY_MS), (1, 0), (1, -5)):
        with pytest.raises(ValueError, match="'offers'"):
            admit(stores, T0, one("u", "a", limit, window_ms, exact=exact))


class Model:
    """What caps mean: the admitted messages with their times, looked through each time."""

    def __init__(self) -> None:
        self.admitted: dict[tuple[str, str], dict[str, int]] = {}

    def ask(self, check: CapCheck, now_ms: int) -> bool | int:
        lists = [self.admitted.setdefault((check.user_id, n), {}) for n, _, _ in check.limits]
        if any(check.message_id in times for times in lists):
            for times in lists:
                if check.message_id in times:
                    times[check.message_id] = max(now_ms, times[check.message_id])
            return True
        for index, (times, (_, limit, window_ms)) in enumerate(
            zip(lists, check.limits, strict=True)
        ):
            if sum(at > now_ms - window_ms for at in times.values()) >= limit:
                return index
        for times in lists:
            times[check.message_id] = now_ms
        return True


LIMITS: tuple[tuple[tuple[str, int, int], ...], ...] = (
    (("a", 1, 1_000),),
    (("a", 3, 5_000), ("all", 4, 9_000)),
    (("b", 2, 800), ("b", 4, 4_000)),
    (("b", 30, 60_000), ("all", 4, 9_000)),
)
batch = st.tuples(
    st.integers(-200, 2_000),
    st.lists(st.tuples(st.sampled_from("uv"), st.integers(0, 40), st.integers(0, 3)), max_size=12),
    st.integers(0, 2),
)


def checks_of(asked: list[tuple[str, int, int]], *, exact: bool) -> list[CapCheck]:
    return [CapCheck(u, f"m{n}-{rule}", LIMITS[rule], exact) for u, n, rule in asked]


bounded = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@bounded
@given(batches=st.lists(batch, max_size=10))
def test_exact_caps_are_the_models_through_replays_and_unsteady_clocks(
    new_stores: Callable[[], Stores], batches: list[tuple[int, list[Any], int]]
) -> None:
    """Any batches, each replayed up to twice: the same answers as looking through all."""
    stores, model, now = new_stores(), Model(), T0
    for step_ms, asked, replays in batches:
        now += step_ms
        checks = checks_of(asked, exact=True)
        for _ in range(1 + replays):
            wanted = [model.ask(check, now) for check in checks]
            assert admit(stores, now, *checks) == wanted


@bounded
@given(batches=st.lists(batch, max_size=10))
def test_subwindow_caps_never_exceed_and_replays_answer_alike(
    new_stores: Callable[[], Stores], batches: list[tuple[int, list[Any], int]]
) -> None:
    """Admitted at most `limit` in any rolling window; refused only what is within 9/8 of it."""
    stores, now = new_stores(), T0
    admitted: dict[tuple[str, str, int], dict[str, int]] = {}
    for step_ms, asked, replays in batches:
        now += abs(step_ms)
        checks = checks_of(asked, exact=False)
        answers = admit(stores, now, *checks)
        for check, answer in zip(checks, answers, strict=True):
            for index, (name, limit, window_ms) in enumerate(check.limits):
                times = admitted.setdefault((check.user_id, name, window_ms), {})
                if answer is True:
                    times.setdefault(check.message_id, now)
                    assert sum(at > now - window_ms for at in times.values()) <= limit
                elif answer == index:
                    reach_ms = window_ms + window_ms // SUBWINDOWS
                    assert sum(at > now - reach_ms for at in times.values()) >= limit
        for _ in range(replays):
            assert admit(stores, now, *checks) == answers


def test_exact_memory_is_bounded_by_what_the_window_admits(
    valkey_client_alone: RedisClient,
) -> None:
    """Entries older than the window and REPLAY_MS go at the next admission; keys expire."""
    valkey_client_alone.run("FLUSHALL")
    caps = RedisCaps(valkey_client_alone)
    for n in range(50):
        caps.admit_many("acme", 1, [one("u", f"m{n}", 1, 1_000)], T0 + n * REPLAY_MS)
    assert valkey_client_alone.run("ZCARD", "{acme:0}:z:6:offers:u") == 1
    assert 0 < valkey_client_alone.run("PTTL", "{acme:0}:z:6:offers:u") <= REPLAY_MS


def test_subwindow_memory_does_not_grow(valkey_client_alone: RedisClient) -> None:
    """A thousand messages, and windows that were configured once: a string under 600 bytes."""
    valkey_client_alone.run("FLUSHALL")
    caps = RedisCaps(valkey_client_alone)
    for n in range(1_000):
        check = one("u", f"m{n}", 10_000, 60_000 + n // 100, exact=False)
        caps.admit_many("acme", 1, [check], T0 + n * 1_500)
    assert valkey_client_alone.run("STRLEN", "{acme:0}:k:6:offers:u") < 600
    assert 0 < valkey_client_alone.run("PTTL", "{acme:0}:k:6:offers:u") <= REPLAY_MS


def test_subwindows_remember_the_recent_messages(stores: Stores) -> None:
    """The last RECENT admitted are known in a replay; with one more, the oldest is not."""
    checks = [one("u", f"m{n}", RECENT + 1, DAY_MS, exact=False) for n in range(RECENT + 1)]
    assert admit(stores, T0, *checks) == [True] * (RECENT + 1)
    assert admit(stores, T0, *checks[1:], checks[0]) == [True] * RECENT + [0]
