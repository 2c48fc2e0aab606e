"""Providers that fail, refuse, slow down or condemn tokens, and what becomes of messages.

Everything is bulk, which is never sent twice: each delivery is to be SENT exactly once.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from sandbox import apns_scenarios, fcm_tokens
from sandbox.stack import ALL, FlowSpec
from schemas.pipeline import Platform, Priority
from schemas.settings import as_environment
from schemas.tenant import TokenHygiene
from schemas.topics import TOKEN_DEATHS
from state.rates import RedisRates
from state.redis_client import RedisClient
from tests.chaos import people
from tests.chaos.fault import Fault
from tests.chaos.load import Feed, deliveries, ended, registrations, token_of
from tests.chaos.probes import metric
from tests.chaos.schedule import Plan
from tests.chaos.stand import Stand, open_stand

DELIVER = FlowSpec("deliver", Platform.FCM, ALL)
FLOWS = (
    FlowSpec("registry", None, ALL),
    FlowSpec("route", None, ALL),
    FlowSpec("timers", None, ALL),
    FlowSpec("deliver", Platform.APNS, ALL),
    DELIVER,
    FlowSpec("outcomes", None, ALL),
)
SECOND = "deliver-fcm-second"
GATE = {"platform": Platform.FCM, "gate": people.TENANT}
RETURNS_S = 60.0

KNEE = 150
ANSWER_S = 0.2
"""Long enough that neither the simulator nor the sender needs a whole core at the knee."""
KNEE_MESSAGES = 15_000
SETTLE_S, LOOK_S, LOOK_EVERY_S = 10.0, 6.0, 0.25

STORM_MESSAGES = 15_000
CALM_S, STORM_S = 5.0, 20.0
MOST_REFUSED = 0.05
LOOKED_AT = 100
"""What the breaker looks at before it opens, and its probes: refused however few flow."""
LONGEST_RECOVERY_S = 10.0

OFFERED_PER_S, LEAST_OFFERED_PER_S = 600, 200
WARM_S, LIMITED_S, COUNTED_S = 6.0, 15.0, 10.0
GROWN = 0.2

DEAD = 600
AFTERWARDS = 20
WRONG = 300


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Let FCM slow down, fail, condemn tokens and refuse; APNs, take tokens for wrong ones."""
    with open_stand(directory / "providers", flows=FLOWS) as stand:
        yield _knee(stand)
        yield _storm(plan, stand)
        yield _deaths(stand)
        yield _wrong_environment(stand)
        yield _too_fast(plan, stand)


def _knee(stand: Stand) -> Fault:
    """As many requests go at once as FCM answers without queueing them, about."""
    fault = Fault(f"FCM slows down beyond {KNEE} at once", injected=KNEE_MESSAGES)
    numbers = range(KNEE_MESSAGES)
    slow = {"answer_s": ANSWER_S, "knee": KNEE, "remember": True}
    stand.stack.behave(Platform.FCM, **slow)
    stand.put(deliveries(Platform.FCM, numbers, kind="knee"))
    _await_first(stand)
    time.sleep(SETTLE_S)
    stand.stack.behave(Platform.FCM, **slow)
    # It moves, and every now and then it is halved for a moment: the middle of what it was.
    limit = median(_limits(stand))
    most = stand.stack.behave(Platform.FCM, remember=True)["most_under_way"]
    for name, found in (("under way", most), ("the limit", limit)):
        fault.check(KNEE / 2 <= found <= KNEE * 2.5, f"{name}: {found:.0f} at a knee of {KNEE}")
    fault.note = f"{most} under way at most, limit {limit:.0f}"
    _await_sent(stand, fault, "knee", numbers)
    return fault


