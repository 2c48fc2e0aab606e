"""A run, tick by tick: against a simple model, with pauses, crashes and late ticks."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.campaign_run import (
    LONGEST_WATCH_MS,
    LOOK_MS,
    TICK_MS,
    Figures,
    Seen,
    Ticked,
    broken_gate,
    tick,
)
from operators.slices import PLACES
from schemas.campaigns import Campaign, Control, ControlState, Gates, Phase, Run

NOW_MS = 1_800_000_000_000
SHARDS = 4
GOES = Control(state=ControlState.RUNNING, start_id="s1")
PAUSED = Control(state=ControlState.PAUSED, start_id="s1")


def campaign(**more: Any) -> Campaign:
    message = {"type": "t", "category": "news", "audience": {"everyone": True},
               "content": {"title": "Hello"}}  # fmt: skip
    return Campaign.model_validate({"id": "c", "tenant": "acme", "message": message, **more})


def run(**more: Any) -> Run:
    base = Run("c:s1:1", "acme", "c", "s1", b"{}", NOW_MS)
    return msgspec.structs.replace(base, **more)


def seen(users: int = 1_000, figures: Figures | None = None, *, drained: bool = True) -> Seen:
    return Seen(lambda: users, lambda: figures or Figures(sent=100), lambda _n: drained)


class Story:
    """Ticks one after the other, each when the last one said."""

    def __init__(self, of: Campaign, **more: Any) -> None:
        self.of, self.now_ms, self.seen = of, NOW_MS, seen(**more)
        self.run = run()
        self.log: list[Ticked] = []

    def go(self, control: Control | None = GOES, *, late_ms: int = 0) -> Ticked:
        done = tick(self.run, self.of, control, self.seen, shards=SHARDS, now_ms=self.now_ms)
        self.run = done.run
        self.now_ms = max(self.now_ms, done.next_ms) + late_ms
        self.log.append(done)
        return done

    @property
    def places(self) -> int:
        """How many places are released."""
        return sum(piece.high - piece.low for done in self.log for piece in done.pieces)

    def is_whole(self) -> bool:
        """Whether the pieces are the whole audience, and no two overlap."""
        found = sorted(piece for done in self.log for piece in done.pieces)
        ends = [0] * SHARDS
        for shard, low, high in found:
            if low != ends[shard]:
                return False
            ends[shard] = high
        return ends == [PLACES] * SHARDS

    def to_the_end(self, most: int = 2_000) -> None:
        while self.go().next_ms:
            assert len(self.log) < most, self.run


def test_without_throttle_and_ramp_all_go_at_once() -> None:
    """One piece for each shard; it is over once route is through with them."""
    story = Story(campaign(), drained=False)
    assert len(story.go().pieces) == SHARDS
    assert story.run.phase is Phase.RUNNING
    assert story.go().run.phase is Phase.DRAINING
    story.seen = seen()
    done = story.go()
    assert (done.run.phase, done.next_ms, done.pieces) == (Phase.FINISHED, 0, ())
    assert story.is_whole()


def test_before_its_time_nothing_happens() -> None:
    early = run(due_ms=NOW_MS + 5)
    done = tick(early, campaign(), GOES, seen(), shards=SHARDS, now_ms=NOW_MS)
    assert (done.next_ms, done.pieces, done.run.users) == (NOW_MS + 5, (), -1)


@pytest.mark.parametrize(
    "control",
    [
        Control(state=ControlState.CANCELLED, start_id="s1"),
        Control(state=ControlState.RUNNING, start_id="s2"),
    ],
)
def test_cancelled_or_started_anew_it_ends(control: Control) -> None:
    done = tick(run(), campaign(), control, seen(), shards=SHARDS, now_ms=NOW_MS)
    assert (done.run.phase, done.next_ms, done.pieces) == (Phase.CANCELLED, 0, ())


def test_while_its_control_is_not_known_it_waits() -> None:
    """An emptied Redis must neither end a campaign nor let a paused one go on."""
    done = tick(run(), campaign(), None, seen(), shards=SHARDS, now_ms=NOW_MS)
    assert done.pieces == ()
    assert done.next_ms == NOW_MS + TICK_MS
    assert done.run.phase is Phase.SCHEDULED


def test_a_throttle_releases_as_many_as_it_says() -> None:
    """60,000 a minute of a million: five thousand each five seconds, within a place."""
    story = Story(campaign(users_per_minute=60_000), users=1_000_000)
    for _ in range(10):
        story.go()
    share = story.places / (SHARDS * PLACES)
    assert share * 1_000_000 == pytest.approx(50_000, rel=0.01)
    assert [done.next_ms - NOW_MS for done in story.log] == [TICK_MS * n for n in range(1, 11)]


def test_a_late_tick_is_no_burst() -> None:
    """An hour without the flow releases two ticks' worth, not an hour's."""
    story = Story(campaign(users_per_minute=60_000), users=1_000_000)
    first = len(story.go(late_ms=3_600_000).pieces)
    before = story.places
    story.go()
    assert first
    assert story.places - before <= 2 * before + 2


def test_a_pause_is_no_burst_either() -> None:
    """After it the throttle goes on as before it."""
    story = Story(campaign(users_per_minute=60_000), users=1_000_000)
    story.go()
    before = story.places
    for _ in range(60):
        assert story.go(PAUSED).next_ms == story.log[-1].run.last_ms + LOOK_MS
    assert story.places == before
    story.go()
    assert story.places - before <= before + 1


def test_an_empty_audience_is_over_at_once() -> None:
    story = Story(campaign(users_per_minute=1), users=0)
    story.to_the_end(10)
    assert story.run.phase is Phase.FINISHED


RAMP = {"steps": [{"percent": 1, "hold_s": 60}, {"percent": 10, "hold_s": 60}]}


def test_a_ramp_goes_step_by_step() -> None:
    """1, 10 and 100 percent; each step held for its minute once route is through with it."""
    story = Story(campaign(ramp=RAMP))
    story.to_the_end()
    at = {done.run.cursor: done.run.last_ms for done in reversed(story.log) if done.pieces}
    shares = [round(100 * cursor / (SHARDS * PLACES)) for cursor in sorted(at)]
    assert shares == [1, 10, 100]
    times = [at[cursor] for cursor in sorted(at)]
    assert all(60_000 <= b - a < 70_000 for a, b in pairwise(times))
    assert story.is_whole()


def test_a_broken_gate_stops_it_until_a_person_decides() -> None:
    """The step stays; what overrules it holds for this step of this run only."""
    story = Story(campaign(ramp=RAMP), figures=Figures(sent=50, failed=50))
    while story.run.phase is not Phase.STOPPED:
        story.go()
    assert "50.0 % of deliveries failed" in story.run.note
    share = story.places
    for _ in range(5):
        story.go()
    assert (story.run.phase, story.places) == (Phase.STOPPED, share)
    waived = GOES.model_copy(update={"waived": "c:s1:1/0"})
    while story.run.step == 0:
        story.go(waived)
    for _ in range(60):
        story.go(waived)
    assert (story.run.phase, story.run.step) == (Phase.STOPPED, 1)


def test_without_figures_it_does_not_go_on() -> None:
    """What cannot be measured is not healthy."""
    story = Story(campaign(ramp=RAMP))
    story.seen = Seen(lambda: 1_000, lambda: None, lambda _n: True)
    for _ in range(60):
        story.go()
    assert (story.run.step, story.run.phase) == (0, Phase.WATCHING)
    assert "not at hand" in story.run.note


def test_too_few_to_judge_by_are_waited_for_a_day() -> None:
    few = {**RAMP, "gates": {"min_sent": 500}}
    story = Story(campaign(ramp=few), figures=Figures(sent=3))
    for _ in range(100):
        story.go()
    assert (story.run.step, story.run.note) == (0, "3 sent, of 500 to judge by")
    story.now_ms += LONGEST_WATCH_MS
    story.go()
    assert story.run.step == 1


@pytest.mark.parametrize(
    ("gates", "figures", "expected"),
    [
        ({}, Figures(), ""),
        ({}, Figures(sent=95, failed=5), ""),
        ({}, Figures(sent=94, failed=6), "6.0 % of deliveries failed, more than 5 %"),
        ({"failure_percent": None}, Figures(failed=9), ""),
        ({"p99_ms": 100}, Figures(sent=1, p99_ms=101), "p99 is 101 ms, more than 100 ms"),
        ({}, Figures(sent=1, reached=100, opted_out=2),
         "2.0 % of the users reached opted out, more than 1 %"),
    ],
)  # fmt: skip
def test_gates(gates: dict[str, Any], figures: Figures, expected: str) -> None:
    assert broken_gate(Gates.model_validate(gates), figures) == expected


_turns = st.lists(
    st.tuples(
        st.sampled_from([GOES, GOES, GOES, PAUSED, None]),
        st.sampled_from([0, 0, 700, 60_000]),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(
    _turns,
    st.sampled_from([None, 1_000, 100_000]),
    st.sampled_from([None, RAMP, {"steps": [{"percent": 33.3, "hold_s": 1}]}]),
)
def test_nobody_is_skipped_and_nobody_released_twice(
    turns: list[tuple[Control | None, int, bool]], throttle: int | None, ramp: Any
) -> None:
    """Whatever is paused, late or done again: a tick that is replayed replaces what it left."""
    story = Story(campaign(users_per_minute=throttle, ramp=ramp), users=5_000)
    for control, late_ms, is_replayed in turns:
        if not story.go(control, late_ms=late_ms).next_ms:
            break
        if is_replayed:  # the transaction was lost, so the tick before is read again
            story.log.pop()
            story.run = story.log[-1].run if story.log else run()
    story.to_the_end()
    assert story.run.phase is Phase.FINISHED
    assert story.is_whole()
    assert story.run.chunks == sum(len(done.pieces) for done in story.log)
