"""schedule: what is to wait, and what is too late."""

import msgspec

from operators.decode import Decode
from operators.schedule import schedule
from schemas.pipeline import Chunk, Outcome, Timer
from tests.unit.operators.builders import NOW_MS, messages, only, said, tenant, work


def test_what_is_due_goes_on() -> None:
    """send_at now, or none."""
    works = [work("u1"), work("u2", send_at_ms=NOW_MS), work("u3", send_at_ms=NOW_MS - 1)]
    assert schedule(works, NOW_MS) == (works, [])


def test_what_is_ahead_waits_in_a_timer_for_its_chunk_topic() -> None:
    """Due at send_at, on the priority's own topic."""
    going, outs = schedule([work("u1", send_at_ms=NOW_MS + 9)], NOW_MS)
    (timer,) = only(Timer, outs)
    assert going == []
    assert (timer.due_at_ms, timer.topic) == (NOW_MS + 9, "chunks.normal")


def test_waiting_is_one_outcome_for_the_message() -> None:
    """Its users are known only later."""
    _, outs = schedule([work("u1", "u2", send_at_ms=NOW_MS + 9)], NOW_MS)
    assert said(outs) == [("", "deferred", "scheduled")]


def test_the_timers_value_is_a_chunk_that_goes_on() -> None:
    """Read back at its time it has the same users and devices, and is marked as held."""
    work_ahead = work("u1", "u2", devices=("a", "b"), send_at_ms=NOW_MS + 9)
    (timer,) = only(Timer, schedule([work_ahead], NOW_MS)[1])
    decoder = Decode({"acme": tenant()})
    (back,), _ = decoder(messages(timer.topic, timer.value), NOW_MS + 9)
    going, outs = schedule([back], NOW_MS + 9)
    assert (going, outs) == ([back], [])
    assert (back.users, back.devices, back.held) == (("u1", "u2"), ("a", "b"), True)


def test_a_scheduled_segment_waits_unexpanded() -> None:
    """Who is in it is asked when it is sent."""
    (timer,) = only(Timer, schedule([work(expression="a", send_at_ms=NOW_MS + 9)], NOW_MS)[1])
    chunk = msgspec.msgpack.decode(timer.value, type=Chunk)
    assert (chunk.users, chunk.shard) == ((), -1)


def test_what_has_expired_ends_for_each_user() -> None:
    """Also when it was to be sent later."""
    late = work("u1", "u2", expires_at_ms=NOW_MS, send_at_ms=NOW_MS + 1)
    going, outs = schedule([late], NOW_MS)
    assert going == []
    assert said(outs) == [("u1", "expired", "ttl_expired"), ("u2", "expired", "ttl_expired")]


def test_an_expired_segment_is_one_outcome() -> None:
    """Nobody asks who was in it."""
    _, outs = schedule([work(expression="a", expires_at_ms=NOW_MS - 1)], NOW_MS)
    assert said(outs) == [("", "expired", "ttl_expired")]


def test_expired_devices_of_one_user_are_told_apart() -> None:
    """Each outcome has an id of its own."""
    late = work("u1", "u1", devices=("a", "b"), expires_at_ms=NOW_MS)
    outcomes = only(Outcome, schedule([late], NOW_MS)[1])
    assert [o.device_id for o in outcomes] == ["a", "b"]
    assert len({o.outcome_id for o in outcomes}) == 2


def test_a_replay_makes_the_same_timer() -> None:
    """Timers are identified by what they hold and where it came from."""
    first, second = (schedule([work("u1", send_at_ms=NOW_MS + 9)], NOW_MS)[1] for _ in range(2))
    assert first == second


def test_a_large_audience_waits_in_several_timers() -> None:
    """Each is a record of its own size, and none leaves anybody out."""
    users = tuple(f"u{n}" for n in range(2_500))
    _, outs = schedule([work(*users, devices=users, send_at_ms=NOW_MS + 9)], NOW_MS)
    timers = only(Timer, outs)
    chunks = [msgspec.msgpack.decode(timer.value, type=Chunk) for timer in timers]
    assert [len(chunk.users) for chunk in chunks] == [1_000, 1_000, 500]
    assert sum((chunk.users for chunk in chunks), ()) == users
    assert all(chunk.users == chunk.devices for chunk in chunks)
    assert len({timer.timer_id for timer in timers}) == 3
    assert said(outs) == [("", "deferred", "scheduled")]