def _storm(plan: Plan, stand: Stand) -> Fault:
    """Only few requests meet the outage, as the circuit opens; it closes soon afterwards."""
    count = plan.sized(STORM_MESSAGES)
    fault = Fault(f"FCM answers 503 for {STORM_S:.0f} s", injected=count)
    numbers = range(1_000_000, 1_000_000 + count)
    stand.stack.behave(Platform.FCM, remember=True)
    per_s = count / (STORM_S + 2 * CALM_S)
    feed = Feed(stand, deliveries(Platform.FCM, numbers, kind="storm"), per_s=per_s)
    feed.start()
    _await_first(stand)
    time.sleep(CALM_S)
    stand.stack.behave(Platform.FCM, down=True, remember=True)
    opened_s = stand.until(lambda: _is_open(stand), "circuit open", timeout_s=STORM_S)
    time.sleep(STORM_S - opened_s)
    accepted = _accepted(stand)
    refused = stand.stack.behave(Platform.FCM, remember=True)["refused"]
    first_s = stand.until(lambda: _accepted(stand) > accepted, "sending", timeout_s=RETURNS_S)
    closed_s = first_s + stand.until(
        lambda: not _is_open(stand), "circuit closed", timeout_s=RETURNS_S
    )
    fault.recovery_s = closed_s
    fault.note = f"open after {opened_s:.1f} s, {refused} refused, sent again after {first_s:.1f} s"
    most = max(LOOKED_AT, int(count * MOST_REFUSED))
    fault.check(0 < refused <= most, f"{refused} were refused, allowed are {most}")
    fault.check(closed_s <= LONGEST_RECOVERY_S, f"the circuit closed after {closed_s:.1f} s")
    feed.finish()
    _await_sent(stand, fault, "storm", numbers)
    return fault


def _too_fast(plan: Plan, stand: Stand) -> Fault:
    """Two processes share a rate that shrinks to what FCM takes, and grows back."""
    per_s = max(LEAST_OFFERED_PER_S, plan.sized(OFFERED_PER_S))
    limit_per_s = per_s // 3
    count = int(per_s * (WARM_S + LIMITED_S + COUNTED_S))
    fault = Fault(f"FCM answers 429 beyond {limit_per_s}/s of {per_s}/s", injected=count)
    processes = (stand.processes[DELIVER.label], stand.add(DELIVER, SECOND))
    stand.await_ready(SECOND)
    stand.stack.behave(Platform.FCM, remember=True)
    numbers = range(2_000_000, 2_000_000 + count)
    feed = Feed(stand, deliveries(Platform.FCM, numbers, kind="fast"), per_s=per_s)
    feed.start()
    _await_first(stand)
    time.sleep(WARM_S)
    limited = {"most_per_s": limit_per_s, "remember": True}
    stand.stack.behave(Platform.FCM, **limited)
    time.sleep(LIMITED_S)
    before, began = _accepted(stand), time.monotonic()
    stand.stack.behave(Platform.FCM, **limited)
    time.sleep(COUNTED_S)
    refused = stand.stack.behave(Platform.FCM, remember=True)["refused"]
    took_s = time.monotonic() - began
    sent_per_s, refused_per_s = (_accepted(stand) - before) / took_s, refused / took_s
    share = _share(stand)
    shares = [metric(one.port, "clarion_provider_rate_share", **GATE) for one in processes]
    fault.check(share < 1 / 2, f"the shared rate is {share:.2f} of the usual one")
    fault.check(
        all(abs(one - share) < GROWN for one in shares), f"the processes' shares are {shares}"
    )
    fault.check(
        limit_per_s / 3 <= sent_per_s and sent_per_s + refused_per_s <= 1.25 * limit_per_s,
        f"{sent_per_s:.0f}/s sent and {refused_per_s:.0f}/s refused at {limit_per_s}/s",
    )
    fault.recovery_s = stand.until(
        lambda: _share(stand) > min(1, share + GROWN), "a growing rate", timeout_s=RETURNS_S
    )
    fault.note = (
        f"{sent_per_s:.0f}/s sent, {refused_per_s:.0f}/s refused; share {share:.2f} shared by 2"
        f" processes, {GROWN} more after {fault.recovery_s:.0f} s"
    )
    feed.finish()
    _await_sent(stand, fault, "fast", numbers)
    return fault


