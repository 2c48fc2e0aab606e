"""`clarion campaigns`: define, estimate, try, start, steer and watch campaigns."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from api.campaign_stores import Desk

app = App(name="campaigns", help="Define, start, steer and watch campaigns.",
          help_format="plaintext")  # fmt: skip

TenantOption = Annotated[str, Parameter(help="whose campaigns")]
JsonFlag = Annotated[bool, Parameter(help="JSON, for machines")]


@app.command
def create(file: Path, *, tenant: TenantOption) -> None:
    """Define a campaign from a YAML or JSON file, or a new version of it. Sends nothing.

    A run under way keeps the version that it started with.
    """
    said = _read(file)
    with _desk(tenant) as desk:
        campaign, version = desk.campaigns.put(said)
    _print(f"{campaign.id}: version {version}; clarion campaigns start {campaign.id}"
           f" --tenant {tenant}")  # fmt: skip


@app.command
def ls(*, tenant: TenantOption, json: JsonFlag = False) -> None:
    """List the campaigns and where their latest runs stand."""
    from api.campaign_view import standing_lines, standing_of  # noqa: PLC0415 - what --help need not wait for

    with _desk(tenant) as desk:
        found = [desk.campaigns.standing(name) for name in desk.campaigns.names()]
    for one in found:
        _print(_json(standing_of(one, desk.tenant)) if json
               else standing_lines(one, desk.tenant)[0])  # fmt: skip
    if not found and not json:
        _print("none")


@app.command
def show(campaign: str, *, tenant: TenantOption) -> None:
    """Show a campaign's definition as JSON."""
    with _desk(tenant) as desk:
        found, definition = desk.campaigns.get(campaign)
    whole = found.model_dump(mode="json", exclude_none=True)
    _print(_json({"version": definition.version, **whole}))


@app.command
def rm(campaign: str, *, tenant: TenantOption) -> None:
    """Forget a campaign that is not under way. What it sent stays in the analytics."""
    with _desk(tenant) as desk:
        desk.campaigns.remove(campaign)
    _print(f"{campaign}: removed")


@app.command
def estimate(campaign: str, *, tenant: TenantOption, json: JsonFlag = False) -> None:
    """Count whom a campaign would reach now, and how long it would take. Sends nothing."""
    from api.campaign_view import estimate_lines, estimate_of  # noqa: PLC0415 - what --help need not wait for

    with _desk(tenant) as desk:
        found, _ = desk.campaigns.get(campaign)
        estimated = desk.campaigns.estimate(found, desk.figures)
    if json:
        _print(_json(estimate_of(estimated)))
        return
    for line in estimate_lines(estimated):
        _print(line)


@app.command(name="test-send")
def test_send(
    campaign: str,
    *,
    tenant: TenantOption,
    user: Annotated[list[str], Parameter(help="who gets it; repeat for several")],
) -> None:
    """Send a campaign's message to some users now; it counts for nothing but their caps."""
    with _desk(tenant) as desk:
        found, _ = desk.campaigns.get(campaign)
        message_id = desk.campaigns.test_send(found, user)
    _print(f"{message_id}: on its way to {len(user)} users")


@app.command
def start(campaign: str, *, tenant: TenantOption) -> None:
    """Start a campaign: at its time, or now."""
    from api.times import clock  # noqa: PLC0415 - what --help need not wait for

    with _desk(tenant) as desk:
        run = desk.campaigns.start(campaign)
    _print(f"{run.run_id}: due {clock(run.due_ms)}")


@app.command
def pause(campaign: str, *, tenant: TenantOption) -> None:
    """Release nobody more. What is with the providers' queues already still goes; see cancel."""
    with _desk(tenant) as desk:
        desk.campaigns.pause(campaign)
    _print(f"{campaign}: paused, within a second everywhere")


@app.command
def resume(campaign: str, *, tenant: TenantOption) -> None:
    """Go on after a pause, or in spite of a gate that did not hold."""
    with _desk(tenant) as desk:
        overruled = desk.campaigns.resume(campaign)
    _print(f"{campaign}: goes on" + (f", in spite of: {overruled}" if overruled else ""))


@app.command
def cancel(campaign: str, *, tenant: TenantOption) -> None:
    """End a campaign; what has not left for a provider is retracted."""
    with _desk(tenant) as desk:
        desk.campaigns.cancel(campaign)
    _print(f"{campaign}: cancelled, within a second everywhere")


@app.command
def status(
    campaign: str,
    *,
    tenant: TenantOption,
    json: JsonFlag = False,
    watch: Annotated[bool, Parameter(help="again every two seconds, until it is over")] = False,
) -> None:
    """Show where a campaign stands, its funnel, and why users got nothing."""
    from threading import Event  # noqa: PLC0415 - what --help need not wait for

    from operators.campaigns import is_over  # noqa: PLC0415 - as above

    pause_s = Event()
    with _desk(tenant) as desk:
        while True:
            standing = desk.campaigns.standing(campaign)
            _status(desk, standing, as_json=json)
            if not watch or all(is_over(run) for run, _ in standing.runs):
                return
            pause_s.wait(2.0)


@app.command
def learn(
    *, tenant: TenantOption, days: Annotated[int, Parameter(help="of opens to learn from")] = 90
) -> None:
    """Learn from opens at which hour each user opens most; run it every night."""
    if not 1 <= days <= 400:
        raise CommandError("days: use 1 to 400")
    with _desk(tenant) as desk:
        learned = desk.learn(days)
    _print(f"learned the best hours of {learned} users")


def _status(desk: "Desk", standing: Any, *, as_json: bool) -> None:
    from api.campaign_view import standing_lines, standing_of  # noqa: PLC0415 - what --help need not wait for

    name, tenant = standing.campaign.id, desk.tenant
    funnel = desk.figures.funnel(tenant.name, name)
    since_ms = min((run.started_ms or run.due_ms for run, _ in standing.runs), default=0)
    reasons = desk.figures.reasons(tenant.name, name, since_ms=since_ms)
    if as_json:
        why = [{"status": s, "reason": r, "outcomes": n} for s, r, n in reasons]
        _print(_json({**standing_of(standing, tenant), "funnel": funnel, "reasons": why}))
        return
    for line in standing_lines(standing, tenant):
        _print(line)
    for stage, count in funnel.items():
        _print(f"  {stage:18} {count}")
    for state, reason, count in reasons:
        _print(f"  {state:10} {reason:22} {count}")


def _read(file: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - what --help need not wait for

    if not file.is_file():
        raise CommandError(f"file: there is no {file}")
    try:
        # JSON is YAML, too.
        said = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise CommandError(f"{file}: write an object with id and message")
    return said


@contextmanager
def _desk(tenant: str) -> "Iterator[Desk]":
    from api.campaign_stores import opened  # noqa: PLC0415 - what --help need not wait for

    with opened(tenant) as desk:
        yield desk


def _json(value: Any) -> str:
    import json  # noqa: PLC0415 - what --help need not wait for

    return json.dumps(value)


def _print(text: str) -> None:
    print(text)  # noqa: T201 - a command's output
    sys.stdout.flush()
