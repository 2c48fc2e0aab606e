"""Events: sent one by one or many at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

import msgspec

from api.client.areas import Area, M, method
from api.client.core import NDJSON, Request, Steps, Wait, decoded, json_body
from api.client.errors import BadAnswerError, Problem
from api.client.retrying import AGAIN

MAX_ITEMS = 1_000
"""Of one request; the API takes 10,000, but an answer that is lost makes fewer be sent again."""
MAX_BYTES = 4_194_304


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event, as docs/producers.md describes it. id: made up when it is not given."""

    type: str
    category: str
    audience: Mapping[str, Any]
    content: Mapping[str, Any] | None = None
    template: Mapping[str, Any] | None = None
    id: str | None = None
    tenant: str | None = None
    priority: str | None = None
    variables: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    created_at: str | None = None
    send_at: str | None = None
    expires_at: str | None = None
    ttl_s: int | None = None
    collapse_key: str | None = None
    campaign_id: str | None = None
    holdout_percent: float | None = None
    variants: Sequence[Mapping[str, Any]] | None = None
    digest: Mapping[str, Any] | None = None
    traceparent: str | None = None
    sandbox: bool = False
    schema_version: int = 1


@runtime_checkable
class Encodes(Protocol):
    """Gives its own JSON, as schemas.events.Event does."""

    def to_json(self) -> bytes:
        """Give UTF-8 JSON."""
        ...


AnyEvent = Event | Mapping[str, Any] | Encodes


class Result(msgspec.Struct, frozen=True):
    """What became of one event: the id under which it was taken, or the problem it has."""

    id: str | None = None
    problem: Problem | None = None

    @property
    def ok(self) -> bool:
        """Tell whether it was taken."""
        return self.problem is None

    @property
    def is_transient(self) -> bool:
        """Tell whether another attempt may succeed."""
        return self.problem is not None and self.problem.status in AGAIN


class _Taken(msgspec.Struct):
    id: str


class _Batch(msgspec.Struct):
    results: list[Result]


def line_of(event: AnyEvent) -> bytes:
    """Encode an event on one line, with an id and an idempotency key that repeats will bear.

    The key is the event's own, or else its id: what makes two events one stays what it is without
    this client. Raises TypeError for what is no JSON.
    """
    if isinstance(event, Encodes):
        found = msgspec.json.decode(event.to_json())
    elif isinstance(event, Event):
        found = msgspec.to_builtins(event)
    else:
        found = dict(event)
    if not isinstance(found, dict):
        raise TypeError("an event is an object")
    if found.get("id") is None:
        found["id"] = str(uuid4())
    if found.get("idempotency_key") is None:
        found["idempotency_key"] = found["id"]
    return json_body(found)


def portions(lines: Iterable[bytes], *, items: int, size: int) -> Iterable[list[bytes]]:
    """Cut lines into requests of at most so many items and bytes, in order; one is never split."""
    portion: list[bytes] = []
    filled = 0
    for line in lines:
        if portion and (len(portion) >= items or filled + len(line) + 1 > size):
            yield portion
            portion, filled = [], 0
        portion.append(line)
        filled += len(line) + 1
    if portion:
        yield portion


class Events(Area[M]):
    """`client.events`."""

    @method
    def send(self, event: AnyEvent) -> Steps[str]:
        """Send one event; give its id once Kafka has it. Sent again, it counts once.

        Raises ApiError, UnreachableError.
        """
        answer = yield from self._ask(
            "POST",
            "/v1/events",
            _Taken,
            body=msgspec.Raw(line_of(event)),
            headers={"Idempotency-Key": str(uuid4())},
        )
        return answer.id

    @method
    def send_many(self, events: Iterable[AnyEvent]) -> Steps[list[Result]]:
        """Send events, MAX_ITEMS a request; give a Result for each, in order.

        What Kafka did not acknowledge is sent again; what is faulty has its problem in its Result,
        and keeps nothing else back. Raises ApiError, UnreachableError when a whole request fails:
        sending all again, with ids, then does no harm.
        """
        results: list[Result] = []
        for portion in portions(map(line_of, events), items=MAX_ITEMS, size=MAX_BYTES):
            results += yield from self._until_taken(portion)
        return results

    def _until_taken(self, lines: list[bytes]) -> Steps[list[Result]]:
        results = yield from self.post_lines(lines)
        retry = self._core.retry
        for attempt in range(1, retry.attempts):
            left = [number for number, one in enumerate(results) if one.is_transient]
            if not left:
                break
            yield Wait(retry.wait_s(attempt, None))
            again = yield from self.post_lines([lines[number] for number in left])
            for number, result in zip(left, again, strict=True):
                results[number] = result
        return results

    def post_lines(self, lines: list[bytes]) -> Steps[list[Result]]:
        """Post lines of `line_of` in one request; for the producers."""
        headers = {"Content-Type": NDJSON, "Idempotency-Key": str(uuid4())}
        request = Request("POST", "/v1/events", None, b"\n".join(lines), headers)
        answer = yield from self._core.ask(request)
        results = decoded(answer, _Batch).results
        if len(results) != len(lines):
            raise BadAnswerError(f"{len(lines)} events were answered with {len(results)} results")
        return results

    @method
    def dry_run(self, event: AnyEvent) -> Steps[dict[str, Any]]:
        """Tell whom an event would reach, sending nothing."""
        answer = yield from self._ask(
            "POST",
            "/v1/events",
            dict[str, Any],
            params={"dry_run": "true"},
            body=msgspec.Raw(line_of(event)),
            headers={"Idempotency-Key": str(uuid4())},
        )
        return answer
