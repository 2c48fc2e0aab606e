"""Segments as people and machines read them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from api.segment_stores import Stores, no_segment
from api.times import clock
from schemas.definitions import Kind

RECORDS = "records"
"""The kind of a segment that users' own records make."""


def names(stores: Stores) -> list[str]:
    """Give the names of all segments that exist or are defined, sorted."""
    tenant = stores.tenant.name
    return sorted({*stores.segments.names(tenant), *stores.definitions.all(Kind.SEGMENT, tenant)})


def rows(stores: Stores, shown: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Give a row for each segment, by name; members as of now. shown: their names, else all."""
    tenant = stores.tenant.name
    counting = stores.segments.generations(tenant, shown)
    defined = stores.definitions.all(Kind.SEGMENT, tenant)
    notes = stores.work.notes(tenant)
    found = []
    for name in names(stores) if shown is None else shown:
        one = counting.get(name)
        kind = RECORDS if one is None and name not in defined else "building"
        found.append(
            {
                "name": name,
                "kind": kind if one is None else one.kind,
                "members": stores.count(name),
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
    """Give all that is known about a segment. Raises RefusedError when there is none."""
    tenant = stores.tenant.name
    counting, defined, exists = stores.what_is(name)
    if not exists and defined is None:
        raise no_segment(name)
    found: dict[str, Any] = {
        "name": name,
        "kind": RECORDS if counting is None and defined is None else "building",
        "members": stores.count(name),
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
        note = stores.work.notes(tenant).get(name)
        if note is not None:
            found["last_build"] = {
                "version": note.version,
                "at": clock(note.at_ms),
                "took_s": note.took_ms / 1_000,
                "error": note.error,
            }
    return found