def _deaths(stand: Stand) -> Fault:
    """Too many dead tokens at once are not believed, until somebody says so."""
    fault = Fault("FCM calls all tokens dead", injected=DEAD)
    stand.stack.behave(Platform.FCM)
    start = 3_000_000
    frozen = {"tenant": people.TENANT, "app": "android", "platform": Platform.FCM}
    _register(stand, Platform.FCM, map(fcm_tokens.dead_token, range(DEAD + AFTERWARDS)), start)
    _send_to(stand, start, DEAD, "dead")
    process = stand.processes[DELIVER.label]
    pruned = _pruned(stand, start, DEAD + AFTERWARDS)
    most = TokenHygiene().min_deaths
    fault.check(pruned <= most, f"{pruned} devices were pruned, allowed are {most}")
    fault.check(
        metric(process.port, "clarion_pruning_frozen", **frozen) == 1, "the gauge is not set"
    )
    done = subprocess.run(
        [sys.executable, "-m", "api", "tokens", "resume", people.TENANT, "android"],
        env={**os.environ, **as_environment(stand.settings)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    fault.check(done.returncode == 0, f"resume: {done.stderr.strip()[-200:]}")
    fault.recovery_s = stand.until(
        lambda: metric(process.port, "clarion_pruning_frozen", **frozen) == 0,
        "resumed",
        timeout_s=RETURNS_S,
    )
    _send_to(stand, start + DEAD, AFTERWARDS, "dead-again")
    later = _pruned(stand, start, DEAD + AFTERWARDS) - pruned
    fault.check(later == AFTERWARDS, f"{later} of {AFTERWARDS} were pruned after the resume")
    fault.note = f"{pruned} pruned before the freeze, {later} of {AFTERWARDS} after the resume"
    return fault


def _wrong_environment(stand: Stand) -> Fault:
    """Tokens of the other APNs environment fail their messages, and no device is removed."""
    fault = Fault("APNs calls all tokens bad", injected=WRONG)
    start = 4_000_000
    tokens = (apns_scenarios.scenario_token("BadDeviceToken", seed) for seed in range(WRONG))
    _register(stand, Platform.APNS, tokens, start)
    _send_to(stand, start, WRONG, "wrong")
    left = _devices(stand, start)
    fault.lost = WRONG - left
    fault.note = f"{left} of {WRONG} devices left"
    frozen = {"tenant": people.TENANT, "app": "ios", "platform": Platform.APNS}
    apns = stand.processes["deliver-apns"]
    is_frozen = metric(apns.port, "clarion_pruning_frozen", **frozen) == 1
    fault.check(is_frozen, "the gauge is not set")
    return fault


def _limits(stand: Stand) -> Iterator[float]:
    until = time.monotonic() + LOOK_S
    while time.monotonic() < until:
        yield metric(stand.processes[DELIVER.label].port, "clarion_concurrency_limit", **GATE)
        time.sleep(LOOK_EVERY_S)


def _register(stand: Stand, platform: Platform, tokens: Iterator[str], start: int) -> None:
    wanted = stand.put(registrations(platform, tokens, start=start))
    stand.until_all(lambda: _devices(stand, start), wanted)


def _send_to(stand: Stand, start: int, count: int, kind: str) -> None:
    """Send an event to each of these users; wait until all has ended."""
    numbers = range(start, start + count)
    stand.put(people.event(number, Priority.NORMAL, type=kind) for number in numbers)
    stand.until_all(lambda: sum(ended(stand, kind).values()), count)


def _pruned(stand: Stand, start: int, registered: int) -> int:
    """Count the devices that were removed, once the registry has done what it was told to."""
    deaths = sum(1 for _ in stand.read(TOKEN_DEATHS))
    stand.until_all(lambda: registered - _devices(stand, start), deaths)
    return registered - _devices(stand, start)


def _devices(stand: Stand, start: int) -> int:
    """Count the devices that are there, of those registered from this number on."""
    return stand.one(
        "SELECT count() FROM devices_current"  # noqa: S608 - a number
        f" WHERE toUInt32(substring(user_id, 2)) BETWEEN {start} AND {start + 999_999}"
    )


def _await_sent(stand: Stand, fault: Fault, kind: str, numbers: range) -> None:
    """Wait until all has ended; count what did not arrive, and what arrived twice."""
    stand.until_all(lambda: sum(ended(stand, kind).values()), len(numbers))
    found = ended(stand, kind)
    fault.check(found == {"sent": len(numbers)}, f"they ended as {found}")
    times = stand.stack.seen(Platform.FCM)["times"]
    arrived = [times.get(token_of(Platform.FCM, number), 0) for number in numbers]
    fault.lost = arrived.count(0)
    fault.duplicated = sum(count - 1 for count in arrived if count > 1)


def _await_first(stand: Stand) -> None:
    """Wait until FCM has got something new."""
    before = _accepted(stand)
    stand.until(lambda: _accepted(stand) > before, "sending", timeout_s=RETURNS_S)


def _accepted(stand: Stand) -> int:
    return int(stand.stack.stats(Platform.FCM)["accepted"])


def _is_open(stand: Stand) -> bool:
    return metric(stand.processes[DELIVER.label].port, "clarion_circuit_open", **GATE) == 1


def _share(stand: Stand) -> float:
    """Ask Redis for the share of the rate that all processes have."""
    client = RedisClient(stand.settings.redis.url)
    try:
        key = f"{people.TENANT}/{Platform.FCM}"
        return RedisRates(client).shares([key], time.time_ns() // 1_000_000)[0]
    finally:
        client.close()
