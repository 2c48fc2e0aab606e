"""join: users to profiles."""

from operators.join import JoinProfiles
from state.memory import MemoryProfiles
from tests.unit.operators.builders import NOW_MS, known, profile, tenant, work


def test_profiles_are_parallel_to_users() -> None:
    """None for a user who is not known."""
    a, b = profile("a"), profile("b")
    piece = work("b", "x", "a")
    JoinProfiles(known(a, b))([piece], NOW_MS)
    assert list(piece.profiles) == [b, None, a]


def test_every_piece_of_work_gets_its_own_users() -> None:
    """One read serves a batch; also of no user, and of a user twice."""
    a, b = profile("a"), profile("b")
    pieces = [work("a", "b"), work(), work("b"), work("a", "a")]
    JoinProfiles(known(a, b))(pieces, NOW_MS)
    assert [list(p.profiles) for p in pieces] == [[a, b], [], [b], [a, a]]


def test_a_tenant_does_not_see_the_users_of_another() -> None:
    """Also when both are in one batch, in turn."""
    other = tenant(name="other", shards=8)
    store = known(profile("a"))
    store.update_many("other", 8, {"b": lambda _old: profile("b")})
    pieces = [
        work("a", "b"),
        work("a", "b", of=other, tenant="other"),
        work("a", "b"),
    ]
    JoinProfiles(store)(pieces, NOW_MS)
    found = [[p and p.user_id for p in piece.profiles] for piece in pieces]
    assert found == [["a", None], [None, "b"], ["a", None]]


def test_nothing_is_decided() -> None:
    """All work goes on."""
    pieces = [work("a")]
    assert JoinProfiles(MemoryProfiles())(pieces, NOW_MS) == (pieces, [])
