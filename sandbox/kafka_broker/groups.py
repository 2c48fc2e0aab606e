"""The group coordinator: generations of members that share out partitions among themselves.

The members' leader decides the assignment; the coordinator only gathers and spreads. Static
members (those with an instance id) come back under a new member id without a rebalance.
Source: KIP-62, KIP-345, KIP-394 and the classic group protocol,
https://cwiki.apache.org/confluence/x/H4GhB (Kafka client-side assignment proposal)
"""

import asyncio
import uuid
from collections import Counter
from enum import StrEnum

from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.members import Join, Joined, Member, Synced
from sandbox.kafka_broker.offsets import Offsets

MAX_GROUPS = 10_000
MAX_MEMBERS = 1_000
# Kafka's group.min.session.timeout.ms is 6 s; tests want it shorter.
MIN_SESSION_S, MAX_SESSION_S = 0.1, 1_800.0


class State(StrEnum):
    """Where a group stands, by Kafka's names."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Group:
    """One consumer group."""

    def __init__(self, group_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.id = group_id
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self.offsets = Offsets()
        self._loop = loop
        self._static: dict[str, str] = {}
        # Ids given to members that have yet to join with them.
        self._expected: dict[str, asyncio.TimerHandle] = {}
        self._rebalance_timer: asyncio.TimerHandle | None = None

    def join(self, wish: Join) -> "Joined | asyncio.Future[Joined]":
        """Take a member in, or in again. The answer may have to wait for the others."""
        code = self._refusal(wish)
        if code is not Code.NONE:
            return Joined(code, wish.member_id)
        if not wish.member_id:
            return self._join_new(wish)
        expected = self._expected.pop(wish.member_id, None)
        if expected is not None:
            expected.cancel()
            return self._add(wish.member_id, wish)
        code = self._check_member(wish.member_id, wish.instance_id)
        if code is not Code.NONE:
            return Joined(code, wish.member_id)
        return self._join_again(self.members[wish.member_id], wish)

    def sync(
        self, member_id: str, instance_id: str | None, generation: int,
        assignments: dict[str, bytes],
    ) -> "Synced | asyncio.Future[Synced]":  # fmt: skip
        """Give a member its assignment; the leader brings everyone's."""
        code = self._check_generation(member_id, instance_id, generation)
        if code is not Code.NONE:
            return Synced(code)
        member = self.members[member_id]
        self._touch(member)
        if self.state is State.PREPARING:
            return Synced(Code.REBALANCE_IN_PROGRESS)
        if self.state is State.STABLE:
            return Synced(Code.NONE, member.assignment)
        member.answer_sync(Synced(Code.REBALANCE_IN_PROGRESS))  # an earlier try of the same member
        waiting: asyncio.Future[Synced] = self._loop.create_future()
        member.syncing = waiting
        if member_id == self.leader:
            self.state = State.STABLE
            for each in self.members.values():
                each.assignment = assignments.get(each.id, b"")
                self._touch(each)
                each.answer_sync(Synced(Code.NONE, each.assignment))
        return waiting

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int) -> Code:
        """Note that a member lives; tells it when there is a rebalance to join."""
        code = self._check_generation(member_id, instance_id, generation)
        if code is not Code.NONE:
            return code
        self._touch(self.members[member_id])
        return Code.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else Code.NONE

    def leave(self, member_id: str, instance_id: str | None) -> Code:
        """Let a member go, named by its id or (static ones) by its instance id."""
        expected = self._expected.pop(member_id, None)
        if expected is not None:
            expected.cancel()
            self._complete_if_joined()
            return Code.NONE
        if not member_id and instance_id is not None:
            member_id = self._static.get(instance_id, "")
        code = self._check_member(member_id, instance_id)
        if code is Code.NONE:
            self._remove(self.members[member_id], Code.UNKNOWN_MEMBER_ID)
        return code

    def check_commit(
        self, member_id: str, instance_id: str | None, generation: int, *, in_transaction: bool
    ) -> Code:
        """Tell whether this caller may commit offsets now."""
        if generation < 0 and not member_id and instance_id is None:
            # A client without membership; with members, only a transaction may do that.
            free = in_transaction or self.state is State.EMPTY
            return Code.NONE if free else Code.UNKNOWN_MEMBER_ID
        code = self._check_generation(member_id, instance_id, generation)
        if code is Code.NONE and not in_transaction:
            self._touch(self.members[member_id])
            if self.state is State.COMPLETING:
                return Code.REBALANCE_IN_PROGRESS
        return code

    def close(self) -> None:
        """Stop all timers."""
        for handle in self._expected.values():
            handle.cancel()
        for member in self.members.values():
            if member.timer is not None:
                member.timer.cancel()
        self._stop_rebalance_timer()

    def _refusal(self, wish: Join) -> Code:
        if not MIN_SESSION_S <= wish.session_timeout_s <= MAX_SESSION_S:
            return Code.INVALID_SESSION_TIMEOUT
        if not wish.protocols or not wish.protocol_type:
            return Code.INCONSISTENT_GROUP_PROTOCOL
        own_id = wish.member_id or self._static.get(wish.instance_id or "")
        others = [member for member in self.members.values() if member.id != own_id]
        if others:
            if wish.protocol_type != self.protocol_type:
                return Code.INCONSISTENT_GROUP_PROTOCOL
            if not _common(others) & {name for name, _ in wish.protocols}:
                return Code.INCONSISTENT_GROUP_PROTOCOL
        if wish.member_id not in self.members and len(others) >= MAX_MEMBERS:
            return Code.GROUP_MAX_SIZE_REACHED
        return Code.NONE

    def _join_new(self, wish: Join) -> "Joined | asyncio.Future[Joined]":
        new_id = f"{wish.instance_id or wish.client_id}-{uuid.uuid4()}"
        if wish.instance_id is not None:
            if wish.instance_id in self._static:
                return self._replace(self._static[wish.instance_id], new_id, wish)
        elif wish.id_required:
            if len(self._expected) >= MAX_MEMBERS:
                return Joined(Code.GROUP_MAX_SIZE_REACHED, "")
            self._expected[new_id] = self._loop.call_later(
                wish.session_timeout_s, self._not_come, new_id
            )
            return Joined(Code.MEMBER_ID_REQUIRED, new_id)
        return self._add(new_id, wish)

    def _join_again(self, member: Member, wish: Join) -> "Joined | asyncio.Future[Joined]":
        changed = member.protocols != wish.protocols
        member.update(wish)
        if self.state is State.PREPARING:
            return self._wait_for_all(member)
        leads = member.id == self.leader
        if changed or (leads and self.state is State.STABLE):
            return self._rebalance_with(member)
        return self._current(member)

    def _add(self, member_id: str, wish: Join) -> "asyncio.Future[Joined]":
        member = Member(member_id, wish)
        self.members[member_id] = member
        self.protocol_type = wish.protocol_type
        if wish.instance_id is not None:
            self._static[wish.instance_id] = member_id
        return self._rebalance_with(member)

    def _replace(self, old_id: str, new_id: str, wish: Join) -> "Joined | asyncio.Future[Joined]":
        """Let a static member that was started again take its own place; fence the old one."""
        old = self.members.pop(old_id)
        member = Member(new_id, wish)
        member.assignment = old.assignment
        self.members[new_id] = member
        self._static[wish.instance_id or ""] = new_id
        old.dismiss(Code.FENCED_INSTANCE_ID)
        led_by = self.leader
        if self.leader == old_id:
            self.leader = new_id
        if self.state is not State.STABLE or self._elected_protocol() != self.protocol:
            return self._rebalance_with(member)
        self._touch(member)
        # The old leader's id: a leader that came back must not assign, nobody would be told.
        return Joined(Code.NONE, new_id, self.generation, self.protocol, led_by)

    def _rebalance_with(self, member: Member) -> "asyncio.Future[Joined]":
        self._touch(member)
        waiting = self._wait_for_all(member, complete=False)
        if self.state is State.PREPARING:
            self._complete_if_joined()
        else:
            self._prepare()
        return waiting

    def _wait_for_all(self, member: Member, *, complete: bool = True) -> "asyncio.Future[Joined]":
        member.answer_join(Joined(Code.UNKNOWN_MEMBER_ID, member.id))  # an earlier try of the same
        waiting: asyncio.Future[Joined] = self._loop.create_future()
        member.joining = waiting
        if complete:
            self._complete_if_joined()
        return waiting

    def _prepare(self) -> None:
        """Begin a rebalance: everyone has to join again, up to the longest timeout."""
        for member in self.members.values():
            member.answer_sync(Synced(Code.REBALANCE_IN_PROGRESS))
        self.state = State.PREPARING
        self._start_rebalance_timer()
        self._complete_if_joined()

    def _complete_if_joined(self) -> None:
        everyone = all(member.joining is not None for member in self.members.values())
        if self.state is State.PREPARING and everyone and not self._expected:
            self._complete()

    def _complete(self) -> None:
        """Close the round of joins: who has not come is out, unless static."""
        self._stop_rebalance_timer()
        for member in list(self.members.values()):
            if member.joining is None and member.instance_id is None:
                self._forget(member, Code.UNKNOWN_MEMBER_ID)
        joined = [member for member in self.members.values() if member.joining is not None]
        if self.members and not joined:
            self._start_rebalance_timer()
            return
        self.generation += 1
        if not joined:
            self.state, self.protocol, self.leader = State.EMPTY, "", ""
            return
        if self.leader not in {member.id for member in joined}:
            self.leader = joined[0].id
        self.protocol = self._elected_protocol()
        self.state = State.COMPLETING
        for member in joined:
            self._touch(member)
            member.answer_join(self._current(member))

    def _current(self, member: Member) -> Joined:
        members = [
            (each.id, each.instance_id, each.metadata(self.protocol))
            for each in self.members.values()
            if member.id == self.leader
        ]
        self._touch(member)
        return Joined(Code.NONE, member.id, self.generation, self.protocol, self.leader, members)

    def _elected_protocol(self) -> str:
        """Give the protocol that most members want first, among those that all know."""
        common = _common(list(self.members.values()))
        votes = Counter(
            next(name for name, _ in member.protocols if name in common)
            for member in self.members.values()
        )
        return votes.most_common(1)[0][0]

    def _remove(self, member: Member, code: Code) -> None:
        self._forget(member, code)
        if self.state in {State.STABLE, State.COMPLETING}:
            self._prepare()
        else:
            self._complete_if_joined()

    def _forget(self, member: Member, code: Code) -> None:
        member.dismiss(code)
        del self.members[member.id]
        if member.instance_id is not None:
            self._static.pop(member.instance_id, None)
        if self.leader == member.id:
            self.leader = ""

    def _not_come(self, member_id: str) -> None:
        del self._expected[member_id]
        self._complete_if_joined()

    def _check_member(self, member_id: str, instance_id: str | None) -> Code:
        if instance_id is not None:
            current = self._static.get(instance_id)
            if current is not None and current != member_id:
                return Code.FENCED_INSTANCE_ID
        return Code.NONE if member_id in self.members else Code.UNKNOWN_MEMBER_ID

    def _check_generation(self, member_id: str, instance_id: str | None, generation: int) -> Code:
        code = self._check_member(member_id, instance_id)
        if code is Code.NONE and generation != self.generation:
            return Code.ILLEGAL_GENERATION
        return code

    def _touch(self, member: Member) -> None:
        """Note that a member was heard from; its timer looks at that when it rings."""
        member.deadline_s = self._loop.time() + member.session_timeout_s
        if member.timer is None:
            member.timer = self._loop.call_at(member.deadline_s, self._look_after, member)

    def _look_after(self, member: Member) -> None:
        member.timer = None
        if member.joining is not None or member.syncing is not None:
            self._touch(member)
        elif self._loop.time() >= member.deadline_s:
            self._remove(member, Code.UNKNOWN_MEMBER_ID)
        else:
            member.timer = self._loop.call_at(member.deadline_s, self._look_after, member)

    def _start_rebalance_timer(self) -> None:
        self._stop_rebalance_timer()
        longest_s = max((m.rebalance_timeout_s for m in self.members.values()), default=0.0)
        self._rebalance_timer = self._loop.call_later(longest_s, self._complete)

    def _stop_rebalance_timer(self) -> None:
        if self._rebalance_timer is not None:
            self._rebalance_timer.cancel()
            self._rebalance_timer = None


