"""What a provider simulator sees and says: requests, responses, and ways to misbehave."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Action(Enum):
    """How the server treats the request's stream or connection."""

    ANSWER = "answer"
    """Send the response."""
    GOAWAY = "goaway"
    """Send the response, then GOAWAY (HTTP/1.1: Connection: close), and drain."""
    RESET = "reset"
    """RST_STREAM (HTTP/1.1: close the connection) instead of an answer."""
    RESET_BODY = "reset_body"
    """Send status, headers and half of the body, then as RESET."""
    CLOSE = "close"
    """Abort the connection with everything on it."""
    HANG = "hang"
    """Never answer; the client's timeout or the idle limit ends it."""


@dataclass(slots=True, eq=False)
class Connection:
    """One client connection, hashable by identity. state: the handler's memory of it."""

    http_version: str
    state: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """One complete request. headers: lower-case names, the last value of a repeated one.

    path: with its query. duplicates: the names that were sent more than once (cookie excepted,
    which HTTP/2 clients may split, RFC 9113 section 8.2.3). http_version: "1.1" or "2".
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    http_version: str
    connection: Connection
    duplicates: frozenset[str] = frozenset()


@dataclass(slots=True, frozen=True)
class Response:
    """What to send. delay_s: wait before acting. No hop-by-hop headers.

    goaway_debug, goaway_code: GOAWAY's additional data and HTTP/2 error code (0 is NO_ERROR).
    reset_code: RST_STREAM's error code (2 is INTERNAL_ERROR). max_concurrent_streams: before
    acting, tell the client in SETTINGS that the connection carries so many from now on; 0 leaves
    it as it is. Error codes: RFC 9113 section 7.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    action: Action = Action.ANSWER
    goaway_debug: bytes = b""
    goaway_code: int = 0
    reset_code: int = 2
    max_concurrent_streams: int = 0


Handler = Callable[[Request], Response]
Around = Callable[[Handler], Handler]
"""Puts something before a handler."""


def as_it_is(handler: Handler) -> Handler:
    """Put nothing before a handler."""
    return handler


NO_DUPLICATES: frozenset[str] = frozenset()


_field_name = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+").fullmatch
_bad_in_value = re.compile(r"[\0\r\n]|^[ \t]|[ \t]$").search
_REQUEST_PSEUDO_HEADERS = frozenset({":method", ":scheme", ":path", ":authority"})
_HTTP1_ONLY = frozenset(
    {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"},
)


def decode_headers(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Decode an HTTP/2 request's header block and check it.

    Raises ValueError on a malformed request. Source: RFC 9113 sections 8.2 and 8.3.
    """
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
    pseudo: set[str] = set()
    regular = False
    for name, value in pairs:
        if name.startswith(":"):
            if regular or name in pseudo or name not in _REQUEST_PSEUDO_HEADERS:
                raise ValueError(f"pseudo-header {name[:40]!r} is unknown, repeated or late")
            pseudo.add(name)
        elif not _field_name(name) or name in _HTTP1_ONLY:
            raise ValueError(f"header name {name[:40]!r} is not allowed")
        else:
            regular = True
        if (not value.isprintable() or value[:1] == " " or value[-1:] == " ") and (
            _bad_in_value(value)  # the slow way, for the few that are not plainly good
        ):
            raise ValueError(f"the value of header {name[:40]!r} has a forbidden character")
    if not pseudo >= {":method", ":scheme", ":path"}:
        raise ValueError("a required pseudo-header is missing")
    return pairs


def fold_headers(pairs: list[tuple[str, str]]) -> tuple[dict[str, str], frozenset[str]]:
    """Give the headers by name (lower-case names expected) and the repeated names."""
    folded = dict(pairs)
    if len(folded) == len(pairs):
        return folded, NO_DUPLICATES
    seen: set[str] = set()
    repeated: set[str] = set()
    for name, _ in pairs:
        (repeated if name in seen else seen).add(name)
    if "cookie" in repeated:
        folded["cookie"] = "; ".join(value for name, value in pairs if name == "cookie")
        repeated.discard("cookie")
    return folded, frozenset(repeated)
