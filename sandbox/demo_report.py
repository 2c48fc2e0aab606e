"""The demo's figures, for people and for machines."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MACHINE = (
    "events_in",
    "events_terminal",
    "identity_ok",
    "users_reached",
    "deliveries",
    "provider_accepted",
    "outcomes",
    "dead_tokens_cleaned",
    "campaign",
    "latency_ms",
    "events_per_s",
    "deliveries_per_s",
)


def machine(result: dict[str, Any]) -> dict[str, Any]:
    """Give the figures for one JSON object."""
    return {name: result[name] for name in MACHINE}


def show(console: Console, result: dict[str, Any]) -> None:
    """Print tables: totals, outcomes, latencies, identities, and two queries with results."""
    console.print(_totals(result))
    console.print(_outcomes(result))
    console.print(_latencies(result))
    console.print(_campaign(result["campaign"]))
    for title, (sql, found) in result["queries"].items():
        console.print(f"\n[bold]{title}[/bold]\n[dim]{sql}[/dim]")
        console.print(_rows(found.column_names, found.result_rows))
    console.print(_identities(result))


def show_explained(console: Console, command: str, answer: str) -> None:
    """Print one explained decision, when there is one."""
    if command:
        console.print(f"\n[bold]One decision, explained[/bold]\n[dim]{escape(command)}[/dim]")
        console.print(answer.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _totals(result: dict[str, Any]) -> Table:
    table = _rows(("", "apns", "fcm", "webpush", "all"), [])
    for name, label in (
        ("deliveries", "deliveries"),
        ("sent", "sent (ClickHouse)"),
        ("provider_accepted", "accepted (provider)"),
    ):
        found = result[name]
        table.add_row(
            label,
            *(f"{found[p]:,}" for p in ("apns", "fcm", "webpush")),
            f"{sum(found.values()):,}",
        )
    table.title = (
        f"{result['events_in']:,} events in, {result['users_reached']:,} users reached, "
        f"{result['dead_tokens_cleaned']:,} dead tokens cleaned; "
        f"{result['events_per_s']:,} events/s, {result['deliveries_per_s']:,} deliveries/s "
        f"over {result['seconds']} s"
    )
    return table


def _outcomes(result: dict[str, Any]) -> Table:
    rows = [
        (status, reason, f"{count:,}")
        for status, reasons in result["outcomes"].items()
        for reason, count in reasons.items()
    ]
    return _rows(("status", "reason", "outcomes"), rows)


def _latencies(result: dict[str, Any]) -> Table:
    rows = [
        (priority, *(f"{found[q]:,.0f} ms" for q in ("p50", "p95", "p99")))
        for priority, found in result["latency_ms"].items()
    ]
    return _rows(("accepted to answered", "p50", "p95", "p99"), rows)


def _campaign(run: dict[str, Any]) -> str:
    return (
        f"Campaign [bold]{run['id']}[/bold] (a tenth first, then all): {run['phase']},"
        f" {run['users_routed']:,} of {run['users']:,} users in {run['hours']} hours and"
        f" {run['ticks']} ticks"
    )


def _identities(result: dict[str, Any]) -> Table:
    table = _rows(("identity", "one side", "other side", ""), [])
    for name, (one, other) in result["identities"].items():
        verdict = "[green]holds[/green]" if one == other else "[red]FAILS[/red]"
        table.add_row(name, f"{one:,}", f"{other:,}", verdict)
    return table


def _rows(names: Any, rows: Any) -> Table:
    table = Table(title_justify="left")
    for name in names:
        table.add_column(str(name))
    for row in rows:
        table.add_row(*(str(value) for value in row))
    return table
