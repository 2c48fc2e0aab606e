"""Why something that a person asked for cannot be done: said once, told by CLI and HTTP alike."""

from collections.abc import Sequence
from enum import StrEnum


class Why(StrEnum):
    """What stands in the way."""

    FAULTY = "faulty"
    """Something in what was asked; the text names the field and the fix."""
    MISSING = "missing"
    """What it is about is not there."""
    CONFLICT = "conflict"
    """What it is about is in another state; the text says what has to come first."""


class RefusedError(Exception):
    """It cannot be done; the text says what to do.

    faults: where there are several, each as (field, fix).
    """

    def __init__(
        self, text: str, why: Why = Why.FAULTY, *, faults: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(text)
        self.why = why
        self.faults = faults
