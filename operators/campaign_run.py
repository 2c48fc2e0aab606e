"""One tick of a campaign's run: what is released now, and when to look again.

A pure function of the run as the last tick left it, of what people want, and of what was measured.
The run travels in the tick itself, so whatever dies, the next process goes on from the same place.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from operators.slices import Piece, length_of, pieces
from schemas.campaigns import Campaign, Control, ControlState, Gates, Phase, Ramp, Run

TICK_MS = 5_000
"""How often a throttled campaign releases users, and a watched one is looked at."""
LOOK_MS = 1_000
"""How often a paused or draining one is looked at."""
LONGEST_STEP_MS = 2 * TICK_MS
"""A tick that comes later than this releases no more: a process that was down is no burst."""
LONGEST_WATCH_MS = 86_400_000
OVER = frozenset({Phase.FINISHED, Phase.CANCELLED})


class Figures(NamedTuple):
    """What became of a run so far. sent, failed: deliveries. p99_ms: 0 when none was measured."""

    sent: int = 0
    failed: int = 0
    p99_ms: float = 0.0
    reached: int = 0
    opted_out: int = 0


class Seen(NamedTuple):
    """What a tick looks at, each only when it is needed; None: not at hand now.

    users: how many the audience has. figures: measured so far. is_drained: whether route is
    through with this many chunks.
    """

    users: Callable[[], int]
    figures: Callable[[], Figures | None]
    is_drained: Callable[[int], bool]


class Ticked(NamedTuple):
    """What a tick leaves. pieces: of the audience, to release now. next_ms: 0 when it is over."""

    run: Run
    pieces: tuple[Piece, ...] = ()
    next_ms: int = 0


def tick(
    run: Run, campaign: Campaign, control: Control | None, seen: Seen, *, shards: int, now_ms: int
) -> Ticked:
    """Take a run one step on. control: None when it is not known now, which changes nothing."""
    run = msgspec.structs.replace(run, tick=run.tick + 1)
    held = _held(run, control, now_ms)
    if held is not None or control is None:
        return held or Ticked(run)
    if run.users < 0:
        run = msgspec.structs.replace(run, users=seen.users(), started_ms=now_ms, last_ms=now_ms)
    end = length_of(shards)
    limit = end
    if campaign.ramp is not None:
        limit = int(end * campaign.ramp.percents[run.step] / 100)
        if run.cursor >= limit and limit < end:
            return _watched(run, campaign.ramp, control, seen, now_ms)
    if run.cursor >= end:
        return _drained(run, seen, now_ms)
    until = min(limit, run.cursor + _places(run, campaign, end, now_ms))
    found = tuple(pieces(run.run_id, shards, run.cursor, until))
    run = _with(
        run, now_ms, phase=Phase.RUNNING, note="", cursor=until, chunks=run.chunks + len(found)
    )
    return Ticked(run, found, now_ms + (TICK_MS if until < limit else LOOK_MS))


def _held(run: Run, control: Control | None, now_ms: int) -> Ticked | None:
    """Give what becomes of a run that may not go on now, None when it may."""
    if control is None:
        return _later(run, now_ms, TICK_MS, note="waiting: its control is not at hand")
    if control.state is ControlState.CANCELLED or control.start_id != run.start_id:
        return Ticked(_with(run, now_ms, phase=Phase.CANCELLED, note=""))
    if run.phase is Phase.SCHEDULED and run.due_ms > now_ms:
        return Ticked(run, next_ms=run.due_ms)
    if control.state is ControlState.PAUSED:
        return _later(run, now_ms, LOOK_MS, phase=Phase.PAUSED, note="")
    return None


def is_waived(control: Control, run: Run) -> bool:
    """Tell whether a person has overruled the gates of the run's step."""
    return control.waived == f"{run.run_id}/{run.step}"


