"""What calls to the API raise."""

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One fault of a request. field: its path. fix: what to do."""

    field: str = ""
    fix: str = ""


class Problem(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457). code: stable, for programs; detail: for people."""

    status: int = 0
    code: str = "error"
    detail: str = ""
    title: str = ""
    errors: tuple[Fault, ...] = ()


class ClarionError(Exception):
    """Anything that a call to the API may raise."""


class ApiError(ClarionError):
    """The API answered with a problem.

    status: of HTTP. code: stable, for programs, such as "bad_event". detail: for people. errors:
    each field at fault and the fix. retry_after_s: the server's wish in seconds, or None.
    request_id: as it stands in the audit log.
    """

    def __init__(
        self, problem: Problem, *, retry_after_s: float | None = None, request_id: str = ""
    ) -> None:
        super().__init__(f"{problem.status} {problem.code}: {problem.detail}")
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.detail = problem.detail
        self.errors = problem.errors
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class UnreachableError(ClarionError):
    """There was no answer, after all attempts. What was asked for may have been done."""


class BadAnswerError(ClarionError):
    """The answer is none of this API's: the address may be another service's."""


class ClosedError(ClarionError):
    """The producer is closed and takes nothing more."""


class FullError(ClarionError):
    """The producer's queue is full: the API takes events more slowly than they come."""


class NotDeliveredError(ClarionError):
    """The producer gave the event up; `__cause__` is the last thing that went wrong."""
