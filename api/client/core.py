"""What the blocking and the asyncio client share: a call as a generator of steps.

A call yields `Send` and `Wait`, and is sent the reply; whoever drives it does the I/O. So requests,
retries and answers are written once.
"""

import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from api.client.errors import ApiError, BadAnswerError, Problem, UnreachableError
from api.client.retrying import AGAIN, AGAIN_IF_SAFE, Retry, retry_after_s

T = TypeVar("T")
JSON = "application/json"
NDJSON = "application/x-ndjson"
MAX_SHOWN_CHARS = 200
_SAFE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods whose second time changes nothing. Source: RFC 9110 §9.2.2."""
_encode = msgspec.json.Encoder().encode


class Request(NamedTuple):
    """One request, ready but for the credential. params: those that are None are left out."""

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = {}

    @property
    def is_safe(self) -> bool:
        """Tell whether doing it twice is the same as once."""
        return self.method in _SAFE or "Idempotency-Key" in self.headers


class Send(NamedTuple):
    """Send this; the reply is the response, or the error that kept it away."""

    request: Request


class Wait(NamedTuple):
    """Wait so long; the reply is None."""

    seconds: float


Reply = httpx.Response | httpx.TransportError | None
Steps = Generator[Send | Wait, Reply, T]


class Answer(NamedTuple):
    """A successful response, read."""

    content: bytes
    headers: Mapping[str, str]
    status: int


class Core:
    """Builds steps. now_s: seconds that only go on; wall_s: epoch seconds, for dates of headers."""

    def __init__(
        self,
        retry: Retry,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.retry = retry
        self._now_s = now_s
        self._wall_s = wall_s

    def ask(self, request: Request) -> Steps[Answer]:
        """Send a request until it is answered. Raises ApiError, UnreachableError."""
        began_s = self._now_s()
        attempt = 0
        while True:
            attempt += 1
            reply = yield Send(request)
            if isinstance(reply, httpx.Response) and reply.is_success:
                return Answer(reply.content, reply.headers, reply.status_code)
            error = self._error_of(request, reply)
            wait_s = self.retry.wait_s(attempt, getattr(error, "retry_after_s", None))
            late = self._now_s() + wait_s - began_s > self.retry.within_s
            if attempt >= self.retry.attempts or late or not _may_repeat(request, reply):
                raise error
            yield Wait(wait_s)

    def _error_of(self, request: Request, reply: Reply) -> ApiError | UnreachableError:
        if isinstance(reply, httpx.Response):
            return ApiError(
                problem_of(reply),
                retry_after_s=retry_after_s(reply.headers.get("Retry-After"), self._wall_s()),
                request_id=reply.headers.get("X-Request-ID", ""),
            )
        error = UnreachableError(f"{request.method} {request.path}: {_sentence(reply)}")
        error.__cause__ = reply
        return error


def _sentence(error: object) -> str:
    return str(error) or type(error).__name__


def _may_repeat(request: Request, reply: Reply) -> bool:
    """Tell whether another attempt does no harm.

    Without a connection nothing was asked; once it was sent, only what is safe is asked again.
    """
    if isinstance(reply, httpx.Response):
        status = reply.status_code
        return status in AGAIN or (status in AGAIN_IF_SAFE and request.is_safe)
    never_left = isinstance(reply, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    transient = not isinstance(reply, (httpx.UnsupportedProtocol, httpx.LocalProtocolError))
    return never_left or (transient and request.is_safe)


def problem_of(response: httpx.Response) -> Problem:
    """Read a problem document; what is none, such as a proxy's page, becomes one."""
    status = response.status_code
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = " ".join(response.text[:MAX_SHOWN_CHARS].split())
        return Problem(status, detail=text or response.reason_phrase)
    return msgspec.structs.replace(problem, status=status)


def decoded(answer: Answer, kind: type[T]) -> T:
    """Read an answer's JSON. Fields that this client does not know are let be.

    Raises BadAnswerError.
    """
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswerError(f"the answer is none of this API: {error}") from error


def path(template: str, *values: str) -> str:
    """Put values into the `{}` of a path, each percent-encoded: `path("/v1/users/{}", "u/1")`.

    Raises ValueError for an empty value, which would name another route.
    """
    if not all(values):
        raise ValueError(f"{template}: give every id, one is empty")
    # A segment of dots alone would be taken out of the path on its way.
    return template.format(*(quote(one, safe="").replace(".", "%2E") for one in values))


def json_body(value: Any) -> bytes:
    """Encode a body; fields of structs that are None or not given are left out."""
    return _encode(value)


class Paged(Generic[T]):
    """A list to be fetched page by page. name: of the list in the answer."""

    def __init__(self, core: Core, request: Request, kind: type[T], *, name: str = "items") -> None:
        self._core = core
        self._request = request
        self._kind = kind
        self._name = name

    def page(self, cursor: str) -> Steps[tuple[list[T], str]]:
        """Fetch one page: its items and the next cursor, "" when it is the last."""
        params = {**(self._request.params or {}), "cursor": cursor or None}
        answer = yield from self._core.ask(self._request._replace(params=params))
        raw = decoded(answer, dict[str, msgspec.Raw])
        items: list[T] = _list_of(raw, self._name, self._kind)
        following = decoded(answer, _Cursor).next_cursor or ""
        if following == cursor and following:
            raise BadAnswerError("the list does not go on: its next cursor is the last one")
        return items, following


class _Cursor(msgspec.Struct):
    next_cursor: str | None = None


def _list_of(raw: Mapping[str, msgspec.Raw], name: str, kind: type[T]) -> list[T]:
    try:
        return msgspec.json.decode(raw[name], type=list[kind])  # type: ignore[valid-type]
    except (KeyError, msgspec.DecodeError) as error:
        raise BadAnswerError(f"the answer is no page of a list: {error}") from error
