"""The view of templates that people have published, for the flows that need them."""

from collections.abc import Iterable

from operators.find_template import Shelf, Shelves
from schemas.definitions import Kind
from state.definitions import Definitions, Watched


def templates_of(definitions: Definitions, tenants: Iterable[str]) -> Shelves:
    """Give the view."""
    return Watched(definitions, Kind.TEMPLATE, tenants, Shelf)
