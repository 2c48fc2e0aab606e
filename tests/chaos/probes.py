"""What the flows' probes say while something is broken."""

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Collection

from tests.chaos.fault import Fault
from tests.chaos.stand import Stand

ASK_EVERY_S = 0.5
ASK_TIMEOUT_S = 5.0
ALIVE, READY = "healthz", "readyz"
RECORDS_READ = "clarion_records_read_total"


def probe(port: int, path: str) -> tuple[int, str]:
    """Ask a flow; gives the status and text, 0 when nothing answers."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/{path}", timeout=ASK_TIMEOUT_S
        ) as said:
            return said.status, said.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def metric(port: int, name: str, **labels: str) -> float:
    """Sum up a flow's metric over its series with these labels; 0 when nothing answers."""
    status, text = probe(port, "metrics")
    lines = text.splitlines() if status == 200 else []
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(name + "{") and all(each in line for each in wanted)
    )


class Watched:
    """What was seen while watching: who was not ready and why, who was not alive, who ended."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.said: defaultdict[str, set[str]] = defaultdict(set)
        self.dead: set[str] = set()
        self._restarts = self._count()

    def watch(self, until: Callable[[], bool]) -> None:
        """Ask all flows again and again until then, starting again what has ended."""
        while not until():
            self._stand.supervise()
            for label, process in self._stand.processes.items():
                status, text = probe(process.port, ALIVE)
                if status == 503:
                    self.dead.add(f"{label}: {text}")
                status, text = probe(process.port, READY)
                if status == 503:
                    self.said[label].add(text)
            time.sleep(ASK_EVERY_S)

    def watch_for(self, seconds: float) -> None:
        """Watch for so long."""
        end = time.monotonic() + seconds
        self.watch(lambda: time.monotonic() > end)

    def names(self, store: str, word: str = "") -> set[str]:
        """Give the flows that were not ready for want of a store, with this word in the reason."""
        return {
            label
            for label, texts in self.said.items()
            if any(f"{store}:" in text and word in text for text in texts)
        }

    def check(self, fault: Fault, store: str, needing: Collection[str], *, word: str = "") -> None:
        """Note who waited without saying so, who seemed dead, and who ended."""
        missing = sorted(set(needing) - self.names(store, word))
        fault.check(
            not missing,
            f"not unready for {store} {word}: {missing}, {dict(self.said)}"[:600],
        )
        fault.check(not self.dead, f"not alive: {sorted(self.dead)}")
        again = {
            label: count - self._restarts[label]
            for label, count in self._count().items()
            if count > self._restarts.get(label, 0)
        }
        fault.check(not again, f"ended and were started again: {again}")

    def _count(self) -> dict[str, int]:
        return {label: process.restarts for label, process in self._stand.processes.items()}
