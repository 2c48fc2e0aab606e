"""What users did, as producers tell it: the facts that behaviour segments count."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.content import Wire
from schemas.decode import check_json
from schemas.fields import Id, Name, Time, epoch_ms

MAX_PROPERTIES_BYTES = 4_096

_Text = Annotated[str, Field(max_length=1_000)]


class UserEvent(Wire):
    """One thing that a user did, such as `order`.

    id: unique among the tenant's; the same id is counted once. value: such as the order's amount.
    properties: what else is to be known about it, for SQL.
    """

    schema_version: Literal[1] = 1
    tenant: Name
    user_id: Id
    id: Id
    name: Name
    occurred_at: Time
    value: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    properties: Annotated[
        dict[Name, _Text | int | float | bool], Field(default_factory=dict, max_length=50)
    ]

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_json(self.properties, "properties", max_bytes=MAX_PROPERTIES_BYTES)
        return self

    @property
    def occurred_at_ms(self) -> int:
        """occurred_at in epoch milliseconds."""
        return epoch_ms(self.occurred_at)
