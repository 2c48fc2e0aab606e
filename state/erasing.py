"""Everything that Redis holds of users who are erased, but for their profiles."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from state import keys
from state.redis_client import Call, Command, RedisClient, Script
from state.redis_segments import RedisSegments
from state.segments import EVERYONE

STEP = 1_000


class Membership(NamedTuple):
    """A list that a user is in, by the generation that counts."""

    user_id: str
    segment: str
    generation: str


class Held(NamedTuple):
    """A record about a user. kind: as in Erasing.sweep. name: of the cap, or gathering.

    what: message ids of an exact cap, item ids of a gathering; nothing where it is packed.
    expires_ms: from now, -1 when it does not.
    """

    kind: str
    name: str
    what: list[str]
    expires_ms: int


class Erasing(Protocol):
    """Finds and removes what belongs to users. All raise StateUnavailableError."""

    def lists(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Membership]:
        """Give the uploaded lists that users are in. O(lists * users); two round trips."""
        ...

    def sweep(self, tenant: str, shards: int, user_ids: Sequence[str]) -> dict[str, Counter[str]]:
        """Remove what there is, by user and kind; how many of each.

        Kinds: segments, best_hours, caps, gatherings, tokens, records. Walks over all keys of the
        tenant once, whatever the number of users: O(keys), in steps of STEP. Safe to repeat.
        """
        ...

    def memberships(self, tenant: str, shards: int, user_id: str) -> list[str]:
        """Give all segments that a user is in. O(segments); three round trips."""
        ...

    def held(self, tenant: str, shards: int, user_id: str) -> Iterator[Held]:
        """Give what is kept about a user beside profile and segments. Costs as sweep."""
        ...


# KEYS: a token's record. ARGV: the record as it was read, what to store instead or "" for nothing.
_REPLACE = Script(
    "token erase",
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""",
)
_Owner = tuple[int, str, str, str, str]
_read = msgspec.msgpack.Decoder(_Owner).decode
_encode = msgspec.msgpack.Encoder().encode


