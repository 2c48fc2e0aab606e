"""What the groups of settings are made of."""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.fields import NAME_PATTERN, WEB_URL_PATTERN

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=NAME_PATTERN)]
HttpUrl = Annotated[str, Field(max_length=500, pattern=WEB_URL_PATTERN)]
TimeoutS = Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class Group(BaseModel):
    """A group of settings: CLARION_<GROUP>__<NAME>."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_by_commas(value: object) -> object:
    """Take `critical,high` as well as a list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("write names with commas between, such as critical,high") from None
    return [part.strip() for part in value.split(",") if part.strip()]
