"""How `clarion segments` shows segments."""

from typing import Any

import msgspec

from api.cli import CommandError
from api.segment_stores import Stores
from api.times import clock
from schemas.definitions import Kind
from state.segment_work import RedisSegmentWork

RECORDS = "records"
"""The kind of a segment that users' own records make."""


def rows(stores: Stores) -> list[dict[str, Any]]:
    """Give a row for each segment, by name; members as of now."""
    tenant, shards = stores.tenant.name, stores.tenant.shards
    counting = stores.segments.generations(tenant)
    defined = stores.definitions.all(Kind.SEGMENT, tenant)
    notes = RedisSegmentWork(stores.client).notes(tenant)
    found = []
    for name in sorted({*stores.segments.names(tenant), *defined}):
        one = counting.get(name)
        kind = RECORDS if one is None and name not in defined else "building"
        found.append(
            {
                "name": name,
                "kind": kind if one is None else one.kind,
                "members": stores.segments.count(tenant, shards, name),
                "since": "" if one is None else clock(one.at_ms),
                "error": notes[name].error if name in notes else "",
            }
        )
    return found


def line_of(row: dict[str, Any]) -> str:
    """Give a row as text."""
    line = f"{row['name']:32} {row['kind']:9} {row['members']:>12,} {row['since']}".rstrip()
    return f"{line}  NOT BUILT: {row['error']}" if row["error"] else line


def details(stores: Stores, name: str) -> dict[str, Any]:
    """Give all that is known about a segment. Raises CommandError when there is none."""
    tenant = stores.tenant.name
    counting, defined, exists = stores.what_is(name)
    if not exists and defined is None:
        raise CommandError(f"name: there is no segment {name!r}; see clarion segments ls")
    found: dict[str, Any] = {
        "name": name,
        "kind": RECORDS if counting is None and defined is None else "building",
        "members": stores.segments.count(tenant, stores.tenant.shards, name),
    }
    if counting is not None:
        found |= {
            "kind": counting.kind,
            "since": clock(counting.at_ms),
            "members_then": counting.members,
            "generation": counting.generation,
        }
    if uploads := stores.uploads.of(tenant, name):
        found["uploads"] = uploads
    if defined is not None:
        found |= {"version": defined.version, "definition": msgspec.Raw(defined.body)}
        note = RedisSegmentWork(stores.client).notes(tenant).get(name)
        if note is not None:
            found["last_build"] = {
                "version": note.version,
                "at": clock(note.at_ms),
                "took_s": note.took_ms / 1_000,
                "error": note.error,
            }
    return found
