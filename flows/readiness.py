"""Asks the stores that a flow needs whether they answer, beside the flow and all the time.

So a probe is answered at once, also when a store hangs; and a flow that merely has nothing to read
because Kafka is away is not taken for stuck.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from flows.waits import Waits

ASK_EVERY_S = 2.0
ANSWER_S = 2.0
SILENT_AFTER_S = 5.0
LINE_LENGTH = 200


class _Asker:
    """Asks one store in a thread of its own."""

    def __init__(
        self,
        name: str,
        ping: Callable[[], None],
        waits: Waits,
        every_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._name, self._ping, self._waits = name, ping, waits
        self._every_s = every_s
        self._clock = clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ask-{name}", daemon=True)
        self._is_down = False
        self._asked_at: float | None = None
        self.has_answered = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(ANSWER_S)

    def silent_s(self) -> float:
        """For how long the question has been open."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else self._clock() - asked_at

    def _run(self) -> None:
        while not self._ending.is_set():
            self._asked_at = self._clock()
            self._ask()
            self._asked_at = None
            self.has_answered = True
            self._ending.wait(self._every_s)

    def _ask(self) -> None:
        try:
            self._ping()
        except Exception as error:  # noqa: BLE001 - whatever a client raises, the store is not there
            (self._waits.goes_on if self._is_down else self._waits.began)(self._name, str(error))
            self._is_down = True
        else:
            if self._is_down:
                self._waits.ended(self._name, answered=True)
            self._is_down = False


class KafkaPing:
    """Asks Kafka, with a client of its own, made at the first question.

    settings: librdkafka options, at least ``bootstrap.servers``.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = {**settings, "log_level": 0}  # what it has to say, it raises
        self._admin: Any = None

    def ask(self) -> None:
        """Raise KafkaException unless a broker answers within ANSWER_S."""
        if self._admin is None:
            # It takes a tenth of a second to load, which a flow's start need not wait for.
            from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - see above

            self._admin = AdminClient(self._settings)
        self._admin.list_topics(timeout=ANSWER_S)

    def close(self) -> None:
        """Close the client."""
        self._admin = None


class Readiness:
    """Tells which stores are missing: those that do not answer, and those that the flow waits for.

    pings: by store; each raises when the store does not answer, within ANSWER_S or so.
    """

    def __init__(
        self,
        pings: Mapping[str, Callable[[], None]],
        waits: Waits,
        *,
        every_s: float = ASK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waits = waits
        self._askers = {
            name: _Asker(name, ping, waits, every_s, clock) for name, ping in pings.items()
        }

    def start(self) -> None:
        """Begin to ask."""
        for asker in self._askers.values():
            asker.start()

    def stop(self) -> None:
        """Ask no more."""
        for asker in self._askers.values():
            asker.stop()

    def missing(self) -> list[str]:
        """Give a line for each store that is missing. Never waits."""
        found = self._waits.lines()
        for name, asker in self._askers.items():
            silent_s = asker.silent_s()
            if silent_s > SILENT_AFTER_S:
                found.setdefault(name, f"no answer for {silent_s:.0f} s")
            elif not asker.has_answered:
                found.setdefault(name, "not asked yet")
        return [_shortened(f"{name}: {why}") for name, why in found.items()]


def _shortened(line: str) -> str:
    """Keep both ends: clients put a long URL between what failed and why."""
    if len(line) <= LINE_LENGTH:
        return line
    half = (LINE_LENGTH - 5) // 2
    return f"{line[: LINE_LENGTH - 5 - half]} ... {line[-half:]}"
