"""audience: from an audience to chunks of users."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from operators.audience import ExpandAudience
from operators.decode import Decode
from operators.work import CHUNK_USERS, Outbound, Work
from schemas.pipeline import Chunk
from schemas.stream import Source
from state.memory import MemorySegments
from state.progress import MemoryProgress
from tests.unit.operators.builders import NOW_MS, UNTIMED, messages, only, said, tenant, work


def expand(store: MemorySegments, **more: int) -> ExpandAudience:
    return ExpandAudience(store, MemoryProgress(), **more)


def segments(**members: list[str]) -> MemorySegments:
    store = MemorySegments()
    for name, users in members.items():
        store.add("acme", 4, name, users)
    return store


def chunks(outs: list[object]) -> list[Chunk]:
    return [out.value for out in only(Outbound, outs)]


def read_back(outs: list[object]) -> list[Work]:
    """Decode the chunks as route does."""
    decoder = Decode({"acme": tenant()})
    raws = [msgspec.msgpack.encode(out.value) for out in only(Outbound, outs)]
    works, bad = decoder(messages("chunks.normal", *raws), NOW_MS)
    assert bad == []
    return works


def expanded(step: ExpandAudience, first: Work) -> list[tuple[str, str]]:
    """Go round until only users are left; give (user, device)."""
    todo, found = [first], []
    while todo:
        going, outs = step(todo, NOW_MS)
        for done in going:
            found += zip(done.users, done.devices or [""] * len(done.users), strict=True)
        todo = read_back(outs)
    return found


def test_up_to_a_thousand_users_go_on_at_once() -> None:
    """No chunk is needed."""
    few = work(*map(str, range(CHUNK_USERS)))
    assert expand(segments())([few], NOW_MS) == ([few], [])


def test_2500_users_are_three_chunks() -> None:
    """1,000, 1,000 and 500, in order."""
    users = [f"u{n}" for n in range(2_500)]
    going, outs = expand(segments())([work(*users)], NOW_MS)
    assert going == []
    assert [len(chunk.users) for chunk in chunks(outs)] == [1_000, 1_000, 500]
    assert [user for chunk in chunks(outs) for user in chunk.users] == users


def test_devices_stay_parallel_when_split() -> None:
    """Each user keeps the device that was named."""
    users = [f"u{n}" for n in range(2_500)]
    named = work(*users, devices=[f"d{n}" for n in range(2_500)])
    pairs = expanded(expand(segments()), named)
    assert pairs == [(f"u{n}", f"d{n}") for n in range(2_500)]


def test_chunks_of_one_message_have_different_keys() -> None:
    """They spread over partitions, so that processes share a campaign."""
    _, outs = expand(segments(), chunk_users=1)([work("a", "b", "c")], NOW_MS)
    assert len({out.key for out in only(Outbound, outs)}) == 3


def test_a_segment_is_one_chunk_per_shard() -> None:
    """Its users are not listed yet."""
    store = segments(buyers=["u1", "u2"])
    _, outs = expand(store)([work(expression="buyers")], NOW_MS)
    assert [(chunk.shard, chunk.users) for chunk in chunks(outs)] == [(n, ()) for n in range(4)]


def test_chunks_go_to_the_topic_of_their_priority() -> None:
    """A campaign on low stays on low."""
    store = segments(buyers=["u1"])
    _, outs = expand(store)([work(expression="buyers", priority="low")], NOW_MS)
    assert {out.topic for out in only(Outbound, outs)} == {"chunks.low"}


def test_an_unknown_segment_is_refused_by_name() -> None:
    """A misspelling is an error, not an empty audience."""
    store = segments(buyers=["u1"])
    going, outs = expand(store)([work(expression="buyers & byers | nobody")], NOW_MS)
    assert going == []
    assert said(outs) == [("", "rejected", "unknown_segment")]
    assert outs[0].detail == "no segment named byers, nobody"


def test_an_empty_audience_is_told() -> None:
    """The message ends with a reason."""
    store = segments(a=["u1"], b=["u2"])
    _, outs = expand(store)([work(expression="a & b")], NOW_MS)
    assert said(outs) == [("", "suppressed", "empty_audience")]


def test_a_topic_that_nobody_subscribed_to_is_empty() -> None:
    """And so is a device group without a device: neither is made before its first member."""
    step = expand(segments(buyers=["u1"]))
    for expression in ("topic.sports", "group.tv", "buyers & topic.sports"):
        _, outs = step([work(expression=expression)], NOW_MS)
        assert said(outs) == [("", "suppressed", "empty_audience")]


def test_everyone_needs_no_segment_of_its_own() -> None:
    """Without any user it is empty, not unknown."""
    _, outs = expand(segments())([work(expression="everyone")], NOW_MS)
    assert said(outs) == [("", "suppressed", "empty_audience")]


def test_a_shard_chunk_becomes_its_members() -> None:
    """Read back, it goes on with users."""
    store = segments(buyers=["u1"])
    shards = [work(expression="buyers", shard=n) for n in range(4)]
    going, outs = expand(store)(shards, NOW_MS)
    assert outs == []
    assert sorted(user for done in going for user in done.users) == ["u1"]


def test_a_large_shard_goes_round_once_more_as_users() -> None:
    """No piece of work is larger than a chunk."""
    users = [f"u{n}" for n in range(50)]
    step = expand(segments(buyers=users), chunk_users=7)
    going, outs = step([work(expression="buyers", shard=n) for n in range(4)], NOW_MS)
    assert going == []
    found = chunks(outs)
    assert all(chunk.shard == -1 and len(chunk.users) <= 7 for chunk in found)
    assert sorted(user for chunk in found for user in chunk.users) == sorted(users)


def test_held_stays_held_in_chunks() -> None:
    """What was scheduled is still marked after the split."""
    _, outs = expand(segments(), chunk_users=1)([work("a", "b", held=True)], NOW_MS)
    assert [chunk.held for chunk in chunks(outs)] == [True, True]


def test_a_replay_makes_the_same_chunks() -> None:
    """So nothing depends on how often it was tried."""
    step = expand(segments(buyers=["u1", "u2"]))
    assert step([work(expression="buyers")], 1) == step([work(expression="buyers")], 1)


names = st.integers(0, 60).map(lambda n: f"u{n}")


@UNTIMED
@given(
    st.sets(names), st.sets(names), st.sampled_from(["a | b", "a & b", "a - b"]), st.integers(1, 9)
)
def test_every_user_of_a_segment_is_reached_exactly_once(
    a: set[str], b: set[str], expression: str, chunk_users: int
) -> None:
    """The union of all chunks is the audience."""
    step = expand(segments(a=sorted(a), b=sorted(b)), chunk_users=chunk_users)
    meant = {"|": a | b, "&": a & b, "-": a - b}[expression[2]]
    found = [user for user, _ in expanded(step, work(expression=expression))]
    assert sorted(found) == sorted(meant)


@UNTIMED
@given(st.lists(names, min_size=1, unique=True), st.integers(1, 9))
def test_every_listed_user_is_reached_exactly_once(users: list[str], chunk_users: int) -> None:
    """In the order given."""
    listed = work(*users, source=Source("events.low", 0, 0))
    found = expanded(expand(segments(), chunk_users=chunk_users), listed)
    assert [user for user, _ in found] == users
