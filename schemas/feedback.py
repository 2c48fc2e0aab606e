"""What apps and providers report after sending: delivered, opened, clicked, dismissed."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, SkipValidation

from schemas.content import Wire
from schemas.fields import Id, Name, Time, epoch_ms

MAX_REPORTS = 1_000
"""Reports in one request to the API."""
MAX_AGE_S = 7 * 86_400
"""What happened longer ago is not taken any more."""
MAX_AHEAD_S = 60
"""How far an app's clock may be ahead of ours."""
REMEMBERED_S = MAX_AGE_S + 86_400
"""How long a report is known again: longer than it may be repeated."""


class FeedbackKind(StrEnum):
    """What happened to the notification; the values are those of schemas.outcomes.Status."""

    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    DISMISSED = "dismissed"


class Feedback(Wire):
    """One report about one message. detail: such as the button clicked.

    campaign_id: as the app got it in its data; of a campaign's run the message's id tells it.
    """

    schema_version: Literal[1] = 1
    tenant: Name
    message_id: Id
    delivery_id: Id | None = None
    user_id: Id
    device_id: Id | None = None
    kind: FeedbackKind
    occurred_at: Time
    campaign_id: Id | None = None
    detail: Annotated[str, Field(max_length=500)] = ""

    @property
    def occurred_at_ms(self) -> int:
        """occurred_at in epoch milliseconds."""
        return epoch_ms(self.occurred_at)


class FeedbackReport(Wire):
    """One report to the API, which knows the tenant.

    user_id: may be left out, as device_id, where the credential is bound to one. occurred_at: at
    most 7 days ago. The same report counts once, however often it is sent.
    """

    message_id: Id
    delivery_id: Id | None = None
    user_id: Id | None = None
    device_id: Id | None = None
    kind: FeedbackKind
    occurred_at: Time
    campaign_id: Id | None = None
    detail: Annotated[str, Field(max_length=500)] = ""


class FeedbackReports(Wire):
    """Reports, each of them checked and answered by itself."""

    items: Annotated[
        list[SkipValidation[FeedbackReport]], Field(min_length=1, max_length=MAX_REPORTS)
    ]