def broken_gate(gates: Gates, figures: Figures) -> str:
    """Say which gate does not hold, "" when all do."""
    ended = figures.sent + figures.failed
    failed = 100 * figures.failed / ended if ended else 0.0
    left = 100 * figures.opted_out / figures.reached if figures.reached else 0.0
    if gates.failure_percent is not None and failed > gates.failure_percent:
        return f"{failed:.1f} % of deliveries failed, more than {gates.failure_percent:g} %"
    if gates.p99_ms is not None and figures.p99_ms > gates.p99_ms:
        return f"p99 is {figures.p99_ms:.0f} ms, more than {gates.p99_ms} ms"
    if gates.opt_out_percent is not None and left > gates.opt_out_percent:
        return f"{left:.1f} % of the users reached opted out, more than {gates.opt_out_percent:g} %"
    return ""


def _places(run: Run, campaign: Campaign, end: int, now_ms: int) -> int:
    """Give how far the cursor may move: everything, or what the throttle lets go by now."""
    if campaign.users_per_minute is None or run.users == 0:
        return end
    # At the first tick, and after a wait, a tick's worth; then as much as time has passed.
    passed_ms = now_ms - run.last_ms if run.phase is Phase.RUNNING else 0
    passed_ms = min(passed_ms or TICK_MS, LONGEST_STEP_MS)
    users = campaign.users_per_minute * passed_ms / 60_000
    return max(1, int(end * users / run.users))


def _watched(run: Run, ramp: Ramp, control: Control, seen: Seen, now_ms: int) -> Ticked:
    """Hold a step for its time, then judge it; the next one begins, or a person decides."""
    if is_waived(control, run):
        return _next_step(run, now_ms)
    if run.phase is Phase.STOPPED:
        return _later(run, now_ms, LOOK_MS, note=run.note)
    if not run.step_since_ms:
        if not seen.is_drained(run.chunks):
            return _later(run, now_ms, LOOK_MS, phase=Phase.WATCHING, note="on its way")
        run = msgspec.structs.replace(run, step_since_ms=now_ms)
    held_until_ms = run.step_since_ms + int(ramp.steps[run.step].hold_s * 1_000)
    if held_until_ms > now_ms:
        wait_ms = min(TICK_MS, held_until_ms - now_ms)
        return _later(run, now_ms, wait_ms, phase=Phase.WATCHING, note="")
    return _judged(run, ramp.gates, seen.figures(), now_ms)


def _judged(run: Run, gates: Gates, figures: Figures | None, now_ms: int) -> Ticked:
    """Go on to the next step, stop, or wait for more to judge by."""
    waiting = ""
    if figures is None:
        waiting = "its figures are not at hand"
    elif figures.sent < gates.min_sent and now_ms < run.step_since_ms + LONGEST_WATCH_MS:
        waiting = f"{figures.sent} sent, of {gates.min_sent} to judge by"
    elif broken := broken_gate(gates, figures):
        return _later(run, now_ms, LOOK_MS, phase=Phase.STOPPED, note=broken)
    if waiting:
        return _later(run, now_ms, TICK_MS, phase=Phase.WATCHING, note=waiting)
    return _next_step(run, now_ms)


def _next_step(run: Run, now_ms: int) -> Ticked:
    later = _later(run, now_ms, 1, phase=Phase.RUNNING, note="")
    stepped = msgspec.structs.replace(later.run, step=run.step + 1, step_since_ms=0)
    return later._replace(run=stepped)


def _drained(run: Run, seen: Seen, now_ms: int) -> Ticked:
    if seen.is_drained(run.chunks):
        return Ticked(_with(run, now_ms, phase=Phase.FINISHED, note=""))
    return _later(run, now_ms, LOOK_MS, phase=Phase.DRAINING, note="")


def _later(run: Run, now_ms: int, wait_ms: int, *, note: str, phase: Phase | None = None) -> Ticked:
    return Ticked(_with(run, now_ms, phase=phase or run.phase, note=note), (), now_ms + wait_ms)


def _with(run: Run, now_ms: int, *, phase: Phase, note: str, **more: int) -> Run:
    return msgspec.structs.replace(run, last_ms=now_ms, phase=phase, note=note, **more)
