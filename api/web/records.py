"""Records of the registry's topics, as requests make them."""

from collections.abc import Sequence

from pydantic import BaseModel

from api.web.door import Door
from api.web.outbox import NotTakenError
from api.web.problems import ProblemError, faulty
from schemas.decode import MAX_MESSAGE_BYTES, BadMessageError, check_nul
from schemas.stream import Record


def raw_of(record: BaseModel) -> bytes:
    """Give a record's bytes, which the registry will take. Raises ProblemError."""
    raw = record.model_dump_json(exclude_defaults=True).encode()
    if len(raw) > MAX_MESSAGE_BYTES:
        raise ProblemError(
            422, f"it would be {len(raw)} bytes as a record: use at most {MAX_MESSAGE_BYTES}"
        )
    try:
        check_nul(raw)
    except BadMessageError as error:
        raise faulty(str(error)) from None
    return raw


async def put(door: Door, records: Sequence[Record]) -> None:
    """Return once Kafka has them. Raises ProblemError: 503."""
    try:
        await door.outbox.put(records)
    except NotTakenError as error:
        raise ProblemError(
            503,
            f"Kafka did not acknowledge it: {error}; repeat the request",
            code="not_acknowledged",
            headers={"Retry-After": "1"},
        ) from None
