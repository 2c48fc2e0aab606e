"""The event of version 0: the format before this one. Frozen and still read: see upcast.py."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.content import Data
from schemas.fields import AppUrl, Id, Name, TtlS


class MessageV0(BaseModel):
    """What the user saw in version 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(max_length=500)] = ""
    text: Annotated[str, Field(max_length=4_000)] = ""
    link: AppUrl | None = None


class EventV0(BaseModel):
    """A notification in version 0. sent_at: seconds since the epoch. recipients: user ids."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Event v0")

    schema_version: Literal[0]
    id: Id
    tenant: Name
    kind: Name
    urgency: Literal["urgent", "normal", "bulk"] = "normal"
    recipients: Annotated[tuple[Id, ...], Field(min_length=1, max_length=100_000, fail_fast=True)]
    message: MessageV0
    extra: Data = Field(default_factory=dict)
    sent_at: Annotated[int, Field(strict=True, ge=946_684_800, le=4_102_444_800)] | None = None
    ttl: TtlS | None = None
