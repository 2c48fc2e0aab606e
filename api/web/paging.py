"""Pages of lists: a limit, and a cursor that is signed so that nobody makes one up."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from api.auth.signing import BadSignatureError, Purpose, Signer
from api.web.problems import ProblemError

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=1_000, description="how many at most")]
CostlyLimit = Annotated[int, Query(ge=1, le=200, description="how many at most")]
"""Of lists of which every item asks the stores anew."""
Cursor = Annotated[str, Query(max_length=1_024, description="of the page before, or nothing")]
DEFAULT_LIMIT = 100


class Page(BaseModel, Generic[T]):
    """A part of a list. next_cursor: null on the last page."""

    items: list[T]
    next_cursor: str | None = None


def after(signer: Signer, what: str, cursor: str, now_ms: int) -> str:
    """Give the name after which a page begins, "" for the first. Raises ProblemError.

    what: the list, such as "acme/segments"; a cursor of another list does not hold.
    """
    if not cursor:
        return ""
    try:
        of, last = signer.open(Purpose.CURSOR, cursor, now_ms)
    except (BadSignatureError, ValueError, TypeError):
        of = last = ""
    if of != what:
        fix = "use next_cursor of the page before, as it was"
        raise ProblemError(422, f"cursor: {fix}", errors=[("cursor", fix)])
    return str(last)


def page_of(
    items: Sequence[T], *, signer: Signer, what: str, limit: int, name_of: Callable[[T], str]
) -> Page[T]:
    """Give a page. items: up to limit + 1 of them, by name, after the cursor."""
    shown = list(items[:limit])
    more = len(items) > limit
    cursor = signer.sign(Purpose.CURSOR, [what, name_of(shown[-1])]) if more else None
    return Page(items=shown, next_cursor=cursor)
