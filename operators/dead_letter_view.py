"""What may be shown of a dead letter: everything, with device tokens and keys masked."""

from typing import Any

import msgspec

from operators.dead_letters import Filed, is_cut, tenant_of
from schemas import topics
from schemas.campaigns import Run
from schemas.masking import masked
from schemas.moments import moment
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import Chunk, Content, Delivery, Notice, Outcome, Timer, TokenDeath

SHOWN_CHARS = 2_000
SHOWN_USERS = 20
_MASKED = frozenset({"token", "p256dh", "auth"})

_KINDS: dict[str, type[msgspec.Struct]] = {
    **dict.fromkeys(topics.DELIVERIES.values(), Delivery),
    **dict.fromkeys(topics.CHUNKS.values(), Chunk),
    topics.OUTCOMES: Outcome,
    topics.TIMERS: Timer,
    topics.TOKEN_DEATHS: TokenDeath,
    topics.CAMPAIGNS: Run,
}
"""What lies on a topic, where that is msgpack; elsewhere it is JSON."""

_decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in {*_KINDS.values(), Content, Notice}}


def summary(filed: Filed) -> dict[str, Any]:
    """Give what a list says of a letter."""
    letter = filed.letter
    return {
        "id": str(filed.at),
        "at": moment(letter.at_ms),
        "tenant": tenant_of(letter.topic, letter.raw),
        "from": f"{letter.topic}/{letter.partition}/{letter.offset}",
        "error": letter.error,
        "lines": len(letter.history),
    }


def whole(filed: Filed) -> dict[str, Any]:
    """Give all there is to a letter, masked: what a list says, its history and its content."""
    letter = filed.letter
    listed = summary(filed)
    del listed["lines"]
    return {
        **listed,
        "key": letter.key.decode("utf-8", "replace"),
        "bytes": len(letter.raw),
        "cut": is_cut(letter),
        "history": [_dated(line) for line in letter.history],
        "content": content_of(letter.topic, letter.raw),
    }


def content_of(topic: str, raw: bytes) -> Any:
    """Decode a record of this topic as far as it can be; a text says why not."""
    kind = _KINDS.get(topic)
    try:
        if kind is None:
            return _without_secrets(msgspec.json.decode(raw))
        return _fields(_decoders[kind].decode(raw))
    except UNREADABLE as error:
        if topic in topics.EVENTS.values():
            return raw[: 4 * SHOWN_CHARS].decode("utf-8", "replace")[:SHOWN_CHARS]
        # Anywhere else a token might be in it, where nobody can tell.
        return f"{len(raw)} bytes, not shown as they cannot be read: {fault_of(error)}"


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    """Give a struct's fields that say something, what is packed in them unpacked."""
    found = {
        name: _masked(held) if name in _MASKED else held
        for name, held in msgspec.structs.asdict(value).items()
        if held not in ("", b"", (), {})
    }
    match value:
        case Delivery():
            found["content"] = _part(Content, value.content)
            found.pop("history", None)
        case Chunk():
            found["notice"] = _part(Notice, value.notice)
            found["users"] = [*value.users[:SHOWN_USERS]]
            found["user_count"] = len(value.users)
            found.pop("devices", None)
        case Timer():
            found["key"] = value.key.decode("utf-8", "replace")
            found["value"] = content_of(value.topic, value.value)
            found["due_at"] = moment(value.due_at_ms)
        case _:
            pass
    builtins: dict[str, Any] = msgspec.to_builtins(found)
    return builtins


def _part(kind: type[msgspec.Struct], raw: bytes) -> Any:
    try:
        return msgspec.structs.asdict(_decoders[kind].decode(raw))
    except UNREADABLE as error:
        return f"{len(raw)} bytes that cannot be read: {fault_of(error)}"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _masked(held) if key in _MASKED else _without_secrets(held)
            for key, held in value.items()
        }
    return [_without_secrets(held) for held in value] if isinstance(value, list) else value


def _masked(held: Any) -> str:
    return masked(held if isinstance(held, str) else str(held))


def _dated(line: str) -> str:
    """Write the time at the head of a line of history for people."""
    at_ms, _, said = line.partition(" ")
    return f"{moment(int(at_ms))} {said}" if at_ms.isdecimal() and len(at_ms) < 16 else line
