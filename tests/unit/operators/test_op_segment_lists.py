"""Uploads into the stores: as a simple model says, in order, replayed, and rebuilt beside it."""

from typing import Any

import msgspec
import pytest
from builders import NOW_MS, UNTIMED, FakeMessage, tenant
from hypothesis import given
from hypothesis import strategies as st

from operators.registration import decode_registrations
from operators.segment_lists import PartCleared, PutUp, TakenDown, WriteLists
from schemas.segment_lists import ListHead, ListPart, head_key, part_key
from schemas.segments import parse
from schemas.stream import Source
from schemas.topics import SEGMENTS
from state.memory import MemorySegments
from state.uploads import MemoryUploads

SHARDS = 4
USERS = "abcdef"
_encode = msgspec.msgpack.Encoder().encode


def message(key: bytes, value: Any, at_ms: int = NOW_MS) -> Any:
    raw = None if value is None else _encode(value)
    return FakeMessage(raw, Source(SEGMENTS, 0, 1), key, at_ms)


class Lists:
    """Both stores and their writer."""

    def __init__(self) -> None:
        self.segments, self.uploads = MemorySegments(), MemoryUploads()
        self.write = WriteLists({"acme": tenant()}, segments=self.segments, uploads=self.uploads)

    def members(self) -> set[str] | None:
        """Give who is in the list, None when there is none."""
        if not self.segments.exists("acme", ["s"]):
            return None
        shards = (self.segments.members("acme", n, parse("s")) for n in range(SHARDS))
        return {user for shard in shards for user in shard}


class Model:
    """A list as people think of it, and the records that say so."""

    def __init__(self) -> None:
        self.users: set[str] | None = None
        self.changes: list[Any] = []
        self._base = ""
        self._at_ms = NOW_MS

    def _part(self, upload: str, number: int, mode: Any, users: list[str]) -> None:
        self.changes.append(ListPart("acme", "s", upload, number, mode, tuple(users), self._base))

    def do(self, what: str, users: list[str]) -> None:
        self._at_ms += 1
        upload = f"{self._at_ms}-x"
        if what in {"replace", "abandon"}:
            for number, user in enumerate(users):
                self._part(upload, number, "replace", [user])
            if what == "replace":
                head = ListHead("acme", "s", upload, len(users))
                self.changes.append(PutUp(head, self._at_ms))
                self.users, self._base = set(users), upload
        elif what == "remove all":
            self.changes.append(TakenDown("acme", "s", self._at_ms))
            self.users, self._base = None, ""
        elif self.users is not None:
            self._part(upload, 0, what, users)
            self.users = self.users | set(users) if what == "add" else self.users - set(users)


_steps = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "add", "remove", "abandon", "remove all"]),
        st.lists(st.sampled_from(USERS), max_size=3),
    ),
    max_size=8,
)


def modelled(steps: list[tuple[str, list[str]]]) -> Model:
    model = Model()
    for step in steps:
        model.do(*step)
    return model


@UNTIMED
@given(_steps, st.integers(0, 30), st.integers(0, 30))
def test_a_list_is_what_was_done_to_it(
    steps: list[tuple[str, list[str]]], crash_at: int, back_to: int
) -> None:
    """Also when a part of it is done again, as after a crash."""
    model, lists = modelled(steps), Lists()
    crash_at = min(crash_at, len(model.changes))
    lists.write(model.changes[:crash_at])
    lists.write(model.changes[min(back_to, crash_at) :])
    assert lists.members() == model.users


@UNTIMED
@given(_steps, st.lists(st.booleans(), max_size=40))
def test_a_rebuild_beside_it_ends_alike(
    steps: list[tuple[str, list[str]]], turns: list[bool]
) -> None:
    """Both read everything, in whatever turns; the rebuild has the last."""
    model, lists = modelled(steps), Lists()
    live, rebuilt = list(model.changes), list(model.changes)
    for is_live in turns:
        if todo := live if is_live else rebuilt:
            lists.write([todo.pop(0)])
    lists.write(live)
    lists.write(rebuilt)
    assert lists.members() == model.users


def test_uploads_are_noted_until_they_are_cleared_away() -> None:
    """So that whoever replaces a list knows what to clear."""
    lists = Lists()
    part = ListPart("acme", "s", "1", 1, "replace", ("a",))
    lists.write([msgspec.structs.replace(part, number=n) for n in range(3)])
    assert lists.uploads.of("acme", "s") == {"1": 3}
    lists.write([PartCleared("acme", "s", "1", n) for n in (2, 1)])
    assert lists.uploads.of("acme", "s") == {"1": 3}
    lists.write([PartCleared("acme", "s", "1", 0)])
    assert lists.uploads.of("acme", "s") == {}


def test_what_is_not_of_lists_is_passed_on() -> None:
    """In its order."""
    assert Lists().write([1, ListPart("acme", "s", "1", 0, "add", ()), 2]) == [1, 2]


def test_records_are_read() -> None:
    """Parts, heads, and what has no value."""
    part = ListPart("acme", "s", "1/2", 3, "replace", ("a",))
    head = ListHead("acme", "s", "1/2", 4)
    messages = [
        message(part_key("acme", "s", "1/2", 3), part),
        message(head_key("acme", "s"), head),
        message(part_key("acme", "s", "1/2", 3), None),
        message(head_key("acme", "s"), None),
    ]
    changes, letters = decode_registrations(messages, NOW_MS)
    assert letters == []
    assert changes == [
        part,
        PutUp(head, NOW_MS),
        PartCleared("acme", "s", "1/2", 3),
        TakenDown("acme", "s", NOW_MS),
    ]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (b"acme", None, "the record key must be tenant/segment or"),
        (b"acme/s/1/x", None, "the record key must be tenant/segment or"),
        (b"acme/other", ListHead("acme", "s", "1", 1), "the record key must be acme/s, as the"),
        (b"acme/s/1/0", ListPart("acme", "s", "1", 1, "add", ()), "must be acme/s/1/1, as the"),
        (b"acme/s/1/0", ListPart("acme", "s", "1", 0, "add", ("a b",)), "Expected `str"),
        (b"a b/s", ListHead("a b", "s", "1", 1), "as the body says"),
        (b"a%20b/s", None, "must hold a tenant's name"),
        (b"acme/s", ListHead("acme", "", "1", 1), "length"),
    ],
)
def test_bad_records_become_dead_letters(key: bytes, value: Any, why: str) -> None:
    """And say why."""
    changes, (letter,) = decode_registrations([message(key, value)], NOW_MS)
    assert changes == []
    assert why in letter.error
