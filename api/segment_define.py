"""Segments that are defined: by a rule over profiles, or a query over ClickHouse."""

from collections.abc import Callable

import msgspec

from api.refusals import RefusedError, Why
from api.segment_stores import Stores, own_name
from operators.behaviour import sql_of
from operators.segment_lists import LIST
from schemas.definitions import Kind
from schemas.segment_definition import SegmentBody
from sinks.clickhouse_queries import RefusedQueryError
from state.segment_work import Note

MAX_DEFINED = 500
"""Rules and queries of a tenant: each profile that changes is judged by all rules."""
ASKED_ANEW = 0
"""In a note, a version that no definition has: the registry builds the segment at its next turn."""


def define(
    stores: Stores,
    name: str,
    body: SegmentBody,
    *,
    check: Callable[[str], None],
    over: int | None = None,
) -> int:
    """Define a segment, or define it anew; give its version. The registry builds it.

    check: looks at a query before it is kept; raises RefusedQueryError. over: the version that is
    replaced, 0 for none, None for whichever. Raises RefusedError, ConflictError, PublishError.
    """
    own_name(name)
    tenant = stores.tenant.name
    counting, defined, exists = stores.what_is(name)
    if exists and defined is None:
        is_list = counting is not None and counting.kind == LIST
        other = "an uploaded list" if is_list else "made of users' own records"
        raise RefusedError(f"name: {name!r} is {other}, choose another", Why.CONFLICT)
    if defined is None and len(stores.definitions.all(Kind.SEGMENT, tenant)) >= MAX_DEFINED:
        raise RefusedError(
            f"name: {tenant} has {MAX_DEFINED} already, remove one first", Why.CONFLICT
        )
    if body.rule is None:
        try:
            check(sql_of(body))
        except RefusedQueryError as error:
            raise RefusedError(str(error)) from error
    said = body.model_dump(mode="json", exclude_defaults=True)
    return stores.writer.put(Kind.SEGMENT, tenant, name, said, over=over)


def built(stores: Stores, name: str, version: int) -> Note | None:
    """Give what came of building this version, or a later one; None while it is not."""
    found = stores.work.notes(stores.tenant.name).get(name)
    return found if found is not None and found.version >= version else None


def ask_refresh(stores: Stores, name: str) -> int:
    """Let the registry build a rule or query at its next turn; give its version.

    A build that is under way counts as this one. Raises RefusedError.
    """
    tenant = stores.tenant.name
    defined = stores.definitions.get(Kind.SEGMENT, tenant, name)
    if defined is None:
        raise RefusedError(f"name: {name!r} is no rule or query", Why.MISSING)
    note = stores.work.notes(tenant).get(name)
    if note is not None:
        stores.work.note(tenant, {name: msgspec.structs.replace(note, version=ASKED_ANEW)})
    return defined.version
