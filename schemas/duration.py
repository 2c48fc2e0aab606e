"""Durations as people write them: 90, "90s", "15m", "12h", "7d", "2w" or "1h30m"."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d{1,9})([smhdw])")
_WHOLE = re.compile(r"(?:\d{1,9}[smhdw]){1,5}")
PATTERN = r"^([0-9]{1,9}[smhdw]){1,5}$"

_SCHEMA: dict[str, Any] = {
    "format": "duration",
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": PATTERN}],
}


def seconds(value: object) -> object:
    """Text to seconds; numbers pass. Raises ValueError for anything else."""
    if isinstance(value, str):
        if _WHOLE.fullmatch(value) is None:
            raise ValueError("write seconds, or a duration such as '90s', '15m', '12h' or '7d'")
        return sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("write seconds, or a duration such as '90s', '15m', '12h' or '7d'")  # noqa: TRY004 - pydantic reports ValueError only
    return value


WholeSeconds = Annotated[int, BeforeValidator(seconds), WithJsonSchema(_SCHEMA)]
Seconds = Annotated[
    float, BeforeValidator(seconds), WithJsonSchema(_SCHEMA), Field(allow_inf_nan=False)
]
