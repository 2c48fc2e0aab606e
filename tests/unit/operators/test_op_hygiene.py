"""Token hygiene: when a burst of dead tokens is believed, and when it is not."""

from typing import Any

import pytest

from operators.hygiene import AFTER_FAILURE_MS, SHARE_EVERY_MS, Hygiene
from operators.settle import Settled
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, Platform
from schemas.stream import Source
from state.errors import StateError, StateUnavailableError
from state.memory_pruning import MemoryPruning
from state.pruning import Answers, Counted, Credential, Freeze
from tests.unit.operators.builders import NOW_MS, delivery, tenant

WELL = Answer(Status.SENT, Reason.ACCEPTED, 200)
DEAD = Answer(
    Status.FAILED, Reason.TOKEN_UNREGISTERED, 404, token_action=TokenAction.DELETE,
    token_invalid_at_ms=NOW_MS,
)  # fmt: skip
WRONG = Answer(Status.FAILED, Reason.TOKEN_INVALID, 400, token_action=TokenAction.SUSPECT)
BUSY = Answer(Status.RETRY, Reason.PROVIDER_UNAVAILABLE, 503)
APP = ("acme", "shop")
SHOP = Credential(*APP, Platform.FCM)
LIMITS = {"min_deaths": 10, "max_share": 0.2, "window_s": 60}
SOURCE = Source("deliveries.fcm.normal", 0, 0)


class Heard:
    """An alarm that remembers."""

    def __init__(self) -> None:
        self.frozen_ones: list[Freeze] = []
        self.resumed_ones: list[Credential] = []
        self.withheld_count = 0
        self.errors = 0

    def frozen(self, freeze: Freeze) -> None:
        self.frozen_ones.append(freeze)

    def resumed(self, credential: Credential) -> None:
        self.resumed_ones.append(credential)

    def withheld(self, credential: Credential, count: int) -> None:
        assert credential == SHOP
        self.withheld_count += count

    def unshared(self, error: StateError) -> None:
        assert error
        self.errors += 1


