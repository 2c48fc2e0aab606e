"""How much memory the flows have taken at most, held against the limit."""

from tests.bench.machine import peak_rss_mb
from tests.chaos.fault import Fault
from tests.chaos.stand import Stand

LIMIT_MB = 512


class Peaks:
    """The largest resident memory of each flow's process so far. A new process hides the last."""

    def __init__(self) -> None:
        self._mb: dict[str, float] = {}
        self._ended: dict[str, str] = {}

    def measure(self, stand: Stand) -> None:
        """Look at all flows that run now."""
        for label, process in stand.processes.items():
            self._mb[label] = peak_rss_mb(process.child.pid)
            if process.restarts:
                self._ended[label] = process.child.tail(5)

    def check(self, fault: Fault) -> str:
        """Report whoever took more than the limit, or ended; gives all peaks in words."""
        for label, peak_mb in self._mb.items():
            fault.check(peak_mb < LIMIT_MB, f"{label} took {peak_mb:.0f} MB")
        fault.check(not self._ended, f"flows ended, and their peaks are not known: {self._ended}")
        told = ", ".join(f"{label} {peak_mb:.0f}" for label, peak_mb in sorted(self._mb.items()))
        return f"peak MB: {told}"
