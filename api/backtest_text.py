"""A backtest's table as lines for people."""

from collections.abc import Iterator, Sequence

from flows.backtest_run import Compared, Row
from schemas.moments import moment


def lines(told: Compared) -> Iterator[str]:
    """Give the lines."""
    yield (
        f"{told.tenant}, {moment(told.from_ms)} to {moment(told.to_ms)}: {told.events:,} events"
        f" at {told.events_per_s:,.0f}/s; nothing was sent"
    )
    if told.is_cut:
        yield "  there were more: only the oldest were read, see --limit"
    with_today = any(row.today is not None for row in told.rows)
    head = ("category", "decision", "was", *(("today",) if with_today else ()), "would", "change")
    yield from _table([head, *(_cells(row, with_today=with_today) for row in told.rows)])
    if told.held:
        yield f"  {told.held:,} timers would still wait at the end"
    if told.unreadable:
        yield f"  {told.unreadable:,} records could not be read and are left out"
    for note in told.notes:
        yield f"  note: {note}"


def _cells(row: Row, *, with_today: bool) -> Sequence[str]:
    today = (f"{row.today or 0:,}",) if with_today else ()
    decision = f"{row.status} {row.reason}".strip()
    change = f"{row.difference:+,}" if row.difference else "0"
    return (row.category, decision, f"{row.was:,}", *today, f"{row.would:,}", change)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(words).rstrip()
