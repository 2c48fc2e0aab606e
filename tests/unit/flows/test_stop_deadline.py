"""The end of a process that does not end by itself."""

import subprocess
import sys
from threading import Event

import pytest

from flows.stop_deadline import StopDeadline

LONG_S = 3_600.0
TIMEOUT_S = 30.0


@pytest.mark.parametrize("is_done", [False, True])
def test_a_process_that_does_not_end_is_ended(*, is_done: bool) -> None:
    """With the code of a failure, so that a supervisor sees it; of success when all was done."""
    codes: list[int] = []
    ended = Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    deadline = StopDeadline(0.0, end)
    if is_done:
        deadline.done()
    assert not codes
    deadline.begin()
    assert ended.wait(TIMEOUT_S)
    assert codes == [0 if is_done else 1]


def test_an_impatient_operator_starts_one_clock() -> None:
    """Told twice; and it holds up nobody, as a daemon."""
    deadline = StopDeadline(LONG_S, lambda _code: None)
    deadline.begin()
    deadline.begin()
    assert deadline._timer.daemon
    deadline._timer.cancel()


def test_a_process_that_waits_for_a_thread_at_its_end_is_ended() -> None:
    """In a process of its own, with a thread that the interpreter joins and that never ends."""
    code = """if True:
    import threading
    from flows.stop_deadline import StopDeadline
    deadline = StopDeadline(0.1)
    deadline.begin()
    threading.Thread(target=threading.Event().wait).start()
    deadline.done()
    """
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode == 0
