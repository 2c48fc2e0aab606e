"""What one provider's trouble, or a mountain of bulk, does to those beside it."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from sandbox.stack import ALL, FlowSpec
from schemas.pipeline import FAST, Platform, Priority
from schemas.stream import Record
from tests.chaos import people
from tests.chaos.fault import Fault
from tests.chaos.load import Feed, backlog, ended, registrations, token_of
from tests.chaos.schedule import Plan
from tests.chaos.stand import Stand, open_stand

PAIRS = 3
PER_S = 150
ROUND_MESSAGES, LEAST_ROUND_MESSAGES = 2_400, 450  # 16 s: longer than a request's timeout
WARM_UP = 300
SLOWER = 1.2
BYSTANDERS = (Platform.APNS, Platform.WEBPUSH)

QUEUED = 5_000_000
URGENT_PER_S, URGENT_S = 20, 30
WARM_UP_URGENT = 60
P99_MS = 500
URGENT = (Priority.CRITICAL, Priority.HIGH)
BULK = (Priority.NORMAL, Priority.LOW)
APART = (
    FlowSpec("registry", None, ALL),
    FlowSpec("route", None, URGENT),
    FlowSpec("route", None, BULK),
    FlowSpec("timers", None, ALL),
    FlowSpec("outcomes", None, ALL),
)
_FAST = ", ".join(f"'{priority}'" for priority in sorted(FAST))

Ends = dict[str, int]


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Let FCM hang beside the others; put urgent messages behind a mountain of bulk."""
    with open_stand(directory / "hang") as stand:
        yield _hang(plan, stand)
    with open_stand(directory / "bulk", flows=APART) as stand:
        yield from _bulk(plan, stand)


# -- FCM hangs


def _hang(plan: Plan, stand: Stand) -> Fault:
    """APNs and Web Push are as fast as without it; FCM's urgent messages arrive in the end."""
    each = max(LEAST_ROUND_MESSAGES, plan.sized(ROUND_MESSAGES))
    stand.register(WARM_UP + 2 * PAIRS * each)
    for platform in Platform:
        stand.stack.behave(platform, remember=True)
    _round(stand, "warm-up", range(WARM_UP))
    p99s: dict[tuple[Platform, bool], list[int]] = {}
    start = WARM_UP
    kinds = []
    for turn in range(2 * PAIRS):
        hangs = bool(turn % 2)
        kinds.append(kind := f"round-{turn}")
        _round(stand, kind, range(start, start + each), hangs=hangs)
        for platform in BYSTANDERS:
            p99s.setdefault((platform, hangs), []).append(_p99(stand, kind, platform=platform))
        start += each
    fault = Fault(f"FCM hangs, {PAIRS} rounds of {each / PER_S:.0f} s", injected=PAIRS * each)
    notes = []
    for platform in BYSTANDERS:
        note = _compare(fault, platform, p99s[platform, False], p99s[platform, True])
        notes.append(note)
    urgent, bulk = Counter[str](), Counter[str]()
    for turn in range(1, 2 * PAIRS, 2):
        first = WARM_UP + turn * each
        ends = _account(stand, fault, kinds[turn], range(first, first + each))
        urgent.update(ends[0])
        bulk.update(ends[1])
    fault.check(bulk["unknown"] > 0, "no request hung")
    fault.note = "; ".join([*notes, f"FCM's urgent {dict(urgent)}, bulk {dict(bulk)}"])
    return fault


def _compare(
    fault: Fault, platform: Platform, without: Sequence[int], beside: Sequence[int]
) -> str:
    """Hold the medians against each other; what rounds without it show by themselves is noise."""
    calm, hanging = median(without), median(beside)
    fault.check(
        hanging <= max(SLOWER * calm, *without),
        f"{platform}: p99 {hanging:.0f} ms beside it, {calm:.0f} ms without",
    )
    return (
        f"{platform} p99 {hanging:.0f} ms ({min(beside)}-{max(beside)}), without it"
        f" {calm:.0f} ms ({min(without)}-{max(without)})"
    )


def _round(stand: Stand, kind: str, users: range, *, hangs: bool = False) -> None:
    """Send one event to each user at a steady rate; wait until all has ended."""
    stand.stack.behave(Platform.FCM, hang=hangs, remember=True)
    feed = Feed(stand, _events(users, kind), per_s=PER_S)
    feed.start()
    feed.finish()
    others = f"platform != '{Platform.FCM}'"
    wanted = sum(people.platform_of(user) is not Platform.FCM for user in users)
    stand.until_all(lambda: sum(ended(stand, kind, where=others).values()), wanted)
    stand.stack.behave(Platform.FCM, remember=True)
    stand.until_all(lambda: sum(ended(stand, kind).values()), len(users))


