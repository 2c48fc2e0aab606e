"""Hooks: a tenant's own Python at fixed points. What a hook is given, and what it answers.

A hook is an installed function under the entry-point group `clarion.hooks`. It gets a list of
messages and returns as many verdicts (None passes a message), or None to pass them all.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from schemas.content import Wire
from schemas.duration import Seconds
from schemas.fields import Name

GROUP = "clarion.hooks"
MAX_WHY_CHARS = 200


class Point(StrEnum):
    """Where a hook is asked."""

    BEFORE_ROUTING = "before_routing"
    """Each event, before anybody is looked up."""
    BEFORE_SEND = "before_send"
    """Each push to a device, before it goes to the provider."""
    AFTER_OUTCOME = "after_outcome"
    """Each outcome, on its way to ClickHouse; the answer does not matter."""


class Hook(Wire):
    """name: of the entry point. timeout_s: for one call, which is about a whole batch.

    on_failure: what happens to messages when the hook fails or takes too long.
    """

    name: Name
    timeout_s: Annotated[Seconds, Field(ge=0.01, le=5)] = 0.5
    on_failure: Literal["send", "suppress"] = "send"


class Hooks(Wire):
    """The tenant's hooks, by the point at which they are asked."""

    before_routing: Hook | None = None
    before_send: Hook | None = None
    after_outcome: Hook | None = None

    def at(self, point: Point) -> Hook | None:
        """Give the hook of a point."""
        found: Hook | None = getattr(self, point.value)
        return found


class HookMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook sees; what a point does not know is empty.

    Before routing: the event, without its audience. Before sending: one push, with what the user
    will see and the flags of the user. After an outcome: status, reason and detail.
    """

    point: Point
    tenant: str
    message_id: str
    type: str = ""
    category: str = ""
    priority: str = ""
    campaign_id: str = ""
    data: dict[str, str] = {}
    variables: dict[str, Any] = {}
    user_id: str = ""
    device_id: str = ""
    platform: str = ""
    title: str = ""
    body: str = ""
    flags: dict[str, bool] = {}
    variant: str = ""
    attempt: int = 0
    status: str = ""
    reason: str = ""
    detail: str = ""


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """A hook's answer about one message.

    suppress: why it is not to be sent, in a few words. data: instead of what the app would receive.
    """

    suppress: str = ""
    data: dict[str, str] | None = None


Verdicts = list[Verdict | None]