class Groups:
    """All groups by id."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.by_id: dict[str, Group] = {}

    def get(self, group_id: str) -> Group:
        """Give a group, made when it is new. Raises KafkaError for a bad id or too many groups."""
        group = self.by_id.get(group_id)
        if group is None:
            if not group_id:
                raise KafkaError(Code.INVALID_GROUP_ID, "an empty group id")
            if len(self.by_id) >= MAX_GROUPS:
                raise KafkaError(Code.POLICY_VIOLATION, f"at most {MAX_GROUPS} groups")
            group = self.by_id[group_id] = Group(group_id, self._loop)
        return group

    def delete(self, group_id: str) -> Code:
        """Delete a group without members, with its offsets."""
        group = self.by_id.get(group_id)
        if group is None:
            return Code.GROUP_ID_NOT_FOUND
        if group.members:
            return Code.NON_EMPTY_GROUP
        group.close()
        del self.by_id[group_id]
        return Code.NONE

    def forget_topic(self, topic: str) -> None:
        """Drop every group's offsets of a deleted topic."""
        for group in self.by_id.values():
            group.offsets.forget_topic(topic)

    def close(self) -> None:
        """Stop all timers."""
        for group in self.by_id.values():
            group.close()


def _common(members: list[Member]) -> set[str]:
    """Give the protocols that all these members know."""
    return set.intersection(*({name for name, _ in member.protocols} for member in members))
