"""Calls of a client library that may never return, made so that the flow goes on without them."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

MOST_HUNG = 3


class HungCallError(Exception):
    """A call has not returned in time; it may still do so, or never."""


class HangingCalls:
    """Makes each call in a thread of its own and waits for it, for limit_s at most.

    A call that hangs keeps its thread and all that it holds until it returns, if ever.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._hung: list[threading.Thread] = []

    def make(self, what: str, call: Callable[[], object]) -> None:
        """Make a call. Raises what it raises, and HungCallError when it does not return in time.

        Raises RuntimeError when MOST_HUNG calls hang already: a new process is then the better way.
        """
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        if len(self._hung) >= MOST_HUNG:
            raise RuntimeError(f"{what}: {len(self._hung)} calls before it have not returned")
        answers: SimpleQueue[Exception | None] = SimpleQueue()
        thread = threading.Thread(target=_answer, args=(call, answers), name=what, daemon=True)
        thread.start()
        try:
            error = answers.get(timeout=self.limit_s)
        except Empty:
            self._hung.append(thread)
            raise HungCallError(f"{what} has not returned after {self.limit_s:.0f} s") from None
        if error is not None:
            raise error


def _answer(call: Callable[[], object], answers: "SimpleQueue[Exception | None]") -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
        answers.put(error)
    else:
        answers.put(None)
