"""Answers as JSON, and how long a caller would wait for them."""

import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

JSON = "application/json"
MAX_WAIT_S = 10
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def answered(
    request: Request,
    body: BaseModel | None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Give the answer, with the rate-limit headers of the request. body: None for none."""
    said: dict[str, str] = {**getattr(request.state, "limit_headers", {}), **(headers or {})}
    if body is None:
        return Response(status_code=status, headers=said)
    return Response(body.model_dump_json(), status, said, media_type=JSON)


def wait_of(prefer: str) -> int:
    """Give the seconds of ``wait=N`` in a Prefer header, MAX_WAIT_S at most; 0 without it.

    Source: RFC 7240 §4.3. What cannot be read is passed over, as §2 says.
    """
    found = _WAIT.search(prefer)
    return min(int(found[1]), MAX_WAIT_S) if found is not None else 0


async def _prefer(
    prefer: Annotated[
        str,
        Header(
            max_length=200,
            description=f"`wait=N`: wait N seconds, {MAX_WAIT_S} at most, until it is applied",
        ),
    ] = "",
) -> int:
    # Async, though it waits for nothing: FastAPI runs plain functions in a thread.
    return wait_of(prefer)


WaitS = Annotated[int, Depends(_prefer)]
"""The parameter of routes that can wait, from the header Prefer; 0 is not to wait."""
