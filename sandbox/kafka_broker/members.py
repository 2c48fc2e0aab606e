"""A member of a consumer group, and what it and the group say to each other."""

import asyncio
from typing import NamedTuple

from sandbox.kafka_broker.errors import Code


class Join(NamedTuple):
    """A wish to join. protocols: (name, metadata), the wanted ones first."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocol_type: str
    protocols: list[tuple[str, bytes]]
    id_required: bool


class Joined(NamedTuple):
    """The answer to a join. members: (id, instance id, metadata), for the leader only."""

    code: Code
    member_id: str
    generation: int = -1
    protocol: str = ""
    leader: str = ""
    members: list[tuple[str, str | None, bytes]] = []  # noqa: RUF012 - never changed


class Synced(NamedTuple):
    """The answer to a sync: the member's assignment."""

    code: Code
    assignment: bytes = b""


class Member:
    """A member of a group.

    joining, syncing: the requests of this member that wait for the others. Such a member is alive;
    otherwise it must be heard from before deadline_s (the loop's clock).
    """

    def __init__(self, member_id: str, wish: Join) -> None:
        self.id = member_id
        self.instance_id = wish.instance_id
        self.client_id = wish.client_id
        self.host = wish.host
        self.session_timeout_s = wish.session_timeout_s
        self.rebalance_timeout_s = wish.rebalance_timeout_s
        self.protocols = wish.protocols
        self.assignment = b""
        self.joining: asyncio.Future[Joined] | None = None
        self.syncing: asyncio.Future[Synced] | None = None
        self.deadline_s = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def update(self, wish: Join) -> None:
        """Take over what a later join says."""
        self.session_timeout_s = wish.session_timeout_s
        self.rebalance_timeout_s = wish.rebalance_timeout_s
        self.protocols = wish.protocols

    def metadata(self, protocol: str) -> bytes:
        """Give what the member said beside this protocol."""
        return dict(self.protocols).get(protocol, b"")

    def answer_join(self, answer: Joined) -> None:
        """Answer a waiting join, if there is one and its client is still there."""
        waiting, self.joining = self.joining, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def answer_sync(self, answer: Synced) -> None:
        """Answer a waiting sync, likewise."""
        waiting, self.syncing = self.syncing, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def dismiss(self, code: Code) -> None:
        """Answer whatever waits with an error, and stop the timer."""
        self.answer_join(Joined(code, self.id))
        self.answer_sync(Synced(code))
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