class Calls(MemoryPruning):
    """Counts round trips, and is away when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0
        self.asked = 0
        self.is_away = False

    def count_many(self, counts: Any, now_ms: int) -> Any:
        self.counted += 1
        self._check()
        return super().count_many(counts, now_ms)

    def freeze(self, found: Freeze) -> None:
        self._check()
        super().freeze(found)

    def frozen(self) -> list[Freeze]:
        self.asked += 1
        self._check()
        return super().frozen()

    def _check(self) -> None:
        if self.is_away:
            raise StateUnavailableError("HVALS", "here", ConnectionError("refused"))


class Process:
    """One process's hygiene. Its clock is the answers'."""

    def __init__(self, state: Calls, **limits: Any) -> None:
        self.heard = Heard()
        tenants = {"acme": tenant(hygiene={**LIMITS, **limits})}
        self.hygiene = Hygiene(tenants, state, Platform.FCM, self.heard)

    def take(self, *answers: Answer, at_ms: int = NOW_MS, app: str = "shop") -> bool:
        """Take a batch; tell whether the app may be pruned afterwards."""
        batch = [Settled(delivery(app=app), answer, SOURCE, at_ms) for answer in answers]
        return ("acme", app) not in self.hygiene(batch)


def one() -> tuple[Process, Calls]:
    state = Calls()
    return Process(state), state


def test_few_deaths_are_believed() -> None:
    """Whatever their share, below min_deaths."""
    process, _ = one()
    assert process.take(*[DEAD] * 9)
    assert process.heard.frozen_ones == []


def test_a_small_share_is_believed() -> None:
    """Any number, up to max_share of the answers."""
    process, _ = one()
    for _ in range(100):
        assert process.take(*[DEAD] * 2, *[WELL] * 8)


@pytest.mark.parametrize("answer", [DEAD, WRONG])
def test_a_burst_freezes_with_the_batch_in_which_it_trips(answer: Answer) -> None:
    """Dead or suspect; none of that batch is pruned."""
    process, state = one()
    assert process.take(*[answer] * 9)
    assert not process.take(answer, WELL)
    freeze = Freeze(*SHOP, NOW_MS, 11, 10, answer.reason)
    assert process.heard.frozen_ones == [freeze]
    assert state.frozen() == [freeze]


def test_a_long_good_time_does_not_hide_a_burst() -> None:
    """One process prunes fewer than min_deaths tokens, however many answers were good before."""
    process, _ = one()
    assert process.take(*[WELL] * 10_000)
    believed = 0
    for n in range(100):
        believed += process.take(DEAD, at_ms=NOW_MS + n)
    assert believed == 9


def test_deaths_over_a_long_time_are_believed() -> None:
    """The same number as a burst, spread over more than the window."""
    process, _ = one()
    assert all(process.take(DEAD, at_ms=NOW_MS + n * 10_000) for n in range(40))


def test_outages_and_throttles_say_nothing_about_tokens() -> None:
    """They neither freeze nor thin out a burst."""
    process, _ = one()
    assert process.take(*[BUSY] * 1_000)
    assert not process.take(*[DEAD] * 10, *[BUSY] * 1_000)


def test_other_apps_are_not_touched() -> None:
    """Each credential stands for itself."""
    process, _ = one()
    assert not process.take(*[DEAD] * 10)
    assert process.take(*[DEAD] * 9, app="other")


def test_a_tenant_that_was_removed_has_the_default_limits() -> None:
    """100 deaths."""
    heard = Heard()
    hygiene = Hygiene({}, Calls(), Platform.FCM, heard)
    batch = [Settled(delivery(app="shop"), DEAD, SOURCE, NOW_MS)] * 99
    assert not hygiene(batch)
    assert hygiene(batch[:1])


def test_max_share_1_switches_the_guard_off() -> None:
    """Everything dead is believed."""
    process = Process(Calls(), max_share=1)
    assert process.take(*[DEAD] * 1_000)


def test_withheld_deaths_are_counted() -> None:
    """Those that a provider called dead; suspects were never to be pruned."""
    process, _ = one()
    process.take(*[DEAD] * 10, *[WRONG] * 5)
    process.take(*[DEAD] * 3)
    assert process.heard.withheld_count == 13


def test_processes_trip_on_their_sum() -> None:
    """Each alone has seen too few."""
    state = Calls()
    first, second = Process(state), Process(state)
    assert first.take(*[DEAD] * 6)
    assert second.take(*[DEAD] * 6)
    later = NOW_MS + SHARE_EVERY_MS
    assert first.take(WELL, at_ms=later)
    assert not second.take(WELL, at_ms=later)
    assert not first.take(WELL, at_ms=later + SHARE_EVERY_MS)
    assert (len(first.heard.frozen_ones), len(second.heard.frozen_ones)) == (1, 1)


def test_an_idle_process_freezes_with_the_others() -> None:
    """At its first batch, before it prunes anything."""
    state = Calls()
    first, second = Process(state), Process(state)
    assert second.take(WELL)
    assert not first.take(*[DEAD] * 10)
    assert not second.take(DEAD, at_ms=NOW_MS + SHARE_EVERY_MS)


def test_a_process_that_starts_learns_of_a_freeze_without_a_message() -> None:
    """Its gauge must not say that all is well."""
    state = Calls()
    state.freeze(Freeze(*SHOP, NOW_MS, 9, 9, ""))
    process = Process(state)
    process.hygiene.tick(NOW_MS)
    assert [freeze.credential for freeze in process.heard.frozen_ones] == [SHOP]


def test_freezes_of_other_platforms_mean_nothing_here() -> None:
    """An app may have the same name on two platforms, over time."""
    state = Calls()
    state.freeze(Freeze(*APP, Platform.APNS, NOW_MS, 9, 9, ""))
    assert Process(state).take(DEAD)


def test_a_resume_starts_new_counts() -> None:
    """Learnt within a second, also without a message."""
    process, state = one()
    process.take(*[DEAD] * 10)
    state.resume(SHOP)
    process.hygiene.tick(NOW_MS + SHARE_EVERY_MS)
    assert process.heard.resumed_ones == [SHOP]
    assert process.take(*[DEAD] * 9, at_ms=NOW_MS + SHARE_EVERY_MS)
    assert not process.take(DEAD, at_ms=NOW_MS + SHARE_EVERY_MS)
    assert len(process.heard.frozen_ones) == 2


def test_what_was_counted_elsewhere_before_a_resume_is_forgotten() -> None:
    """A process that was near its limit does not freeze again at the next death."""
    state = Calls()
    first, second = Process(state), Process(state)
    assert second.take(*[DEAD] * 9)
    first.take(*[DEAD] * 10)
    second.hygiene.tick(NOW_MS + SHARE_EVERY_MS)
    state.resume(SHOP)
    assert second.take(*[DEAD] * 5, at_ms=NOW_MS + 2 * SHARE_EVERY_MS)


def test_redis_is_asked_once_a_second_at_most() -> None:
    """Not for each message or batch."""
    process, state = one()
    for n in range(3_000):
        process.take(WELL, at_ms=NOW_MS + n)
        process.hygiene.tick(NOW_MS + n)
    assert (state.asked, state.counted) == (3, 2)


def test_an_idle_process_asks_nothing() -> None:
    """After its first look."""
    process, state = one()
    for n in range(10):
        process.hygiene.tick(NOW_MS + n * SHARE_EVERY_MS)
    assert state.asked == 1


def test_the_flow_goes_on_without_redis() -> None:
    """On what this process knows; a freeze is shared once Redis is back, a lost count is not."""
    process, state = one()
    state.is_away = True
    assert process.take(*[DEAD] * 9)
    assert not process.take(DEAD)
    assert not process.take(DEAD, at_ms=NOW_MS + SHARE_EVERY_MS)
    asked = process.heard.errors
    state.is_away = False
    process.hygiene.tick(NOW_MS + AFTER_FAILURE_MS)
    assert [freeze.credential for freeze in state.frozen()] == [SHOP]
    assert not process.take(DEAD, at_ms=NOW_MS + AFTER_FAILURE_MS)
    assert (asked, process.heard.resumed_ones) == (2, [])
    assert len(process.heard.frozen_ones) == 1


def test_a_clock_that_went_back_does_not_stop_the_sharing() -> None:
    """Time goes on from the latest that was seen."""
    process, state = one()
    process.take(WELL, at_ms=NOW_MS)
    process.take(*[DEAD] * 2, at_ms=NOW_MS - 50_000)
    process.hygiene.tick(NOW_MS + SHARE_EVERY_MS)
    (window,) = state.count_many([Counted(SHOP, Answers(0, 0), 60_000)], NOW_MS + SHARE_EVERY_MS)
    assert sum(dead for _, dead in window) == 2
