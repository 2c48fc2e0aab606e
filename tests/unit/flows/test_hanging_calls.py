"""Calls that never return hold nobody up."""

import threading
from collections.abc import Iterator

import pytest

from flows.hanging_calls import MOST_HUNG, HangingCalls, HungCallError

SOON_S = 0.01
NEVER_REACHED_S = 60.0


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Hold up who waits for it until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_that_returns_has_been_made() -> None:
    """By then, in another thread."""
    seen: list[threading.Thread] = []
    HangingCalls(NEVER_REACHED_S).make("call", lambda: seen.append(threading.current_thread()))
    assert [thread.name for thread in seen] == ["call"]
    assert seen[0] is not threading.current_thread()


def test_what_a_call_raises_is_raised() -> None:
    """The very same."""
    error = ValueError("no")

    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="no") as told:
        HangingCalls(NEVER_REACHED_S).make("call", fail)
    assert told.value is error


def test_a_call_that_hangs_is_left_alone(release: threading.Event) -> None:
    """And the next one is made beside it."""
    calls = HangingCalls(SOON_S)
    with pytest.raises(HungCallError, match="call has not returned"):
        calls.make("call", release.wait)
    calls.limit_s = NEVER_REACHED_S
    calls.make("next", lambda: None)


def test_only_a_few_may_hang(release: threading.Event) -> None:
    """Then none is made until one of them returns."""
    calls = HangingCalls(SOON_S)
    made: list[int] = []

    def hang() -> None:
        made.append(1)
        release.wait()

    for _ in range(MOST_HUNG):
        with pytest.raises(HungCallError):
            calls.make("call", hang)
    with pytest.raises(RuntimeError, match=f"{MOST_HUNG} calls"):
        calls.make("call", hang)
    assert len(made) == MOST_HUNG
    release.set()
    for thread in threading.enumerate():
        if thread.name == "call":
            thread.join(NEVER_REACHED_S)
    calls.limit_s = NEVER_REACHED_S
    calls.make("next", lambda: made.append(1))
    assert len(made) == MOST_HUNG + 1
