"""Segments: named sets of users, kept per shard, combined by set algebra inside the shard."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from schemas.segments import Combined, Expression
from state import keys
from state.redis_client import Call, Command, RedisClient, Script, grouped

EVERYONE = "everyone"
"""The segment that the registry keeps all users of a tenant in; nobody else may write it."""


class Segments(Protocol):
    """Static segments, by tenant. A segment exists from its first add until its delete."""

    def add(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """Put users into a segment, which exists from then on; how many were not in it.

        No user at all makes an empty segment. O(users); one round trip.
        Raises StateUnavailableError, as all of these do.
        """
        ...

    def remove(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """Take users out of a segment; how many were in it. O(users); one round trip."""
        ...

    def delete(self, tenant: str, shards: int, segment: str) -> None:
        """Forget a segment. O(users), freed in the background; one round trip."""
        ...

    def members(self, tenant: str, shard: int, expression: Expression) -> list[str]:
        """Give the users of one shard whom the expression means, sorted by code point.

        A segment that does not exist is empty. O(members of all segments named, in the shard),
        atomic; one round trip.
        """
        ...

    def count(self, tenant: str, shards: int, expression: Expression) -> int:
        """Count the users whom the expression means, over all shards.

        O(shards) for one segment, else O(members of all segments named); one round trip.
        """
        ...

    def exists(self, tenant: str, names: Iterable[str]) -> set[str]:
        """Give those of the names that exist; EVERYONE always does. O(names); one round trip."""
        ...

    def names(self, tenant: str) -> list[str]:
        """Give all names but EVERYONE, sorted. O(segments); one round trip."""
        ...


# KEYS: the segments, then scratch keys. ARGV[1]: msgpack of how many scratch keys there are, and
# of the steps {command, operands, target}, as positions in KEYS; target 0 answers with the members.
# Scratch keys go even when a step fails (out of memory, a key of another type).
_EVALUATE = Script(
    "segment expression",
    """
local scratch, steps = unpack(cmsgpack.unpack(ARGV[1]))
local function run()
  local answer
  for _, step in ipairs(steps) do
    local words = {step[1]}
    if step[3] > 0 then words[2] = KEYS[step[3]] end
    for _, at in ipairs(step[2]) do words[#words + 1] = KEYS[at] end
    answer = redis.call(unpack(words))
  end
  return answer
end
local ok, answer = pcall(run)
for i = #KEYS - scratch + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
if not ok then error(answer) end
return answer
""",
)
_COMMANDS = {"&": "SINTER", "|": "SUNION", "-": "SDIFF"}
_PER_COMMAND = 5_000
_encode = msgspec.msgpack.Encoder().encode


class RedisSegments:
    """Segments in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def add(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """See Segments."""
        known: Command = ("SADD", keys.segments_key(tenant), segment)
        writes = _writes("SADD", tenant, shards, segment, user_ids)
        return sum(self._client.run_many([known, *writes])[1:])

    def remove(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """See Segments."""
        return sum(self._client.run_many(_writes("SREM", tenant, shards, segment, user_ids)))

    def delete(self, tenant: str, shards: int, segment: str) -> None:
        """See Segments."""
        self._client.run_many(
            [
                ("SREM", keys.segments_key(tenant), segment),
                *(("UNLINK", keys.segment_key(tenant, n, segment)) for n in range(shards)),
            ]
        )

    def members(self, tenant: str, shard: int, expression: Expression) -> list[str]:
        """See Segments."""
        plan = Plan(expression)
        if plan.is_one_read:
            command, operands, _ = plan.steps[0]
            found = self._client.run(
                command, *(keys.segment_key(tenant, shard, plan.names[i - 1]) for i in operands)
            )
        else:
            found = self._client.call([plan.call(tenant, shard)])[0]
        return [user.decode() for user in sorted(found)]

    def count(self, tenant: str, shards: int, expression: Expression) -> int:
        """See Segments."""
        if isinstance(expression, str):
            cards = [("SCARD", keys.segment_key(tenant, n, expression)) for n in range(shards)]
            return sum(self._client.run_many(cards))
        plan = Plan(expression, counting=True)
        calls = [plan.call(tenant, shard) for shard in range(shards)]
        return sum(self._client.call(calls))

    def exists(self, tenant: str, names: Iterable[str]) -> set[str]:
        """See Segments."""
        asked = sorted(set(names))
        others = [name for name in asked if name != EVERYONE]
        found = {EVERYONE} & set(asked)
        if others:
            flags = self._client.run("SMISMEMBER", keys.segments_key(tenant), *others)
            found.update(name for name, flag in zip(others, flags, strict=True) if flag)
        return found

    def names(self, tenant: str) -> list[str]:
        """See Segments."""
        found = self._client.run("SMEMBERS", keys.segments_key(tenant))
        return [name.decode() for name in sorted(found) if name.decode() != EVERYONE]


def _writes(
    command: str, tenant: str, shards: int, segment: str, user_ids: Iterable[str]
) -> list[Command]:
    users = list(user_ids)
    tags = keys.shards_of(users, shards)
    return [
        (
            command,
            keys.segment_key(tenant, tags[group[0]], segment),
            *(users[i] for i in group[start : start + _PER_COMMAND]),
        )
        for group in grouped(tags)
        for start in range(0, len(group), _PER_COMMAND)
    ]


class Plan:
    """An expression as Redis set commands: one step per run of equal operators.

    names: the segments, KEYS[1] and on. steps: (command, operands, target) with positions in
    KEYS from 1; the last target is 0, so that its members are the answer. counting: the last
    step stores its result as well, because Redis then answers with its size.
    """

    def __init__(self, expression: Expression, *, counting: bool = False) -> None:
        self.names: list[str] = []
        self.steps: list[tuple[str, list[int], int]] = []
        self._collect(expression)
        self._scratch = 0
        if isinstance(expression, str):
            self.steps.append(("SUNION", [1], 0))
        else:
            self._add(expression)
            self._scratch -= 0 if counting else 1
        command, operands, target = self.steps[-1]
        if not counting:
            target, command = 0, command.removesuffix("STORE")
        self.steps[-1] = (command, operands, target)

    @property
    def is_one_read(self) -> bool:
        """Whether one command answers, without scratch keys."""
        return len(self.steps) == 1 and not self._scratch

    def call(self, tenant: str, shard: int) -> Call:
        """Make the script call for one shard."""
        where = [keys.segment_key(tenant, shard, name) for name in self.names]
        where += [keys.scratch_key(tenant, shard, n) for n in range(self._scratch)]
        program: Sequence[Any] = (self._scratch, self.steps)
        return Call(_EVALUATE, where, [_encode(program)])

    def _collect(self, tree: Expression) -> None:
        if isinstance(tree, Combined):
            self._collect(tree.left)
            self._collect(tree.right)
        elif tree not in self.names:
            self.names.append(tree)

    def _add(self, tree: Expression) -> int:
        """Append the steps for a tree; give the position of its result in KEYS."""
        if isinstance(tree, str):
            return self.names.index(tree) + 1
        operands = [self._add(part) for part in _run(tree)]
        self._scratch += 1
        target = len(self.names) + self._scratch
        self.steps.append((f"{_COMMANDS[tree.operator]}STORE", operands, target))
        return target


def _run(tree: Combined) -> list[Expression]:
    """Flatten the left side while the operator stays: ((a - b) - c) is SDIFF a b c."""
    parts: list[Expression] = [tree.right]
    left = tree.left
    while isinstance(left, Combined) and left.operator == tree.operator:
        parts.append(left.right)
        left = left.left
    return [left, *reversed(parts)]
