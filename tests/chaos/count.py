"""Counts every message of a run in every place: topics, providers, ClickHouse."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.outcomes import TERMINAL, Reason, Status
from schemas.pipeline import FAST, Delivery, Outcome, Platform
from schemas.topics import (
    DEAD_DELIVERIES,
    DEAD_OUTCOMES,
    DEAD_REGISTRY,
    DEAD_ROUTE,
    DEAD_TIMERS,
    DELIVERIES,
    OUTCOMES,
)
from tests.chaos import people
from tests.chaos.stand import Stand

_delivery = msgspec.msgpack.Decoder(Delivery).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode
_DEAD = (DEAD_ROUTE, DEAD_REGISTRY, DEAD_OUTCOMES, DEAD_TIMERS, *DEAD_DELIVERIES.values())


@dataclass
class Counted:
    """What was found.

    bulk_unknown: recorded as in flight at a kill. fast_strange: repeated under another id.
    """

    records: int = 0
    records_of_outcomes: int = 0
    dead_letters: int = 0
    lost_between_topics: int = 0
    doubled_between_topics: int = 0
    bulk: int = 0
    bulk_lost: int = 0
    bulk_repeated: int = 0
    bulk_unknown: int = 0
    fast: int = 0
    fast_lost: int = 0
    fast_repeated: int = 0
    fast_strange: int = 0
    rows: int = 0
    row_ids: int = 0
    months: Mapping[int, int] = field(default_factory=dict)


def count_all(stand: Stand, count: int, *, start: int = 0) -> Counted:
    """Count the messages of users start to start + count, one event each."""
    found = Counted()
    users = {f"u{number}": number for number in range(start, start + count)}
    ends = _count_topics(stand, found, users)
    _count_providers(stand, found, ends, range(start, start + count))
    rows = stand.clickhouse.query(
        "SELECT toYYYYMM(occurred_at), count(), uniqExact(outcome_id) FROM outcomes GROUP BY 1"
    ).result_rows
    found.months = {month: rows_of for month, rows_of, _ in rows}
    found.rows = sum(row[1] for row in rows)
    found.row_ids = stand.one("SELECT uniqExact(outcome_id) FROM outcomes")
    return found


def _count_topics(stand: Stand, found: Counted, users: Mapping[str, int]) -> dict[int, Outcome]:
    """Count deliveries and outcomes; give each user's last word."""
    for topic in _DEAD:
        found.dead_letters += sum(1 for _ in stand.read(topic))
    handed: Counter[tuple[str, int, int]] = Counter()
    first: set[str] = set()
    for topic in DELIVERIES.values():
        for _, _, value in stand.read(topic):
            delivery = _delivery(value)
            handed[delivery.delivery_id, delivery.attempt, delivery.holds] += 1
            if delivery.user_id in users:
                first.add(delivery.user_id)
    outcomes: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    ends: dict[int, Outcome] = {}
    for _, _, value in stand.read(OUTCOMES):
        outcome = _outcome(value)
        outcomes[outcome.outcome_id] += 1
        if outcome.status in TERMINAL and outcome.delivery_id and outcome.user_id in users:
            ended[outcome.user_id] += 1
            ends[users[outcome.user_id]] = outcome
    found.records_of_outcomes = outcomes.total()
    found.records = handed.total() + outcomes.total()
    found.lost_between_topics = 2 * len(users) - len(first) - len(ended)
    found.doubled_between_topics = sum(
        times - 1 for counter in (handed, outcomes, ended) for times in counter.values()
    )
    return ends


def _count_providers(
    stand: Stand, found: Counted, ends: Mapping[int, Outcome], numbers: range
) -> None:
    """Compare what the providers saw with what the outcomes say."""
    seen = {platform: stand.stack.seen(platform) for platform in Platform}
    for number in numbers:
        platform = people.platform_of(number)
        message = people.seen_as(number)
        times: int = seen[platform]["times"].get(message, 0)
        end = ends.get(number)
        if people.priority_of(number) in FAST:
            found.fast += 1
            found.fast_lost += times == 0
            found.fast_repeated += times > 1
            found.fast_strange += times > 1 and not is_one(_marks(seen[platform], message))
        else:
            in_doubt = (
                end is not None
                and end.status is Status.UNKNOWN
                and end.reason in {Reason.IN_FLIGHT_AT_CRASH, Reason.CONNECTION_LOST}
            )
            found.bulk += 1
            found.bulk_unknown += in_doubt
            found.bulk_repeated += max(0, times - 1)
            found.bulk_lost += times == 0 and not in_doubt


def is_one(marks: Sequence[str]) -> bool:
    """Tell whether all repeats bore the same id, and bore one at all."""
    return len(marks) == 1 and bool(marks[0])


def _marks(seen: Mapping[str, Any], message: str) -> list[str]:
    marks: list[str] = seen["marks"].get(message, [])
    return marks
