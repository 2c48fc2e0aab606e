"""An explanation as lines for people."""

from collections.abc import Iterator
from typing import Any

from api.explained import Explained, Told
from api.terminal import safe


def lines(found: Explained) -> Iterator[str]:
    """Give the lines, safe for a terminal."""
    for line in _lines(found):
        yield safe(line)


def _lines(found: Explained) -> Iterator[str]:
    about = ", ".join(f"{name} {value}" for name, value in found.message.items())
    whom = f" for {found.user_id}" if found.user_id else ""
    tenant = f" of {found.tenant}" if found.tenant else ""
    if found.steps or found.groups:
        yield f"{found.message_id or 'the event'}{tenant}{whom}{f': {about}' if about else ''}"
    for step in found.steps:
        yield from _step(step)
    if found.groups:
        yield f"{found.users:,} users:"
    for group in found.groups:
        where = f" {group.platform}" if group.platform else ""
        yield (
            f"  {group.status} {group.reason}{where}: {group.decisions:,} decisions,"
            f" {group.users:,} users, such as {group.an_example}"
        )
    if found.now:
        yield f"Now: {found.now}"
    if found.profile is not None:
        yield "The user now:"
        yield from _profile(found.profile)
    yield from found.notes


def _step(step: Told) -> Iterator[str]:
    whom = " ".join(part for part in (step.device_id, step.platform) if part)
    attempt = f" attempt {step.attempt}" if step.attempt > 1 else ""
    yield f"  {step.at}  {step.status} {step.reason}{f'  {whom}' if whom else ''}{attempt}".rstrip()
    yield f"      {step.rule}"
    for name, value in (
        ("saw", step.seen),
        ("provider", f"{step.provider} {step.provider_id}".strip()),
        ("took", f"{step.latency_ms} ms from the event's arrival" if step.latency_ms >= 0 else ""),
        ("token", step.for_token),
        ("trace", step.trace_id),
        ("to change", "" if step.change.startswith("nothing") else step.change),
    ):
        if value:
            yield f"      {name}: {value}"


def _profile(profile: dict[str, Any]) -> Iterator[str]:
    for name, value in profile.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"  {name}:"
            for one in value:
                yield "    " + ", ".join(f"{key} {held}" for key, held in one.items())
        elif isinstance(value, list):
            yield f"  {name}: {', '.join(map(str, value)) or 'none'}"
        else:
            yield f"  {name}: {value}"
