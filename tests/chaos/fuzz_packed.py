"""Fuzzed records of the topics inside, and of those that apps write: registry and feedback."""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from schemas import topics
from schemas.outcomes import Reason, Status
from schemas.pipeline import (
    Chunk,
    Content,
    Delivery,
    Notice,
    Outcome,
    Platform,
    Priority,
    Texts,
    Timer,
    TokenDeath,
)
from schemas.segment_lists import ListHead, ListPart
from tests.chaos.fuzz_input import CATEGORY, SECRET, TENANT, End, Fuzzed, Seed

Made = tuple[bytes | None, End]
NOW_MS = 1_770_000_000_000
DEEP = b"\x91" * 100_000 + b"\xc0"
_encode = msgspec.msgpack.Encoder().encode


def _notice(seed: Seed, **changes: Any) -> bytes:
    whole: dict[str, Any] = {
        "message_id": seed.message_id, "tenant": TENANT, "type": "fuzz", "category": CATEGORY,
        "priority": Priority.NORMAL, "accepted_at_ms": NOW_MS, "created_at_ms": NOW_MS,
        "texts": {"": Texts("Hello")}, **changes,
    }  # fmt: skip
    return _encode(Notice(**whole))


def _replaced(packed: bytes, place: int, by: bytes) -> bytes:
    """Put raw bytes in the place of one element of a msgpack array."""
    parts = [_encode(part) for part in msgspec.msgpack.decode(packed)]
    parts[place] = by
    return b"\xdc" + len(parts).to_bytes(2, "big") + b"".join(parts)


def _chunk(seed: Seed) -> Made:
    fine = Chunk(_notice(seed), ("u1",))
    deep = _replaced(_notice(seed), 12, b"\x81\xa1a" + DEEP)
    kinds: list[Made] = [
        (_encode(fine), End.READ),
        (_encode(Chunk(_notice(seed, tenant="gone"), ("u",))), End.LETTER),
        (_encode(Chunk(_notice(seed, tenant="t" * 300_000), ("u",))), End.LETTER),
        (_encode(Chunk(_notice(seed, expression="a &"), shard=1)), End.LETTER),
        (_encode(Chunk(_notice(seed, expression="a"), shard=4_000)), End.LETTER),
        (_encode(Chunk(_notice(seed), ("u",), ("d", "e"))), End.LETTER),
        (_encode(Chunk(_notice(seed))), End.LETTER),
        (_encode(Chunk(_replaced(_notice(seed), 4, _encode(SECRET * 20_000)), ("u",))), End.LETTER),
        (_encode(Chunk(deep, ("u",))), End.LETTER),
        (_encode(Chunk(_replaced(_notice(seed), 1, b"\xa2\xff\xfe"), ("u",))), End.LETTER),
        (_replaced(_encode(fine), 1, b"\x91\xa3\xed\xa0\x80"), End.LETTER),
        (_replaced(_encode(fine), 1, b"\xdd\xff\xff\xff\xff"), End.LETTER),
    ]
    return seed.rng.choice(kinds)


def _delivery_of(seed: Seed) -> Delivery:
    return Delivery(
        f"00000000-0000-8000-a000-{seed.number:012d}", seed.message_id, TENANT, "web",
        "u1", "d", Platform.FCM, Priority.NORMAL, CATEGORY, "fuzz", "t" * 30,
        _encode(Content("Hello")), NOW_MS, NOW_MS, NOW_MS,
    )  # fmt: skip


def _delivery(seed: Seed) -> Made:
    fine = _encode(_delivery_of(seed))
    kinds: list[Made] = [
        (_replaced(fine, 6, _encode(SECRET * 30_000)), End.LETTER),
        (_replaced(fine, 7, _encode("urgent")), End.LETTER),
        (_replaced(fine, 10, b"\xa2\xff\xfe"), End.LETTER),
        (_replaced(fine, 11, _encode("text")), End.LETTER),
        (_replaced(fine, 25, DEEP), End.LETTER),
        (_replaced(fine, 12, b"\xcb\x7f\xf8\0\0\0\0\0\0"), End.LETTER),
        (fine[: seed.rng.randrange(len(fine))], End.LETTER),
    ]
    return seed.rng.choice(kinds)


