"""Progress of campaigns and best hours: memory and Redis behave alike."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.campaigns import Phase, Run
from state.best_hours import BestHours, MemoryBestHours, RedisBestHours
from state.progress import RUNS_KEPT, Mark, MemoryProgress, Progress, RedisProgress, Tally
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


@pytest.fixture
def progress(stores: Stores) -> Progress:
    return MemoryProgress() if stores.client is None else RedisProgress(stores.client)


@pytest.fixture
def hours(stores: Stores) -> BestHours:
    return MemoryBestHours() if stores.client is None else RedisBestHours(stores.client)


def run(number: int = 0, campaign: str = "c", **more: object) -> Run:
    base = Run(f"{campaign}:s:{number}", "acme", campaign, "s", b"{}", number)
    return msgspec.structs.replace(base, **more)


def test_marks_add_up_however_often_they_are_made(progress: Progress) -> None:
    """A piece in two parts; the run is drained once both are through."""
    marks = [Mark("acme", "r", "0.0", parts=2), Mark("acme", "r", "0.0.0", users=1_000)]
    assert progress.tally("acme", "r") == Tally()
    for _ in range(2):
        progress.note(marks)
    assert progress.tally("acme", "r") == Tally(1, 2, 1, 1_000)
    assert not progress.tally("acme", "r").is_drained(1)
    progress.note([Mark("acme", "r", "0.0.1000", users=7)])
    found = progress.tally("acme", "r")
    assert found == Tally(1, 2, 2, 1_007)
    assert found.is_drained(1)
    assert not found.is_drained(2)
    assert progress.tally("acme", "other") == Tally()
    assert progress.tally("other", "r") == Tally()


def test_a_piece_without_users_counts_as_one(progress: Progress) -> None:
    progress.note([Mark("acme", "r", "0.0", parts=0)])
    assert progress.tally("acme", "r").is_drained(1)


def test_runs_are_kept_as_last_saved_the_latest_first(progress: Progress) -> None:
    progress.save([run(1), run(2), run(1, "other")])
    progress.save([run(1, phase=Phase.FINISHED)])
    assert progress.runs("acme", "c") == [run(2), run(1, phase=Phase.FINISHED)]
    assert progress.runs("acme", "none") == []


def test_of_many_runs_the_latest_are_kept(progress: Progress) -> None:
    for number in range(RUNS_KEPT + 5):
        progress.save([run(number)])
    found = progress.runs("acme", "c")
    assert [one.due_ms for one in found] == [*reversed(range(5, RUNS_KEPT + 5))]


def test_hours_are_known_once_learned(hours: BestHours) -> None:
    """The last word counts; others' hours are theirs."""
    assert hours.get_many("acme", 4, ["a", "b"]) == [None, None]
    assert hours.put_many("acme", 4, [("a", 3), ("b", 0), ("a", 23)]) == 2
    assert hours.get_many("acme", 4, ["b", "x", "a", "b"]) == [0, None, 23, 0]
    assert hours.get_many("other", 4, ["a"]) == [None]
    assert hours.get_many("acme", 4, []) == []


@pytest.mark.parametrize("hour", [-1, 24])
def test_no_hour_is_refused(hours: BestHours, hour: int) -> None:
    with pytest.raises(ValueError, match="is no hour, use 0 to 23"):
        hours.put_many("acme", 4, [("a", hour)])


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 23)))
def test_memory_gives_back_what_it_was_told(said: dict[str, int]) -> None:
    store = MemoryBestHours()
    store.put_many("acme", 4, said.items())
    assert store.get_many("acme", 4, list("abcdef")) == [said.get(user) for user in "abcdef"]
