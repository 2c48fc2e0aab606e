"""Definitions into the shared state, where flows and the API read them."""

from typing import Any

from schemas.definitions import Definition
from state.definitions import Definitions, Removed


class Define:
    """Stores the definitions of a batch and passes on the rest.

    Each write is idempotent: a replayed batch leaves the same state.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def __call__(self, changes: list[Any]) -> list[Any]:
        """Write all of a batch in one round trip; none when it holds no definition."""
        defined = [one for one in changes if isinstance(one, (Definition, Removed))]
        if not defined:
            return changes
        self._definitions.apply(defined)
        return [one for one in changes if not isinstance(one, (Definition, Removed))]
