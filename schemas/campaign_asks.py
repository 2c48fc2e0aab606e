"""What people ask about campaigns over HTTP."""

from typing import Annotated, Any

from pydantic import Field

from schemas.campaigns import CampaignId, Ramp, Schedule
from schemas.content import Wire
from schemas.fields import Id, Name

MAX_TEST_USERS = 100


class CampaignAsk(Wire):
    """A campaign as its author writes it; see schemas/campaigns. id, tenant: as the address says.

    message: an event without id and times, for a segment or everyone.
    """

    id: CampaignId | None = None
    tenant: Name | None = None
    message: Annotated[dict[str, Any], Field(max_length=100)]
    schedule: Schedule = Schedule()
    users_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000_000)] | None = None
    ramp: Ramp | None = None


class TestSendAsk(Wire):
    """Who gets the campaign's message now."""

    __test__ = False

    users: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_TEST_USERS)]
