"""What became of the events of a range of users: in ClickHouse, and at the simulators."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.outcomes import Reason, Status
from schemas.pipeline import FAST, Platform
from schemas.topics import OUTCOMES
from tests.chaos import people
from tests.chaos.count import is_one
from tests.chaos.fault import Fault
from tests.chaos.stand import POLL_S, TERMINAL_SQL, Stand

SETTLE_TIMEOUT_S = 60.0
# An event that a producer put twice is answered twice; it is sent once.
_OVER = f"""
SELECT toUInt32(substring(user_id, 2)) AS number, any(status) AS end, any(reason) AS why,
    count() AS times
FROM outcomes
WHERE status IN ({TERMINAL_SQL}) AND reason != '{Reason.DUPLICATE_EVENT}'
    AND toUInt32OrZero(substring(user_id, 2)) BETWEEN {{first:UInt32}} AND {{last:UInt32}}
GROUP BY number
"""  # noqa: S608 - our own enums


class Ends(NamedTuple):
    """How the events of some users ended. by: (status, reason) -> how many."""

    over: int
    doubled: int
    by: Counter[tuple[str, str]]


def ends(stand: Stand, users: range) -> Ends:
    """Ask ClickHouse how each of these users' events ended."""
    rows = _rows(
        stand,
        f"SELECT end, why, count(), sum(times) FROM ({_OVER}) GROUP BY end, why",  # noqa: S608 - as above
        users,
    )
    over = sum(row[2] for row in rows)
    by = Counter({(row[0], row[1]): row[2] for row in rows})
    return Ends(over, sum(row[3] for row in rows) - over, by)


def over(stand: Stand, users: range) -> int:
    """Count the users whose events have ended."""
    return int(_rows(stand, f"SELECT count() FROM ({_OVER})", users)[0][0])  # noqa: S608 - as above


def medians_s(stand: Stand, users: range) -> dict[str, float]:
    """Give when half of the events of each priority were sent, in seconds since the first was."""
    query = """
    SELECT priority, quantileExact(toUnixTimestamp64Milli(occurred_at)) AS half,
        min(toUnixTimestamp64Milli(occurred_at)) AS first
    FROM outcomes
    WHERE status = 'sent'
        AND toUInt32OrZero(substring(user_id, 2)) BETWEEN {first:UInt32} AND {last:UInt32}
    GROUP BY priority
    """
    rows = _rows(stand, query, users)
    begin = min((row[2] for row in rows), default=0)
    return {row[0]: (row[1] - begin) / 1_000 for row in rows}


def check_ends(
    stand: Stand, fault: Fault, users: range, *, allowed: Iterable[tuple[str, str]] = ()
) -> None:
    """Note what has not ended, what ended twice, and ends other than sent and those allowed."""
    found = ends(stand, users)
    fault.lost += len(users) - found.over
    fault.duplicated += found.doubled
    other = set(found.by) - {(Status.SENT, Reason.ACCEPTED), *allowed}
    fault.check(not other, f"ended otherwise: {[(*end, found.by[end]) for end in sorted(other)]}")


def check_rows(stand: Stand, fault: Fault) -> None:
    """Compare ClickHouse with the outcomes topic, to the row."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        rows = stand.one("SELECT count() FROM outcomes")
        records = sum(1 for _ in stand.read(OUTCOMES))
        if rows >= records or time.monotonic() > deadline:
            break
        stand.supervise()
        time.sleep(POLL_S)
    distinct = stand.one("SELECT uniqExact(outcome_id) FROM outcomes")
    rows = stand.one("SELECT count() FROM outcomes")
    same = rows == records == distinct
    fault.check(same, f"{rows} rows, {distinct} of them distinct, of {records} records")


def check_received(
    stand: Stand, fault: Fault, users: range, *, missing: int = 0, doubled_bulk: int = 0
) -> int:
    """Compare what the simulators remember; gives how many urgent messages came again.

    missing: messages that may have come nowhere. doubled_bulk: bulk ones that may have come twice.
    """
    seen: dict[str, int] = {}
    marks: dict[str, Sequence[str]] = {}
    for platform in Platform:
        told = stand.stack.seen(platform)
        seen |= told["times"]
        marks |= told["marks"]
    absent = again = bulk = unlike = 0
    for number in users:
        key = people.seen_as(number)
        times = seen.get(key, 0)
        absent += not times
        if times > 1:
            is_urgent = people.priority_of(number) in FAST
            again += is_urgent
            bulk += not is_urgent
            unlike += not is_one(marks[key])
    fault.check(absent <= missing, f"{absent} messages reached no provider")
    fault.check(bulk <= doubled_bulk, f"{bulk} bulk messages reached a provider twice")
    fault.check(not unlike, f"{unlike} repeats bore another id")
    return again


def _rows(stand: Stand, query: str, users: range) -> Sequence[Sequence[Any]]:
    asked = {"first": users.start, "last": users.stop - 1}
    return stand.clickhouse.query(query, parameters=asked).result_rows
