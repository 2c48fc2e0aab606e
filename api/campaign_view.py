"""Campaigns as people and machines read them."""

from typing import Any

from api.campaigns import Estimate, Standing
from api.times import clock
from operators.slices import length_of
from schemas.campaigns import Campaign, Phase, Run
from schemas.tenant import Tenant
from state.progress import Tally


def lasting(seconds: float | None) -> str:
    """Write how long something takes."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def estimate_of(estimate: Estimate) -> dict[str, Any]:
    """Give an estimate for machines."""
    return estimate._asdict()


def estimate_lines(estimate: Estimate) -> list[str]:
    """Write an estimate for people."""
    shares = "".join(f", {name} {share:.0%}" for name, share in estimate.platforms.items())
    devices, each = estimate.users * estimate.devices_per_user, estimate.devices_per_user
    said = f"about {devices:.0f} ({each:g} a user in a sample of {estimate.sampled}{shares})"
    lines = [f"users          {estimate.users}", f"devices        {said}"]
    if estimate.users_per_s is None:
        lines.append("duration       unknown: no campaign has gone out yet to learn a speed from")
    else:
        holds = f", holds of {lasting(estimate.hold_s)} among it" if estimate.hold_s else ""
        speed = f"{estimate.users_per_s:.0f} users/s (limited by {estimate.limited_by})"
        lines.append(f"duration       about {lasting(estimate.seconds)} at {speed}{holds}")
    return lines


def run_of(run: Run, tally: Tally, tenant: Tenant) -> dict[str, Any]:
    """Give a run for machines."""
    return {
        "run": run.run_id,
        "phase": run.phase.value,
        "note": run.note,
        "due": clock(run.due_ms),
        "started": clock(run.started_ms),
        "released_percent": round(100 * run.cursor / length_of(tenant.shards), 2),
        "step": run.step,
        "users": max(run.users, 0),
        "users_routed": tally.users,
    }


def standing_of(standing: Standing, tenant: Tenant) -> dict[str, Any]:
    """Give a campaign with its runs for machines."""
    control = standing.control
    return {
        "campaign": standing.campaign.id,
        "version": standing.version,
        "wanted": control.state.value if control is not None else "",
        "runs": [run_of(run, tally, tenant) for run, tally in standing.runs],
    }


def standing_lines(standing: Standing, tenant: Tenant) -> list[str]:
    """Write where a campaign stands."""
    told = standing_of(standing, tenant)
    if not told["runs"]:
        return [f"{told['campaign']}: never started (version {told['version']})"]
    return [_run_line(run, standing.campaign) for run in told["runs"]]


def _run_line(run: dict[str, Any], campaign: Campaign) -> str:
    said = f"{run['run']}: {run['phase']}"
    if run["note"]:
        said += f" ({run['note']})"
    if run["phase"] == Phase.SCHEDULED:
        return f"{said}, due {run['due']}"
    step = f", step {run['step'] + 1}" if campaign.ramp is not None else ""
    return (
        f"{said}{step}, {run['released_percent']:g} % released,"
        f" {run['users_routed']} of {run['users']} users through route"
    )