def _events(users: range, kind: str) -> Iterator[Record]:
    yield from people.events(len(users), start=users.start, type=kind)


def _account(stand: Stand, fault: Fault, kind: str, users: range) -> tuple[Ends, Ends]:
    """Count FCM's: urgent ones must have arrived, bulk must have ended, none come twice.

    Gives how many urgent ones, and how many of bulk, ended how.
    """
    fcm = f"platform = '{Platform.FCM}'"
    mine = [user for user in users if people.platform_of(user) is Platform.FCM]
    urgent = ended(stand, kind, where=f"{fcm} AND priority IN ({_FAST})")
    bulk = ended(stand, kind, where=f"{fcm} AND priority NOT IN ({_FAST})")
    wanted = sum(people.priority_of(user) in FAST for user in mine)
    fault.lost += wanted - urgent.get("sent", 0)
    fault.lost += len(mine) - wanted - bulk.get("sent", 0) - bulk.get("unknown", 0)
    times = stand.stack.seen(Platform.FCM)["times"]
    fault.duplicated += sum(
        max(0, times.get(people.token_of(user, "")["token"], 0) - 1) for user in mine
    )
    return urgent, bulk


# -- a mountain of bulk


def _bulk(plan: Plan, stand: Stand) -> Iterator[Fault]:
    """Urgent messages reach APNs in time whatever bulk waits, with one process or two."""
    queued = plan.sized(QUEUED)
    each = URGENT_PER_S * URGENT_S
    runs = {
        "one deliver process": [FlowSpec("deliver", Platform.APNS, ALL)],
        "urgent and bulk apart": [
            FlowSpec("deliver", Platform.APNS, URGENT),
            FlowSpec("deliver", Platform.APNS, BULK),
        ],
    }
    users = len(runs) * (WARM_UP_URGENT + each)
    tokens = (token_of(Platform.APNS, number) for number in range(users))
    stand.put(registrations(Platform.APNS, tokens))
    stand.until_all(lambda: stand.one("SELECT uniqExact(user_id) FROM devices"), users)
    stand.put(backlog(queued, kind="bulk"))
    start = 0
    for number, (name, specs) in enumerate(runs.items()):
        for spec in specs:
            stand.add(spec)
        stand.await_ready(*(spec.label for spec in specs))
        # Until the partitions have come over from the processes before, and caches are warm.
        _urgent(stand, f"warm-up-{number}", range(start, start + WARM_UP_URGENT))
        start += WARM_UP_URGENT
        fault = Fault(f"{queued:,} bulk messages wait; {name}", injected=each)
        before, began = _accepted(stand), time.monotonic()
        kind = f"urgent-{number}"
        _urgent(stand, kind, range(start, start + each))
        sent = _accepted(stand) - before - each
        bulk_per_s = sent / (time.monotonic() - began)
        start += each
        found = ended(stand, kind)
        fault.lost = each - found.get("sent", 0)
        p50, p99 = _latency(stand, kind, 0.5), _p99(stand, kind)
        fault.check(p99 < P99_MS, f"p99 {p99} ms")
        fault.check(bulk_per_s > 0, "bulk stood still")
        fault.check(stand.lag() > 0, "no bulk waited any more")
        fault.note = f"urgent p50 {p50} ms, p99 {p99} ms, beside {bulk_per_s:.0f} bulk/s"
        yield fault
        for spec in specs:
            stand.remove(spec.label)


def _urgent(stand: Stand, kind: str, users: range) -> None:
    """Send a critical message to each user at a steady rate; wait until all have ended."""
    records = (people.event(user, Priority.CRITICAL, type=kind) for user in users)
    feed = Feed(stand, records, per_s=URGENT_PER_S)
    feed.start()
    feed.finish()
    stand.until_all(lambda: sum(ended(stand, kind).values()), len(users))


def _accepted(stand: Stand) -> int:
    return int(stand.stack.stats(Platform.APNS)["accepted"])


# -- latencies


def _p99(stand: Stand, kind: str, *, platform: Platform | None = None) -> int:
    return _latency(stand, kind, 0.99, platform=platform)


def _latency(stand: Stand, kind: str, level: float, *, platform: Platform | None = None) -> int:
    """Give a quantile of the milliseconds from Kafka's acceptance to the provider's answer."""
    where = f" AND platform = '{platform}'" if platform else ""
    rows = stand.clickhouse.query(
        f"SELECT quantileExact({level})(latency_ms) FROM outcomes"  # noqa: S608 - our own words
        f" WHERE type = {{kind:String}} AND status = 'sent' AND latency_ms >= 0{where}",
        parameters={"kind": kind},
    ).result_rows
    return int(rows[0][0])
