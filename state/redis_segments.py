"""Segments in Redis."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from schemas.segments import Expression
from schemas.segments import names as names_in
from state import keys
from state.redis_client import Call, Command, RedisClient, Script, grouped
from state.segment_plan import Plan
from state.segments import EVERYONE, REPLACED_S, STAGED_S, Edit, Generation

PER_COMMAND = 5_000

# KEYS: the segment's key. ARGV: seconds, then users. Only a key that is new gets an end: one that
# has none counts already, and this is a repetition.
_STAGE = Script(
    "segment stage",
    """
local is_new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('SADD', KEYS[1], unpack(ARGV, 2))
if is_new then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
""",
)
# KEYS: the names, the generations. ARGV: name, order, generation, the rest. Stored as text:
# order, generation, previous or "-", and the rest. Answers 0 when a later one counts.
_SWITCH = Script(
    "segment switch",
    """
local stored, previous = redis.call('HGET', KEYS[2], ARGV[1]), '-'
if stored then
  local order, generation, before = string.match(stored, '^(%d+) (%S+) (%S+)')
  if generation == ARGV[3] then
    previous = before
  else
    if tonumber(order) > tonumber(ARGV[2]) then return 0 end
    previous = generation
  end
end
redis.call('HSET', KEYS[2], ARGV[1],
  ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. previous .. ' ' .. ARGV[4])
redis.call('SADD', KEYS[1], ARGV[1])
return previous
""",
)


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
        found = self.generations(tenant, [segment]).get(segment)
        kept = {"", *((found.generation, found.previous) if found is not None else ())}
        self._client.run_many(
            [
                ("SREM", keys.segments_key(tenant), segment),
                ("HDEL", keys.generations_key(tenant), segment),
                ("HDEL", keys.segment_notes_key(tenant), segment),
                ("DEL", keys.uploads_key(tenant, segment)),
                *(
                    ("UNLINK", keys.segment_key(tenant, n, segment, generation))
                    for n in range(shards)
                    for generation in sorted(kept)
                ),
            ]
        )

    def members(self, tenant: str, shard: int, expression: Expression) -> list[str]:
        """See Segments."""
        counting = self._generations_in(tenant, expression)
        plan = Plan(expression)
        if plan.is_one_read:
            command, operands, _ = plan.steps[0]
            where = plan.where(tenant, shard, counting)
            found = self._client.run(command, *(where[i - 1] for i in operands))
        else:
            found = self._client.call([plan.call(tenant, shard, counting)])[0]
        return [user.decode() for user in sorted(found)]

    def count(self, tenant: str, shards: int, expression: Expression) -> int:
        """See Segments."""
        counting = self._generations_in(tenant, expression)
        if isinstance(expression, str):
            return self._size(tenant, shards, expression, counting.get(expression, ""))
        plan = Plan(expression, counting=True)
        calls = [plan.call(tenant, shard, counting) for shard in range(shards)]
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

    def edit(self, tenant: str, shards: int, edits: Sequence[Edit]) -> None:
        """See Segments."""
        self._client.run_many(
            [
                write
                for one in edits
                for verb, users in (("SADD", one.joining), ("SREM", one.leaving))
                for write in _writes(
                    verb, tenant, shards, one.segment, users, generation=one.generation
                )
            ]
        )

    def stage(
        self, tenant: str, shards: int, segment: str, generation: str, user_ids: Iterable[str]
    ) -> None:
        """See Segments."""
        self._client.call(
            [
                Call(_STAGE, [str(key)], [STAGED_S, *users])
                for _, key, *users in _writes(
                    "", tenant, shards, segment, user_ids, generation=generation
                )
            ]
        )

    def switch(self, tenant: str, shards: int, segment: str, to: Generation) -> bool:
        """See Segments."""
        found = self.generations(tenant, [segment]).get(segment)
        if found is not None and found.generation != to.generation and found.order > to.order:
            return False
        where = [keys.segment_key(tenant, n, segment, to.generation) for n in range(shards)]
        self._client.run_many([("PERSIST", key) for key in where])
        members = self._size(tenant, shards, segment, to.generation)
        rest = f"{to.kind} {to.version} {to.at_ms} {members}"
        call = Call(
            _SWITCH,
            [keys.segments_key(tenant), keys.generations_key(tenant)],
            [segment, to.order, to.generation, rest],
        )
        previous = self._client.call([call])[0]
        if previous == b"-":
            return True
        is_done = isinstance(previous, bytes)
        if isinstance(previous, bytes):
            before = previous.decode()
            where = [keys.segment_key(tenant, n, segment, before) for n in range(shards)]
        # Else another was faster, with a later one: it is this one that nobody needs.
        self._client.run_many([("EXPIRE", key, REPLACED_S) for key in where])
        return is_done

    def walk(self, tenant: str, shard: int, segment: str, *, step: int) -> Iterator[list[str]]:
        """See Segments."""
        where, cursor = keys.segment_key(tenant, shard, segment), 0
        while True:
            cursor, found = self._client.run("SSCAN", where, cursor, "COUNT", step)
            if found:
                yield [user.decode() for user in found]
            if not int(cursor):
                return

    def drop(self, tenant: str, shards: int, segment: str, generation: str) -> None:
        """See Segments."""
        self._client.run_many(
            [("UNLINK", keys.segment_key(tenant, n, segment, generation)) for n in range(shards)]
        )

    def generations(
        self, tenant: str, names: Iterable[str] | None = None
    ) -> Mapping[str, Generation]:
        """See Segments."""
        where = keys.generations_key(tenant)
        if names is None:
            found = self._client.run("HGETALL", where)
            return {name.decode(): _generation(text) for name, text in sorted(found.items())}
        asked = [name for name in dict.fromkeys(names) if name != EVERYONE]
        if not asked:
            return {}
        texts = self._client.run("HMGET", where, *asked)
        return {name: _generation(t) for name, t in zip(asked, texts, strict=True) if t is not None}

    def _generations_in(self, tenant: str, expression: Expression) -> dict[str, str]:
        found = self.generations(tenant, names_in(expression))
        return {name: one.generation for name, one in found.items()}

    def _size(self, tenant: str, shards: int, segment: str, generation: str) -> int:
        cards = [("SCARD", keys.segment_key(tenant, n, segment, generation)) for n in range(shards)]
        return sum(self._client.run_many(cards))


def _generation(text: bytes) -> Generation:
    order, generation, previous, kind, version, at_ms, members = text.decode().split(" ")
    return Generation(
        order=int(order),
        generation=generation,
        kind=kind,
        version=int(version),
        at_ms=int(at_ms),
        members=int(members),
        previous="" if previous == "-" else previous,
    )


def _writes(
    command: str,
    tenant: str,
    shards: int,
    segment: str,
    user_ids: Iterable[str],
    *,
    generation: str = "",
) -> list[Command]:
    users = list(user_ids)
    tags = keys.shards_of(users, shards)
    return [
        (
            command,
            keys.segment_key(tenant, tags[group[0]], segment, generation),
            *(users[i] for i in group[start : start + PER_COMMAND]),
        )
        for group in grouped(tags)
        for start in range(0, len(group), PER_COMMAND)
    ]
