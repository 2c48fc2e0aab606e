"""dedup: an event whose key was seen before."""

from operators.dedup import DropDuplicates
from operators.work import Work
from schemas.stream import Source
from state.memory import MemoryDedup
from tests.unit.operators.builders import NOW_MS, said, work


def keyed(key: str, offset: int) -> Work:
    return work("u1", dedup_key=key, source=Source("events.normal", 0, offset))


def test_the_first_of_two_in_one_batch_goes_on() -> None:
    """The second is suppressed, and says where the first is."""
    first, second = keyed("k", 1), keyed("k", 2)
    going, outs = DropDuplicates(MemoryDedup())([first, second], NOW_MS)
    assert going == [first]
    assert said(outs) == [("", "suppressed", "duplicate_event")]
    assert outs[0].detail == "first seen at events.normal/0/1"


def test_a_later_batch_knows_the_key() -> None:
    """Batches do not matter."""
    step = DropDuplicates(MemoryDedup())
    step([keyed("k", 1)], NOW_MS)
    going, outs = step([keyed("k", 2), keyed("other", 3)], NOW_MS)
    assert [w.dedup_key for w in going] == ["other"]
    assert len(outs) == 1


def test_a_replayed_event_goes_on() -> None:
    """It finds its own coordinates."""
    step = DropDuplicates(MemoryDedup())
    step([keyed("k", 1), keyed("k", 2)], NOW_MS)
    again = [keyed("k", 1), keyed("k", 2)]
    going, outs = step(again, NOW_MS)
    assert going == again[:1]
    assert len(outs) == 1


def test_chunks_pass() -> None:
    """Their event was checked."""
    step = DropDuplicates(MemoryDedup())
    chunks = [work("u1", source=Source("chunks.low", 0, n)) for n in range(3)]
    assert step(chunks, NOW_MS) == (chunks, [])


def test_the_order_of_what_goes_on_is_kept() -> None:
    """Chunks and events stay where they are."""
    step = DropDuplicates(MemoryDedup())
    batch = [keyed("a", 1), work("u9"), keyed("a", 2), keyed("b", 3)]
    assert step(batch, NOW_MS)[0] == [batch[0], batch[1], batch[3]]
