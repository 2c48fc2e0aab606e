"""Slices of an audience: together they are all of it, and no two share a user."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from operators.slices import PLACES, Piece, length_of, pieces, within
from state.keys import shard_of

USERS = [f"u{n}" for n in range(500)]
_shards = st.sampled_from([1, 2, 4, 16])


def released(run_id: str, shards: int, start: int, end: int) -> list[str]:
    found: list[str] = []
    for piece in pieces(run_id, shards, start, end):
        there = [user for user in USERS if shard_of(user, shards) == piece.shard]
        found += within(there, run_id, shards, piece.low, piece.high)
    return found


@given(st.text(min_size=1), _shards, st.lists(st.floats(0, 1), max_size=6))
def test_slices_are_the_whole_audience_each_user_once(
    run_id: str, shards: int, cuts: list[float]
) -> None:
    """Wherever they are cut."""
    end = length_of(shards)
    marks = [0, *sorted(int(cut * end) for cut in cuts), end]
    found = [
        user for start, stop in pairwise(marks) for user in released(run_id, shards, start, stop)
    ]
    assert sorted(found) == sorted(USERS)


def test_a_share_is_about_that_share_and_another_run_has_another() -> None:
    """A canary of a tenth: about 50 of 500, and not the same ones next time."""
    tenth = length_of(4) // 10
    one, other = (set(released(run, 4, 0, tenth)) for run in ("a:1:1", "a:1:2"))
    assert 25 <= len(one) <= 80
    assert 25 <= len(other) <= 80
    assert one != other


def test_pieces_lie_within_shards() -> None:
    """The parts at both ends are cut, those between are whole."""
    found = list(pieces("r", 4, PLACES // 2, 2 * PLACES + 5))
    assert [(low, high) for _, low, high in found] == [(PLACES // 2, PLACES), (0, PLACES), (0, 5)]
    assert len({piece.shard for piece in found}) == 3
    assert list(pieces("r", 4, 7, 7)) == []


def test_a_user_of_no_place_is_in_no_empty_piece() -> None:
    """Nothing lies in a piece without places."""
    assert within(USERS, "r", 4, 10, 10) == []
    assert Piece(0, 0, PLACES) in list(pieces("", 1, 0, PLACES))
