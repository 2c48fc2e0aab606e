"""Taking a message back."""

from api.publishing import DefinitionWriter
from operators.recall import MESSAGE_PREFIX, message_control
from schemas.campaigns import Control, ControlState, control_of
from schemas.definitions import MAX_PER_KIND, Kind
from state.definitions import Definitions

KEPT_MS = 30 * 86_400_000
"""Longer than any message lives."""
SWEPT_AT_ONCE = 100


class RecallError(Exception):
    """Too many messages are taken back already; the message says so."""


def cancel_message(
    tenant: str,
    message_id: str,
    *,
    definitions: Definitions,
    writer: DefinitionWriter,
    now_ms: int,
    by: str = "",
) -> Control:
    """Retract what of a message has not left for a provider; seen everywhere within a second.

    What is taken back already stays as it is. Recalls older than any message are swept on the way.
    Gives what holds now. Raises RecallError, PublishError, StateError.
    """
    known = definitions.all(Kind.CONTROL, tenant)
    name = message_control(message_id)
    if name in known and (held := control_of(known[name])).state is ControlState.CANCELLED:
        return held
    old = [
        each
        for each, one in known.items()
        if each.startswith(MESSAGE_PREFIX) and one.at_ms < now_ms - KEPT_MS
    ]
    if len(known) - len(old) >= MAX_PER_KIND:
        raise RecallError(f"{MAX_PER_KIND} messages and campaigns are stopped already")
    control = Control(state=ControlState.CANCELLED, by=by)
    writer.put(Kind.CONTROL, tenant, name, control.model_dump(mode="json"))
    for swept in old[:SWEPT_AT_ONCE]:
        writer.remove(Kind.CONTROL, tenant, swept)
    return control
