"""What a producer holds, whatever comes in, is answered, or fails."""

from hypothesis import given
from hypothesis import strategies as st

from api.client import ApiError, Batching, Problem, Result, Retry, UnreachableError
from api.client.backlog import Backlog, Settled
from api.client.events import portions

AT_ONCE = Retry(base_s=0.0)
TRANSIENT = Result(problem=Problem(503, "not_acknowledged"))
BAD = Result(problem=Problem(422, "bad_event"))
LOST = UnreachableError("cut")
REFUSED = ApiError(Problem(401, "unauthenticated"))

sizes = st.lists(st.integers(1, 40), max_size=60)
turns = st.lists(
    st.sampled_from(["ok", "bad", "some", "lost", "refused"]), min_size=1, max_size=40
).filter(lambda turns: "ok" in turns)


def answers(turn: str, lines: list[bytes]) -> list[Result]:
    """Give results: some of "some" are to be sent again."""
    of = {"ok": Result(id="x"), "bad": BAD}
    if turn == "some":
        return [TRANSIENT if n % 2 else Result(id="x") for n in range(len(lines))]
    return [of[turn] for _ in lines]


@given(sizes, turns, st.integers(1, 9), st.integers(1, 90))
def test_every_event_ends_once_and_requests_are_bounded(
    sizes: list[int], turns: list[str], items: int, size_bytes: int
) -> None:
    """Nothing is lost, nothing told twice; a request is over its bytes only with one event."""
    backlog = Backlog(Batching(items=items, size_bytes=size_bytes, linger_s=1.0), AT_ONCE)
    for number, size in enumerate(sizes):
        backlog.add({"n": number}, b"x" * size, None, 0.0)
    settled: Settled = []
    turn = 0
    while backlog.wait_s(0.0, hurry=True) == 0:
        lines = backlog.take()
        assert len(lines) <= items
        assert len(lines) == 1 or sum(map(len, lines)) + len(lines) <= size_bytes
        what = turns[turn % len(turns)]
        turn += 1
        if what in {"lost", "refused"}:
            now = backlog.failed(LOST if what == "lost" else REFUSED, 0.0)
        else:
            now = backlog.answered(answers(what, lines), 0.0)
        assert not backlog.is_settled(now[0][0].number) if now else True
        backlog.told()
        settled += now
    assert sorted(item.number for item, _ in settled) == list(range(1, len(sizes) + 1))
    assert len(backlog) == 0
    assert backlog.is_settled(backlog.last_number)
    assert backlog.has_room(10**9)


@given(st.lists(st.binary(max_size=30), max_size=50), st.integers(1, 8), st.integers(1, 60))
def test_portions_are_all_lines_in_order(lines: list[bytes], items: int, size: int) -> None:
    """Cut by number and size."""
    found = list(portions(lines, items=items, size=size))
    assert [line for portion in found for line in portion] == lines
    for portion in found:
        assert 0 < len(portion) <= items
        assert len(portion) == 1 or sum(len(line) + 1 for line in portion) <= size


def test_a_request_is_due_when_it_is_full_or_has_waited_or_somebody_waits_for_it() -> None:
    """Times in seconds; None while there is nothing."""
    backlog = Backlog(Batching(items=2, linger_s=5.0), AT_ONCE)
    assert backlog.wait_s(0.0, hurry=True) is None
    backlog.add({}, b"x", None, 10.0)
    assert backlog.wait_s(11.0, hurry=False) == 4.0
    assert backlog.wait_s(11.0, hurry=True) == 0.0
    assert backlog.wait_s(15.0, hurry=False) == 0.0
    backlog.add({}, b"x", None, 11.0)
    assert backlog.wait_s(11.0, hurry=False) == 0.0
    backlog.take()
    assert backlog.wait_s(11.0, hurry=True) is None


def test_after_a_failure_it_waits_as_the_server_wishes_then_gives_up_in_time() -> None:
    """What is late has the last failure as its outcome."""
    backlog = Backlog(Batching(within_s=10.0), AT_ONCE)
    backlog.add({}, b"x", None, 0.0)
    backlog.take()
    assert not backlog.failed(ApiError(Problem(429), retry_after_s=3.0), 1.0)
    assert backlog.wait_s(1.0, hurry=True) == 3.0
    backlog.take()
    ((_, outcome),) = backlog.failed(LOST, 10.0)
    assert isinstance(outcome, Exception)
    assert outcome.__cause__ is LOST


def test_the_queue_is_bounded_in_events_and_bytes() -> None:
    """What is under way counts; into an empty queue anything may come."""
    backlog = Backlog(Batching(queue_items=2, queue_bytes=10), AT_ONCE)
    assert backlog.has_room(99)
    backlog.add({}, b"x" * 6, None, 0.0)
    assert backlog.has_room(4)
    assert not backlog.has_room(5)
    backlog.add({}, b"x", None, 0.0)
    assert not backlog.has_room(1)
    backlog.take()
    assert not backlog.has_room(1)
    backlog.answered([Result(id="x"), Result(id="x")], 0.0)
    assert backlog.has_room(10)
