"""Definitions on the registry's way: stored, and the rest passed on."""

import json
from typing import Any

from builders import NOW_MS, FakeMessage

from operators.define import Define
from operators.registration import UserChange, decode_registrations
from schemas.definitions import Definition, Kind, definition_key
from schemas.stream import Source
from schemas.topics import DEFINITIONS, USERS
from state.definitions import Removed
from state.memory import MemoryDefinitions

KEY = definition_key(Kind.SEGMENT, "acme", "a/b c"[:3])
SAID = {
    "kind": "segment",
    "tenant": "acme",
    "name": "a/b",
    "version": 3,
    "updated_at": "2026-01-05T08:00:00Z",
    "body": {"any": [1, {"x": "ü"}]},
}


def message(value: Any, key: bytes = KEY, topic: str = DEFINITIONS) -> Any:
    raw = value if value is None else json.dumps(value).encode()
    return FakeMessage(raw, Source(topic, 0, 1), key, NOW_MS)


def test_a_record_becomes_a_definition_as_of_kafkas_time() -> None:
    """Whatever time its writer believes it is."""
    (found,), letters = decode_registrations([message(SAID)], NOW_MS)
    assert not letters
    body = '{"any":[1,{"x":"ü"}]}'.encode()
    assert found == Definition(Kind.SEGMENT, "acme", "a/b", 3, body, NOW_MS)


def test_a_tombstone_removes_by_its_key() -> None:
    """Which is percent-encoded."""
    (found,), _ = decode_registrations([message(None)], NOW_MS)
    assert found == Removed(Kind.SEGMENT, "acme", "a/b", NOW_MS)


def test_a_bad_record_says_what_to_do() -> None:
    """And becomes a dead letter, for nothing is lost."""
    bad = [
        (message({**SAID, "kind": "x"}), "kind"),
        (message({**SAID, "version": 0}), "version"),
        (message({**SAID, "body": []}), "body"),
        (message(SAID, b"segment/acme/other"), "the record key must be segment/acme/a%2Fb"),
        (message(None, b"segment/acme"), "kind/tenant/name"),
        (message(None, b"thing/acme/x"), "template, segment, campaign"),
        (message(None, b"segment/a b/x"), "tenant's name"),
    ]
    for one, expected in bad:
        changes, (letter,) = decode_registrations([one], NOW_MS)
        assert not changes
        assert expected in letter.error


def test_definitions_are_stored_and_the_rest_goes_on() -> None:
    """In the order in which it came."""
    store = MemoryDefinitions()
    gone = message(None, b"acme/u1", USERS)
    changes, _ = decode_registrations([gone, message(SAID), gone], NOW_MS)
    rest = Define(store)(changes)
    assert rest == [UserChange("acme", "u1", None, NOW_MS)] * 2
    assert list(store.all(Kind.SEGMENT, "acme")) == ["a/b"]
