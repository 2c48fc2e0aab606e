"""Decisions in words: each of them, where they lead, and the profile as it is now."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from api.explained import Told
from operators.seen import UNTIL, windows_seen
from schemas.explanations import explanation_of
from schemas.masking import masked
from schemas.moments import exact_moment, moment
from schemas.outcomes import Status, TokenAction
from sinks.outcome_history import Decision, Group
from state.profiles import Profile

LATE_MS = 120_000
"""Held for longer than its time by this much, something is not running."""
_WAITING = frozenset({Status.DEFERRED.value, Status.RETRY.value})
_FEEDBACK = frozenset(
    {
        Status.DELIVERED.value,
        Status.OPENED.value,
        Status.CLICKED.value,
        Status.DISMISSED.value,
    }
)
_TIME = re.compile(UNTIL + r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


def where_it_stands(decisions: Sequence[Decision], groups: Sequence[Group], now_ms: int) -> str:
    """Say in a line whether it has ended, and what is still held."""
    last: dict[tuple[str, str], Decision] = {}
    newest_ms = 0
    for one in decisions:
        if one.status in _FEEDBACK:
            continue
        last[one.user_id, one.delivery_id] = one
        newest_ms = max(newest_ms, one.occurred_at_ms)
    waiting = [
        one
        for one in last.values()
        if one.status in _WAITING
        # What was held as a whole is over once anything came after it.
        and (one.delivery_id or (one.occurred_at_ms >= newest_ms and not groups))
    ]
    ended = [one for one in last.values() if one.status not in _WAITING]
    parts = [f"{len(ended)} ended"] if ended else []
    for one in waiting:
        until = _until(one)
        where = one.device_id or one.user_id or "the message"
        late = until and datetime.fromisoformat(until).timestamp() * 1_000 < now_ms - LATE_MS
        held = "waits for its next attempt" if one.status == Status.RETRY else "is held"
        parts.append(
            f"{where} {held}{f' until {until}' if until else ''}{', overdue' if late else ''}"
        )
    return "; ".join(parts)


def profile_now(profile: Profile) -> dict[str, Any]:
    """Show a profile as it is now: no token, and nothing that says nothing."""
    windows = (profile.quiet_hours, *profile.more_quiet_hours) if profile.quiet_hours else ()
    shown: dict[str, Any] = {
        "devices": [
            {
                "device_id": one.device_id,
                "platform": one.platform.value,
                "app": one.app,
                "token": masked(one.token),
                "registered_at": moment(one.registered_at_ms),
            }
            for one in profile.devices
        ],
        "locale": profile.locale,
        "time_zone": profile.time_zone,
        "country": profile.country,
        "opted_out_all": profile.opted_out_all,
        "opted_out_categories": list(profile.opted_out_categories),
        "opted_out_channels": list(profile.opted_out_platforms),
        "choices": [
            {
                name: value
                for name, value in (
                    ("allow", one.allow),
                    ("type", one.type),
                    ("category", one.category),
                    ("channel", one.platform),
                )
                if value != ""
            }
            for one in profile.choices
        ],
        "muted_until": moment(profile.muted_until_ms) if profile.muted_until_ms else "",
        "quiet_hours": windows_seen(profile.time_zone, windows, "the user's") if windows else "",
        "segments": list(profile.segments),
        "updated_at": moment(max(profile.updated_at_ms, profile.preferences_at_ms)),
    }
    return {name: value for name, value in shown.items() if value or name == "devices"}


def told(one: Decision) -> Told:
    """Put a decision into words."""
    rule, change = explanation_of(one.reason)
    answered = one.attempt > 0 and one.status != Status.DEFERRED
    words = f"{one.provider_status or ''} {one.detail}".strip()
    return Told(
        at=exact_moment(one.occurred_at_ms),
        status=one.status,
        reason=one.reason,
        rule=rule,
        change=change,
        seen="" if answered else one.detail,
        until=_until(one),
        user_id=one.user_id,
        device_id=one.device_id,
        platform=one.platform,
        attempt=one.attempt,
        provider=words if answered else "",
        provider_id=one.provider_id,
        latency_ms=one.latency_ms,
        for_token="" if one.token_action == TokenAction.KEEP else one.token_action,
        trace_id=one.trace_id,
    )


def _until(one: Decision) -> str:
    found = _TIME.match(one.detail) if one.status in _WAITING else None
    return found[1] if found else ""


def message_of(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Give what is known of the message itself."""
    names = ("type", "category", "priority", "campaign_id")
    known = next((one for one in decisions if one.category), None)
    if known is None:
        return {}
    shown: dict[str, Any] = {name: value for name in names if (value := getattr(known, name))}
    return {**shown, "sandbox": True} if known.sandbox else shown