class RedisErasing:
    """Erasing in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._segments = RedisSegments(client)

    def lists(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Membership]:
        """See Erasing."""
        counting = self._segments.generations(tenant)
        asked = [
            Membership(user, name, one.generation)
            for user in user_ids
            for name, one in counting.items()
            if one.kind == "list"
        ]
        answers = self._client.run_many(
            [("SISMEMBER", _members(tenant, shards, one), one.user_id) for one in asked]
        )
        return [one for one, is_in in zip(asked, answers, strict=True) if is_in]

    def sweep(self, tenant: str, shards: int, user_ids: Sequence[str]) -> dict[str, Counter[str]]:
        """See Erasing."""
        found: dict[str, Counter[str]] = {user: Counter() for user in user_ids}
        if not found:
            return found
        self._leave(tenant, shards, found)
        whose = _Whose(tenant, shards, user_ids)
        for batch in self._client.scan(f"{{{keys.checked_tenant(tenant)}:*", step=STEP):
            gone: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
            tokens: list[bytes] = []
            for key in batch:
                if whose.is_token(key):
                    tokens.append(key)
                elif (owner := whose.of(key)) is not None:
                    gone[owner].append(key)
            for (user, kind), named in gone.items():
                answers = self._client.run_many([("UNLINK", key) for key in named])
                found[user][kind] += sum(answers)
            if tokens:
                self._disown(tokens, found)
        return found

    def memberships(self, tenant: str, shards: int, user_id: str) -> list[str]:
        """See Erasing."""
        counting = self._segments.generations(tenant)
        shard = keys.shard_of(user_id, shards)
        names = self._segments.names(tenant)
        generations = [counting[name].generation if name in counting else "" for name in names]
        found = self._client.run_many(
            [
                ("SISMEMBER", keys.segment_key(tenant, shard, name, generation), user_id)
                for name, generation in zip(names, generations, strict=True)
            ]
        )
        return [name for name, is_in in zip(names, found, strict=True) if is_in]

    def held(self, tenant: str, shards: int, user_id: str) -> Iterator[Held]:
        """See Erasing."""
        whose = _Whose(tenant, shards, [user_id])
        tag = keys.shard_tag(tenant, keys.shard_of(user_id, shards))
        seen: set[bytes] = set()
        for batch in self._client.scan(f"{tag}:*", step=STEP):
            for key in batch:
                owner = whose.of(key)
                if owner is not None and key not in seen:
                    seen.add(key)
                    yield self._held(owner[1], key)

    def _held(self, kind: str, key: bytes) -> Held:
        mark, _, rest = key.partition(b"}:")[2].partition(b":")
        is_sorted, is_hash = mark == b"z", mark == b"g"
        read: Command = ("ZRANGE", key, 0, -1) if is_sorted else ("HKEYS", key)
        if is_sorted or is_hash:
            found, expires_ms = self._client.run_many([read, ("PTTL", key)])
        else:
            found, expires_ms = [], self._client.run("PTTL", key)
        what = [one.decode("utf-8", "replace") for one in found]
        if is_hash:  # items are named i<id>; the rest says how the window stands
            what = [one[1:] for one in what if one.startswith("i") and one != "id"]
        return Held(kind, _name(mark, rest), what, expires_ms)

    def _leave(self, tenant: str, shards: int, found: Mapping[str, Counter[str]]) -> None:
        """Take users out of all segments and the hash of best hours."""
        counting = self._segments.generations(tenant)
        sets = [(name, "") for name in (EVERYONE, *self._segments.names(tenant))]
        for name, one in counting.items():
            sets += [(name, generation) for generation in (one.generation, one.previous)
                     if generation]  # fmt: skip
        for user, counts in found.items():
            shard = keys.shard_of(user, shards)
            leaving: list[Command] = [
                ("SREM", keys.segment_key(tenant, shard, name, generation), user)
                for name, generation in sets
            ]
            leaving.append(("HDEL", keys.best_hours_key(tenant, shard), user))
            *segments, hours = self._client.run_many(leaving)
            counts["segments"] += sum(segments)
            counts["best_hours"] += hours

    def _disown(self, where: Sequence[bytes], found: Mapping[str, Counter[str]]) -> None:
        """Forget tokens of these users, and that a token came from one of them."""
        blobs = self._client.get_all(where, [bytes(key[: key.index(b"}")]) for key in where])
        for key, blob in zip(where, blobs, strict=True):
            if blob is None:
                continue
            at_ms, user, device, from_user, _ = _read(blob)
            if user in found:
                instead, whom = b"", user
            elif from_user in found:
                instead, whom = _encode((at_ms, user, device, "", "")), from_user
            else:
                continue
            (done,) = self._client.call([Call(_REPLACE, [key], [blob, instead])])
            found[whom]["tokens"] += done


class _Whose:
    """Tells from a key whose it is; see state/keys.py for the keys."""

    def __init__(self, tenant: str, shards: int, user_ids: Sequence[str]) -> None:
        self._tag = f"{{{tenant}:".encode()
        self._users: defaultdict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
        for user in user_ids:
            tag = keys.shard_tag(tenant, keys.shard_of(user, shards)).encode()
            self._users[tag].append((user, user.encode()))

    def is_token(self, key: bytes) -> bool:
        """Tell whether it is the record of a token's owner."""
        rest = key[len(self._tag) :]
        return rest[:1] == b"t" and rest[1 : rest.find(b"}")].isdigit()

    def of(self, key: bytes) -> tuple[str, str] | None:
        """Give the user and the kind, None for keys of others."""
        tag, closing, rest = key.partition(b"}:")
        users = self._users.get(tag + b"}")
        if not closing or users is None:
            return None
        mark, _, rest = rest.partition(b":")
        kind = _KINDS.get(mark)
        if kind is None:
            return None
        owner = _owner(mark, rest)
        for user, encoded in users:
            if owner == encoded or (mark == b"g" and _is_beside(owner, encoded)):
                return user, kind
        return None


_KINDS: Mapping[bytes, str] = {b"z": "caps", b"k": "caps", b"g": "gatherings", b"w": "records"}


def _owner(mark: bytes, rest: bytes) -> bytes:
    """Give what stands behind the name: the length before it tells how long that is."""
    first, _, rest = rest.partition(b":")
    if mark == b"w":
        return rest
    try:
        name = rest.decode()[: int(first)]
    except ValueError:
        return b""
    return rest[len(name.encode()) + 1 :]


def _name(mark: bytes, rest: bytes) -> str:
    """Give the name of a cap or gathering, or the kind of a record."""
    first, _, rest = rest.partition(b":")
    return first.decode() if mark == b"w" else rest.decode("utf-8", "replace")[: int(first)]


def _is_beside(owner: bytes, user: bytes) -> bool:
    """Tell whether it is a gathering's items, or who joined lately: kept under the user's key."""
    if not owner.startswith(user + b":"):
        return False
    suffix = owner[len(user) + 1 :]
    if suffix[:1] == b"k" and suffix[1:].isdigit():
        return True
    return len(suffix) == 32 and all(one in b"0123456789abcdef" for one in suffix)


def _members(tenant: str, shards: int, one: Membership) -> str:
    shard = keys.shard_of(one.user_id, shards)
    return keys.segment_key(tenant, shard, one.segment, one.generation)
