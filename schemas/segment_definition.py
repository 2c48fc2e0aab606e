"""The body of a definition of kind `segment`: a rule over profiles, or a query over ClickHouse."""

import re
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import Field, ValidationError, field_validator, model_validator

from schemas.content import Wire
from schemas.decode import explain, faults
from schemas.duration import WholeSeconds
from schemas.fields import GROUP_PREFIX, TOPIC_PREFIX, Id, Name
from schemas.registry import EVERYONE
from schemas.segment_rules import AGES, BadRuleError, conditions, parse_rule

MAX_SQL_CHARS = 20_000
MIN_EVERY_S = 60
DEFAULT_EVERY_S = 900

_NAME = re.compile(r"^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}$")
_Days = Annotated[int, Field(strict=True, ge=1, le=395)]
_Feedback = Literal["sent", "delivered", "opened", "clicked", "dismissed", "failed", "suppressed"]


class BadSegmentBodyError(ValueError):
    """The body defines no segment; the message names each field and what to do."""


def check_name(name: str) -> str:
    """Give a name back that a list, rule or query may have. Raises BadSegmentBodyError."""
    if not _NAME.match(name):
        raise BadSegmentBodyError(
            "name: use 1 to 64 letters, digits, '_', '.' and '-', not starting with '-'"
        )
    if name == EVERYONE or name.startswith((TOPIC_PREFIX, GROUP_PREFIX)):
        raise BadSegmentBodyError(
            f"name: {EVERYONE!r} and names that begin with {TOPIC_PREFIX!r} or {GROUP_PREFIX!r} are"
            " kept by Clarion, choose another"
        )
    return name


class Behaviour(Wire):
    """What users did: so many times within so many days.

    did: an outcome of messages (sent, delivered, opened, clicked, ...), or the name of an event of
    users' own, given as `event`. at_least, at_most: how often; at_most 0 means those users among
    the tenant's who did not. campaign, type, category: of the message.
    """

    did: _Feedback | None = None
    event: Name | None = None
    within_days: _Days = 30
    at_least: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    at_most: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None
    campaign: Id | None = None
    type: Name | None = None
    category: Name | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.did is None) == (self.event is None):
            raise ValueError("give exactly one of did and event")
        if self.event is not None and (self.campaign or self.type or self.category):
            raise ValueError("campaign, type, category: are of messages, use them with did")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least: must not be more than at_most")
        return self


class SegmentBody(Wire):
    """A segment as people define it: exactly one of rule, behaviour and sql.

    every: seconds between two looks at what changes with time: queries, and rules on ages.
    """

    rule: dict[str, Any] | None = None
    behaviour: Annotated[tuple[Behaviour, ...], Field(min_length=1, max_length=10)] | None = None
    sql: Annotated[str, Field(min_length=1, max_length=MAX_SQL_CHARS)] | None = None
    every: Annotated[WholeSeconds, Field(ge=MIN_EVERY_S, le=31 * 86_400)] = DEFAULT_EVERY_S
    description: Annotated[str, Field(max_length=1_000)] = ""

    @field_validator("behaviour", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        """Let one stand without a list."""
        return (value,) if isinstance(value, (dict, Behaviour)) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(one is not None for one in (self.rule, self.behaviour, self.sql)) != 1:
            raise ValueError("give exactly one of rule, behaviour and sql")
        if self.rule is not None:
            try:
                parse_rule(self.rule)
            except BadRuleError as error:
                raise ValueError(str(error)) from error
        return self

    @property
    def has_ages(self) -> bool:
        """Whether members change by time alone."""
        return self.rule is not None and any(
            one.field in AGES for one in conditions(parse_rule(self.rule))
        )


def read_body(raw: bytes) -> SegmentBody:
    """Read a body. Raises BadSegmentBodyError."""
    try:
        return SegmentBody.model_validate_json(raw)
    except ValidationError as error:
        raise BadSegmentBodyError(explain(faults(SegmentBody, error))) from None


def body_of(said: object) -> SegmentBody:
    """Check what was read from a file. Raises BadSegmentBodyError."""
    try:
        return read_body(msgspec.json.encode(said))
    except TypeError as error:
        raise BadSegmentBodyError(f"only JSON's values may be used: {error}") from None
