"""Changes that hold only for what the caller has seen: ETag, If-Match, If-None-Match.

Source: RFC 9110 §13.1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NamedTuple

from fastapi import Depends, Header

from api.publishing import ConflictError
from api.web.problems import ProblemError

_CHARS = 200


def etag(version: object) -> str:
    """Give the ETag of a version."""
    return f'"{version}"'


class Condition(NamedTuple):
    """What must hold of the thing before it is changed; "" for whatever."""

    if_match: str = ""
    if_none_match: str = ""

    def over(self, version: int) -> int | None:
        """Give the version that is to be replaced, 0 for none, None for whichever.

        version: what there is now, 0 for nothing. Raises ProblemError: 412.
        """
        if self.if_none_match:
            if self.if_none_match.strip() != "*":
                fix = 'use "*": the thing must not be there yet'
                raise ProblemError(422, f"If-None-Match: {fix}", errors=[("If-None-Match", fix)])
            if version:
                raise _changed("it is there already")
            return 0
        if not self.if_match:
            return None
        wanted = {one.strip() for one in self.if_match.split(",")}
        if not version or not wanted & {"*", etag(version)}:
            raise _changed(f"it is at version {version} by now" if version else "it is not there")
        return version

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Answer with 412 when another came first after all."""
        try:
            yield
        except ConflictError as error:
            if not any(self):
                raise
            raise _changed(str(error)) from error


def _changed(why: str) -> ProblemError:
    return ProblemError(412, f"{why}: read it again, and make your change to that")


async def _condition(
    if_match: Annotated[
        str, Header(max_length=_CHARS, description="the ETag that it must have, else 412")
    ] = "",
    if_none_match: Annotated[
        str, Header(max_length=_CHARS, description="`*`: it must not be there yet, else 412")
    ] = "",
) -> Condition:
    # Async, though it waits for nothing: FastAPI runs plain functions in a thread.
    return Condition(if_match, if_none_match)


When = Annotated[Condition, Depends(_condition)]
"""The parameter of routes that change something."""
