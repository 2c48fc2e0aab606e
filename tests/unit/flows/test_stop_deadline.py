"""The end of a process that does not end by itself."""

from threading import Event

from flows.stop_deadline import StopDeadline

LONG_S = 3_600.0
TIMEOUT_S = 30.0


def test_a_process_that_does_not_stop_is_ended() -> None:
    """With the code of a failure, so that a supervisor sees it."""
    codes: list[int] = []
    ended = Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    deadline = StopDeadline(0.0, end)
    assert not codes
    deadline.begin()
    assert ended.wait(TIMEOUT_S)
    assert codes == [1]


def test_one_that_stops_by_itself_is_not() -> None:
    """Told twice, as by an impatient operator, it has one clock; it ends with the process."""
    codes: list[int] = []
    deadline = StopDeadline(LONG_S, codes.append)
    deadline.begin()
    deadline.begin()
    deadline.cancel()
    deadline._timer.join(TIMEOUT_S)
    assert not deadline._timer.is_alive()
    assert not codes
