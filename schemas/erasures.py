"""Erasures: what was asked to be forgotten, how far that is, and the receipt."""

from enum import StrEnum
from typing import Annotated

import msgspec
from pydantic import Field

from schemas.content import Wire
from schemas.definitions import Definition

MINUTE_MS = 60_000
DAY_MS = 86_400_000
SWEEPS_AFTER_MS = (0, 10 * MINUTE_MS, 60 * MINUTE_MS, DAY_MS, 8 * DAY_MS, 31 * DAY_MS)
"""When the stores are swept, from the request on. The eighth day: topics keep records for seven.
The last: no message that has a time to live (28 days) is under way any more, nor its records."""
HELD_MS = SWEEPS_AFTER_MS[-1]
MAX_OPEN = 5_000
"""Erasures of a tenant that are not complete."""
KEPT_MS = 760 * DAY_MS
"""How long a receipt is kept: as long as the audit log, 25 months."""

_Time = Annotated[int, Field(strict=True, ge=0)]


class ErasureState(StrEnum):
    """How far an erasure is."""

    REQUESTED = "requested"
    """Messages to the user end; the stores are not swept yet."""
    ERASED = "erased"
    """Every store was swept at least once; what arrives late is swept again."""
    COMPLETE = "complete"
    """The last sweep is done, and only a keyed hash of the user's id is left."""


class StoreSwept(Wire):
    """What was removed from one store.

    removed: at least so many. at_ms: of the last sweep. note: what stays there, and until when.
    """

    store: Annotated[str, Field(max_length=64)]
    removed: Annotated[int, Field(strict=True, ge=0)] = 0
    at_ms: _Time = 0
    note: Annotated[str, Field(max_length=300)] = ""


class ErasureBody(Wire):
    """The body of a definition of kind erasure; its name is random. Times in epoch ms.

    user_id: empty once complete. user_hash: keyed, so that who has the key can tell whether it was
    this user. erased_ms: what is from before is meant; what is from later is a new user's.
    """

    user_id: Annotated[str, Field(max_length=128)] = ""
    user_hash: Annotated[str, Field(max_length=64)]
    state: ErasureState = ErasureState.REQUESTED
    erased_ms: _Time
    sweeps: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    first_swept_ms: _Time = 0
    completed_ms: _Time = 0
    stores: Annotated[tuple[StoreSwept, ...], Field(max_length=50)] = ()

    @property
    def due_ms(self) -> int:
        """When the next sweep is due."""
        return self.erased_ms + SWEEPS_AFTER_MS[min(self.sweeps, len(SWEEPS_AFTER_MS) - 1)]


class Erasure(msgspec.Struct, frozen=True):
    """An erasure as it stands. id: its name."""

    id: str
    tenant: str
    version: int
    body: ErasureBody


def erasure_of(definition: Definition) -> Erasure:
    """Read a definition of kind erasure. Raises ValueError."""
    body = ErasureBody.model_validate_json(definition.body)
    return Erasure(definition.name, definition.tenant, definition.version, body)
