"""What a fuzzed record is, and how it must end."""

from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

TENANT = "acme"
CATEGORY = "fuzz"
"""A category without caps; see FUZZ_TENANT for all that a run's tenant needs."""
USERS = 20
SECRET = "s3cr3t-0f-4-user"
"""Stands in places where only a careless error text would repeat it."""

FUZZ_TENANT: dict[str, Any] = {
    "name": TENANT,
    "shards": 4,
    "categories": {CATEGORY: {"quiet_hours": "ignore"}},
    "templates": {
        "hello": {"texts": {"en": {"title": "Hello {{ name }}", "body": "{{ note }}"}}},
        "lookup": {"texts": {"en": {"title": "{{ table[code] }}"}}},
    },
}


class End(StrEnum):
    """How a record must end."""

    READ = "read"
    """It is good: it leaves an outcome or a delivery, or is taken over."""
    LETTER = "letter"
    """It is none: a dead letter with its coordinates, and on route's topics an outcome."""
    EITHER = "either"
    """One of the two: a mutation that nobody can foresee."""


class Fuzzed(NamedTuple):
    """A record. reason: of the outcome that it must have, when it is well-formed but refused.

    message_id: of the event inside, "" when there is none to be read.
    """

    kind: str
    topic: str
    key: bytes | None
    value: bytes | None
    end: End
    message_id: str = ""
    reason: str = ""


class Seed:
    """What generators draw on. number: of the record, for its ids."""

    def __init__(self, rng: Random, number: int) -> None:
        self.rng = rng
        self.number = number

    @property
    def message_id(self) -> str:
        """Give an id that no other record of the run has."""
        return f"fuzz-{self.number}"

    def event(self, **changes: Any) -> dict[str, Any]:
        """Make a good event; a change of ... takes a field out."""
        whole = {
            "id": self.message_id,
            "tenant": TENANT,
            "type": "fuzz",
            "category": CATEGORY,
            "audience": {"users": [f"u{self.rng.randrange(USERS)}"]},
            "content": {"title": "Hello", "body": "World"},
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not ...}