def _timer(seed: Seed) -> Made:
    def timer(topic: str, due_ms: int = 0) -> bytes:
        return _encode(Timer("t", due_ms, topic, b"k", _encode(Chunk(_notice(seed), ("u",)))))

    kinds: list[Made] = [
        (timer("chunks.normal"), End.READ),
        (timer("no.such.topic"), End.LETTER),
        (timer(""), End.LETTER),
        (timer("x" * 500), End.LETTER),
        (timer("../\0"), End.LETTER),
        (_replaced(timer("chunks.low"), 1, b"\xcb\x7f\xf0\0\0\0\0\0\0"), End.LETTER),
        (_replaced(timer("chunks.low"), 0, b"\xa1\xff"), End.LETTER),
        (_replaced(timer("chunks.low"), 4, DEEP), End.LETTER),
    ]
    return seed.rng.choice(kinds)


def _outcome(seed: Seed) -> Made:
    def outcome(**changes: Any) -> bytes:
        whole: dict[str, Any] = {
            "outcome_id": f"fuzz-o-{seed.number}", "occurred_at_ms": NOW_MS, "tenant": TENANT,
            "message_id": seed.message_id, "status": Status.SENT, "reason": Reason.ACCEPTED,
            **changes,
        }  # fmt: skip
        return _encode(Outcome(**whole))

    kinds: list[Made] = [
        (outcome(), End.READ),
        (outcome(occurred_at_ms=-1), End.LETTER),
        (outcome(occurred_at_ms=2**63), End.LETTER),
        (outcome(created_at_ms=NOW_MS * 1_000), End.LETTER),
        (outcome(attempt=70_000), End.LETTER),
        (outcome(latency_ms=2**64 - 1), End.LETTER),
        (_replaced(outcome(), 3, b"\xa2\xff\xfe"), End.LETTER),
        (_replaced(outcome(), 23, DEEP), End.LETTER),
        (outcome() + outcome(), End.LETTER),
    ]
    return seed.rng.choice(kinds)


def _feedback(seed: Seed) -> Made:
    said: dict[str, Any] = {
        "tenant": TENANT, "message_id": seed.message_id, "user_id": "u1",
        "kind": "opened", "occurred_at": "2026-02-02T00:00:00Z",
    }  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {"kind": "sent"}, {"kind": SECRET}, {"occurred_at": "9999-01-01T00:00:00Z"},
        {"detail": "x" * 501}, {"user_id": "\0"}, {"message_id": ""}, {"extra": 1},
        {"detail": "x" * 20_000}, {"schema_version": 2},
    ]  # fmt: skip
    if seed.rng.random() < 0.3:
        return json.dumps(said).encode(), End.READ
    return json.dumps({**said, **seed.rng.choice(wrong)}).encode(), End.LETTER


def _registration(seed: Seed, topic: str) -> Made:
    base: dict[str, Any] = {"tenant": TENANT, "user_id": f"fuzz-reg-{seed.number}"}
    device = {**base, "device_id": "d", "platform": "fcm", "app": "web",
              "token": f"{seed.number:030d}", "registered_at": "2026-02-02T00:00:00Z"}  # fmt: skip
    user = {**base, "updated_at": "2026-02-02T00:00:00Z"}
    whole = device if topic == topics.DEVICES else user
    wrong: list[dict[str, Any]] = [
        {"tenant": "a b"}, {"tenant": "{x}"}, {"user_id": ""}, {"user_id": "a\0"}, {"more": SECRET},
        {"user_id": "x" * 129}, {"schema_version": 9},
        {"registered_at": "1999-01-01T00:00:00Z", "updated_at": "x"},
    ]  # fmt: skip
    if seed.rng.random() < 0.3:
        return json.dumps(whole).encode(), End.READ
    return json.dumps({**whole, **seed.rng.choice(wrong)}).encode(), End.LETTER


def _user_event(seed: Seed) -> Made:
    said = {"tenant": TENANT, "user_id": f"fuzz-reg-{seed.number}", "id": f"e-{seed.number}",
            "name": "order", "occurred_at": "2026-02-02T00:00:00Z"}  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {"name": "a b"}, {"value": "x"}, {"properties": {"a": []}}, {"id": ""}, {"more": SECRET},
    ]  # fmt: skip
    if seed.rng.random() < 0.3:
        return json.dumps(said).encode(), End.READ
    return json.dumps({**said, **seed.rng.choice(wrong)}).encode(), End.LETTER


