"""Segments as the API answers with them."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from api.segment_upload import Uploaded
from state.segment_work import Note


class SegmentRow(BaseModel):
    """A segment in a list.

    kind: records, list, rule, query, or building. members: as of now. since: when what counts was
    switched to. error: why the last build failed, "" when it did not.
    """

    name: str
    kind: str
    members: int
    since: str = Field(description='ISO 8601, "" when it was never switched to')
    error: str


class LastBuild(BaseModel):
    """The last attempt to build a rule or query. error: "" when it went well.

    version: of the definition; 0 after a refresh was asked for and before it is built.
    """

    version: int
    at: str
    took_s: float
    error: str


class SegmentDetails(BaseModel):
    """All that is known about a segment.

    members_then: as many as there were when it was switched to. uploads: those on the topic, and
    how many parts each has. definition: of a rule or query, at this version.
    """

    name: str
    kind: str
    members: int
    since: str = ""
    members_then: int | None = None
    generation: str = ""
    uploads: dict[str, int] = Field(default_factory=dict)
    version: int | None = None
    definition: dict[str, Any] | None = None
    last_build: LastBuild | None = None


class SegmentDefined(BaseModel):
    """A rule or query that was defined, or is to be built anew.

    built: the registry has built this version; then members is exact and error says why not, if so.
    """

    name: str
    version: int
    built: bool = False
    members: int | None = None
    took_s: float | None = None
    error: str = ""


class BadLine(BaseModel):
    """A line that was left out. line: from 1."""

    line: int
    fault: str


class ListUploaded(BaseModel):
    """What came of an upload.

    users: read from the body. bad_lines: left out, of which `bad` has the first 20. applied: the
    registry has taken all of it; then members is how many the list has.
    """

    name: str
    mode: str
    upload: str
    users: int
    bad_lines: int
    bad: list[BadLine]
    applied: bool
    members: int | None = None


class SegmentEstimate(BaseModel):
    """How many users an expression means, exactly, as of now."""

    expression: str
    users: int


def defined_of(name: str, version: int, note: Note | None, members: int | None) -> SegmentDefined:
    """Say how far a definition is. note: of its build, None while there is none."""
    if note is None:
        return SegmentDefined(name=name, version=version)
    return SegmentDefined(
        name=name,
        version=version,
        built=not note.error,
        members=members,
        took_s=note.took_ms / 1_000,
        error=note.error,
    )


def uploaded_of(done: Uploaded, members: int | None) -> ListUploaded:
    """Say what came of an upload. members: None while the registry has not taken it."""
    return ListUploaded(
        name=done.name,
        mode=done.mode,
        upload=done.upload,
        users=done.users,
        bad_lines=done.bad,
        bad=[BadLine(line=one.number, fault=one.fault) for one in done.lines],
        applied=members is not None,
        members=members,
    )


def row_of(row: Mapping[str, Any]) -> SegmentRow:
    """Give a row of api/segment_view."""
    return SegmentRow(**row)
