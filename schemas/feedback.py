"""What apps and providers report after sending: delivered, opened, clicked, dismissed."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.content import Wire
from schemas.fields import Id, Name, Time, epoch_ms


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