def _audit(seed: Seed) -> Made:
    said = {"tenant": TENANT, "audit_id": f"a-{seed.number}", "action": "PUT /x", "status": 200,
            "at": "2026-02-02T00:00:00Z"}  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {"tenant": "a b"}, {"audit_id": ""}, {"status": "200"}, {"count": 0}, {"more": SECRET},
        {"at": "1999-01-01T00:00:00Z"}, {"before": SECRET},
    ]  # fmt: skip
    if seed.rng.random() < 0.3:
        return json.dumps(said).encode(), End.READ
    return json.dumps({**said, **seed.rng.choice(wrong)}).encode(), End.LETTER


def _death(seed: Seed) -> Made:
    def death(tenant: str = TENANT, user: str = "u-x", at_ms: int = NOW_MS) -> bytes:
        return _encode(TokenDeath(tenant, user, "d", Platform.FCM, SECRET, at_ms,
                                  Reason.TOKEN_UNREGISTERED))  # fmt: skip

    kinds: list[Made] = [
        (death(), End.READ),
        (death(tenant="{a: b}"), End.LETTER),
        (death(tenant=""), End.LETTER),
        (death(user="a b"), End.LETTER),
        (death(at_ms=-1), End.LETTER),
        (death(at_ms=2**63 - 1), End.LETTER),
        (_replaced(death(), 3, _encode(SECRET)), End.LETTER),
        (_replaced(death(), 4, b"\xa1\xff"), End.LETTER),
        (None, End.LETTER),
    ]
    return seed.rng.choice(kinds)


def _definition(seed: Seed) -> Made:
    said = {"kind": "segment", "tenant": TENANT, "name": "s", "body": {},
            "updated_at": "2026-02-02T00:00:00Z"}  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {}, {"kind": "x"}, {"tenant": "a b"}, {"body": SECRET}, {"version": 0}, {"more": SECRET},
    ]  # fmt: skip
    # Also one without a fault: its record key is not its own.
    return json.dumps({**said, **seed.rng.choice(wrong)}).encode(), End.LETTER


def _list(seed: Seed) -> Made:
    part = ListPart(TENANT, "s", "u", 0, "replace", ("u1",))
    # Also one without a fault: its record key is not its own.
    kinds = [
        _encode(part),
        _replaced(_encode(part), 3, b"\xff"),
        _encode(ListHead(TENANT, "s", "u", 1)),
    ]
    return seed.rng.choice(kinds), End.LETTER


def _noise(seed: Seed) -> Made:
    # 0xc1 is never used in msgpack, and begins no JSON either.
    return seed.rng.choice((b"", b"\xc1" + seed.rng.randbytes(40), DEEP, b"\xdd\xff\xff\xff\xff",
                            b"\xc6\xff\xff\xff\xff", b"\x80" * 30)), End.LETTER  # fmt: skip


_MAKERS: dict[str, Callable[[Seed], Made]] = {
    topics.CHUNKS[Priority.NORMAL]: _chunk,
    topics.DELIVERIES[Platform.FCM, Priority.NORMAL]: _delivery,
    topics.TIMERS: _timer,
    topics.OUTCOMES: _outcome,
    topics.FEEDBACK: _feedback,
    topics.DEVICES: lambda seed: _registration(seed, topics.DEVICES),
    topics.USERS: lambda seed: _registration(seed, topics.USERS),
    topics.PREFERENCES: lambda seed: _registration(seed, topics.PREFERENCES),
    topics.TOKEN_DEATHS: _death,
    topics.DEFINITIONS: _definition,
    topics.SEGMENTS: _list,
    topics.USER_EVENTS: _user_event,
    topics.AUDIT: _audit,
}
PACKED_TOPICS = tuple(_MAKERS)


def fuzzed_record(seed: Seed, topic: str) -> Fuzzed:
    """Make one record of a topic other than events."""
    make = _noise if seed.rng.random() < 0.2 else _MAKERS[topic]
    value, end = make(seed)
    return Fuzzed(f"{topic} {make.__name__}", topic, b"\xff/" + seed.rng.randbytes(3), value, end,
                  seed.message_id if end is End.READ else "")  # fmt: skip
