"""A log of outcomes as Kafka would hold it: reading it again gives the same records."""

import random
from typing import Any

import msgspec

from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome
from sinks.outcome_rows import Record

TOPIC = "outcomes"
MONTH_END_MS = 1_793_491_200_000
"""2026-11-01 00:00 UTC: records around it fall into two months."""


def record(partition: int, offset: int, **fields: Any) -> Record:
    """Make a record, the same whenever it is read again."""
    spread = random.Random(partition * 1_000_003 + offset)  # noqa: S311 - not for secrets
    values: dict[str, Any] = {
        "outcome_id": f"o-{partition}-{offset}",
        "occurred_at_ms": MONTH_END_MS + spread.randrange(-60_000, 60_000),
        "tenant": "acme",
        "message_id": f"m-{offset}",
        "status": Status.SENT,
        "reason": Reason.ACCEPTED,
        "user_id": f"u-{spread.randrange(20)}",
        "campaign_id": "spring",
    }
    outcome = Outcome(**(values | fields))
    return (TOPIC, partition, offset, msgspec.msgpack.encode(outcome))
