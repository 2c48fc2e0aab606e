"""When which fault strikes: drawn from a seed, so that a run can be repeated."""

import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime

DEFAULT_SEED = 7
DEFAULT_KILLS = 24
DEFAULT_EVENTS = 200_000


@dataclass(frozen=True)
class Plan:
    """How hard a run is. events: of the kill run; the others scale with `scale`."""

    seed: int = DEFAULT_SEED
    kills: int = DEFAULT_KILLS
    events: int = DEFAULT_EVENTS
    scale: float = 1.0

    @classmethod
    def of_environment(cls) -> "Plan":
        """Read SEED, KILLS, EVENTS and SCALE."""
        return cls(
            int(os.environ.get("SEED") or DEFAULT_SEED),
            int(os.environ.get("KILLS") or DEFAULT_KILLS),
            int(os.environ.get("EVENTS") or DEFAULT_EVENTS),
            float(os.environ.get("SCALE") or 1.0),
        )

    def random(self, purpose: str) -> random.Random:
        """Give the draws for one purpose."""
        return random.Random(f"{self.seed}/{purpose}")  # noqa: S311 - a schedule, not a secret

    def sized(self, count: int) -> int:
        """Give a size that follows the scale."""
        return max(1, int(count * self.scale))


def month_end_ms(at_ms: int) -> int:
    """Give when the month ends in which this time lies; both in epoch milliseconds."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC)
    year, month = divmod(at.year * 12 + at.month, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp() * 1_000)
