"""Errors as RFC 9457 problem documents: a stable code, the field and the fix."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from urllib3.exceptions import HTTPError

from api.publishing import ConflictError, PublishError
from api.refusals import RefusedError, Why
from schemas.decode import MAX_FAULTS, remedy
from state.errors import StateError

MEDIA_TYPE = "application/problem+json"
CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
"""Status -> the code where nothing says it better."""


class FieldFault(BaseModel):
    """One fault. field: its path in the request. fix: what to do."""

    field: str
    fix: str


class ProblemBody(BaseModel):
    """RFC 9457. code: stable, for programs; detail: for people; errors: by field."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldFault] = Field(default_factory=list)


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "content": {MEDIA_TYPE: {}}, "description": what}
    for status, what in {
        400: "No request that can be read",
        401: "Nobody that we know",
        403: "Not with this credential",
        404: "There is no such thing for this caller",
        408: "The body came too slowly",
        412: "It is another version by now: read it again",
        413: "The body is too large",
        415: "The body is of another kind",
        422: "Faults, each with its field and fix",
        429: "Too often; see Retry-After",
        503: "A store does not answer; try again",
    }.items()
}
"""What a route may answer beside its own, for the OpenAPI document."""


class ProblemError(HTTPException):
    """The request ends with this problem. field, fix: of the one fault, if it is about a field.

    An HTTPException, because FastAPI hides all others that come up while it reads a body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "",
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.status = status
        self.code = code or CODES.get(status, "error")
        self.errors = errors

    def __str__(self) -> str:
        """Give what is for people."""
        return self.detail

    def response(self) -> JSONResponse:
        """Give the answer."""
        return JSONResponse(
            document(self.status, self.code, self.detail, self.errors),
            status_code=self.status,
            headers=dict(self.headers or {}),
            media_type=MEDIA_TYPE,
        )


def document(
    status: int, code: str, detail: str, errors: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Give the document of a problem."""
    found: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if errors:
        found["errors"] = [{"field": field, "fix": fix} for field, fix in errors]
    return found


def not_found(what: str) -> ProblemError:
    """There is no such thing for this caller: of another tenant looks the same."""
    return ProblemError(404, f"there is no {what}")


_INNER = re.compile(r"([a-z_][a-z0-9_.]*): (.+)", re.DOTALL)
"""A path inside a field that is checked by itself, such as a campaign's message."""


def faulty(sentences: str, *, code: str = "invalid") -> ProblemError:
    """Faults as `schemas.decode` tells them: `path: what to do`, by semicolons."""
    errors = []
    for sentence in sentences.split("; "):
        field, colon, fix = sentence.partition(": ")
        if inner := _INNER.match(fix):
            field, fix = f"{field}.{inner[1]}", inner[2]
        if colon and " " not in field:
            errors.append((field, fix))
    return ProblemError(422, sentences, code=code, errors=errors)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own checks of path, query and body, in our words."""
    if not isinstance(error, RequestValidationError):
        raise error
    errors = []
    for one in error.errors()[:MAX_FAULTS]:
        place = [str(part) for part in one["loc"]]
        field = ".".join(place[1:] if place[0] == "body" else place) or "body"
        fix = remedy(ProblemBody, one)
        if field == "body" and one["type"] == "value_error":
            # A check of the whole body says itself which field it means.
            named, colon, rest = fix.partition(": ")
            field, fix = (named, rest) if colon and " " not in named else (field, fix)
        errors.append((field, fix))
    detail = "; ".join(f"{field}: {fix}" for field, fix in errors)
    return ProblemError(422, detail, errors=errors).response()


def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return ProblemError(error.status_code, str(error.detail), headers=error.headers).response()


def _problem(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ProblemError):
        raise error
    return error.response()


def _away(_request: Request, error: Exception) -> JSONResponse:
    return away(error)


def away(error: Exception) -> JSONResponse:
    """Tell that a store is away, and not what it said."""
    what = "the state store"
    if isinstance(error, PublishError):
        what = "Kafka"
    elif isinstance(error, (ClickHouseError, HTTPError)):
        what = "the analytics store"
    return ProblemError(
        503, f"{what} does not answer, try again", headers={"Retry-After": "1"}
    ).response()


def _conflict(_request: Request, error: Exception) -> JSONResponse:
    return ProblemError(409, str(error)).response()


_STATUSES: Mapping[Why, int] = {Why.FAULTY: 422, Why.MISSING: 404, Why.CONFLICT: 409}


def _refused(_request: Request, error: Exception) -> JSONResponse:
    """Tell what a service refused, as the command line tells it."""
    if not isinstance(error, RefusedError):
        raise error
    if error.why is Why.FAULTY and not error.faults:
        return faulty(str(error)).response()
    return ProblemError(_STATUSES[error.why], str(error), errors=error.faults).response()


def handle_problems(app: FastAPI) -> None:
    """Let every error end as a problem document."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StateError, _away)
    app.add_exception_handler(PublishError, _away)
    app.add_exception_handler(ClickHouseError, _away)
    app.add_exception_handler(HTTPError, _away)
    app.add_exception_handler(ConflictError, _conflict)
    app.add_exception_handler(RefusedError, _refused)
