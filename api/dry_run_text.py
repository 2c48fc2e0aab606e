"""A rehearsal's reach as lines for people."""

from collections.abc import Iterator

from api.terminal import safe
from flows.rehearsal import Reach
from schemas.explanations import explanation_of
from schemas.moments import moment


def lines(reach: Reach) -> Iterator[str]:
    """Give the lines, safe for a terminal."""
    for line in _lines(reach):
        yield safe(line)


def _lines(reach: Reach) -> Iterator[str]:
    yield (
        f"{reach.message_id} of {reach.tenant} ({reach.category}, {reach.priority})"
        f" at {moment(reach.at_ms)}: nothing was sent"
    )
    whole = "" if reach.is_whole else " (stopped there: --users-limit)"
    yield f"  {reach.users:,} users looked at{whole}, {reach.reached:,} would get it now"
    if reach.devices:
        counts = ", ".join(f"{n:,} {platform}" for platform, n in sorted(reach.devices.items()))
        yield f"  {sum(reach.devices.values()):,} devices: {counts}"
    if reach.slowest_s >= 1:
        yield f"  at the tenant's rates it takes {reach.slowest_s:,.0f} s at least"
    for one in sorted(reach.decided, key=lambda one: -one.decisions):
        yield f"  {one.decisions:,} {one.status.value} {one.reason.value}"
        yield f"      {explanation_of(one.reason).rule}"
        if one.example_user or one.example_detail:
            seen = f": {one.example_detail}" if one.example_detail else ""
            yield f"      such as {one.example_user or 'the event'}{seen}"
    first, last = reach.held_ms
    if first:
        until = f"to {moment(last)}" if last != first else ""
        yield f"  held until {moment(first)} {until}".rstrip()
    for fault in reach.faults:
        yield f"  fault in the text for {fault}"
