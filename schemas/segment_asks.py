"""What people ask about segments over HTTP, beside their definitions."""

from typing import Annotated

from pydantic import Field

from schemas.content import Wire
from schemas.segments import MAX_CHARS


class EstimateAsk(Wire):
    """How many users an audience means. expression: such as "(buyers | trial) & eu - churned"."""

    expression: Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]
