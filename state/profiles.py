"""Profiles: what is known about a user, one msgpack blob each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from schemas.pipeline import Platform
from state import keys
from state.errors import StateConflictError, StateCorruptError
from state.redis_client import Call, RedisClient, Script, batches, spread

MAX_ATTEMPTS = 8
"""How often update_many tries against others who change the same profiles."""


class Device(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One installation of one app. token: as in Delivery. environment: of an APNs token.

    p256dh, auth: the keys of a Web Push subscription. locale: empty means the user's.
    groups: names of the device groups that it is in.
    """

    device_id: str
    platform: Platform
    app: str
    token: str
    registered_at_ms: int
    environment: str = "production"
    locale: str = ""
    p256dh: str = ""
    auth: str = ""
    app_version: str = ""
    os_version: str = ""
    groups: tuple[str, ...] = ()


class QuietHours(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A window in minutes after local midnight; it wraps when end_min < start_min.

    time_zone: instead of the user's own, or empty. days: a bit for each weekday on which it begins,
    Monday's being 1; 0 is every day.
    """

    start_min: int
    end_min: int
    time_zone: str = ""
    days: int = 0


class Choice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A yes or no to messages of a type, a category, or both; on one platform, or empty for all."""

    allow: bool
    type: str = ""
    category: str = ""
    platform: str = ""


# gc=False: a profile is a tree (JSON-like attributes), so the collector has no cycle to find.
class Profile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A user: devices and preferences. Fields are positional when stored: append only.

    version: set by update_many, 1 at first, one more with every change.
    time_zone: IANA name or empty. country: ISO 3166-1 alpha-2 or empty.
    segments: the segments that the user's record names. topics: those the user subscribed to.
    registered_at_ms: when the user signed up, as the record says, or 0.
    quiet_hours, more_quiet_hours: the first window and the others. muted_until_ms: 0 is not muted.
    updated_at_ms: the newest change taken over; preferences_at_ms: the newest of preferences.
    """

    user_id: str
    version: int
    locale: str = ""
    time_zone: str = ""
    devices: tuple[Device, ...] = ()
    opted_out_all: bool = False
    opted_out_categories: tuple[str, ...] = ()
    opted_out_platforms: tuple[str, ...] = ()
    quiet_hours: QuietHours | None = None
    country: str = ""
    attributes: dict[str, Any] = {}
    updated_at_ms: int = 0
    preferences_at_ms: int = 0
    segments: tuple[str, ...] = ()
    more_quiet_hours: tuple[QuietHours, ...] = ()
    choices: tuple[Choice, ...] = ()
    muted_until_ms: int = 0
    registered_at_ms: int = 0
    topics: tuple[str, ...] = ()


Change = Callable[[Profile | None], Profile | None]


class Profiles(Protocol):
    """Profiles by user id."""

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Profile | None]:
        """Read profiles, in the order asked; None for a user who has none.

        O(users); one round trip: one MGET (clustered: one per shard, all in flight at once).
        Raises StateUnavailableError; StateCorruptError for a blob that is no profile.
        """
        ...

    def update_many(
        self, tenant: str, shards: int, changes: Mapping[str, Change]
    ) -> dict[str, Profile | None]:
        """Read, change and write each profile, unless someone else wrote it in between.

        A change gets the stored profile or None, and gives the new one, or None to delete. Its
        version is set here. An equal result is not written and keeps its version. On a conflict
        that user's change is asked again, with what the other wrote, at most MAX_ATTEMPTS times;
        so a change is a pure function, and, as a lost answer repeats the write, an idempotent one.
        Users stand alone: when one raises or conflicts, others may have been written.

        Returns what is stored afterwards. O(users); two round trips without conflicts, one
        script call per 256 users (clustered: and shard), one more round trip per conflict.
        Raises StateConflictError after the last attempt, ValueError for a profile of another
        user, else as get_many.
        """
        ...


_decode = msgspec.msgpack.Decoder(Profile).decode
_encode = msgspec.msgpack.Encoder().encode

# Compares what is stored with what was read, byte for byte: no version can be reused unseen.
_SWAP = Script(
    "profile compare-and-set",
    """
local out = {}
for i, key in ipairs(KEYS) do
  local stored = redis.call('GET', key) or ''
  if stored ~= ARGV[2 * i - 1] then
    out[i] = stored
  else
    if ARGV[2 * i] == '' then redis.call('DEL', key) else redis.call('SET', key, ARGV[2 * i]) end
    out[i] = 1
  end
end
return out
""",
)
_PER_CALL = 256


class RedisProfiles:
    """Profiles in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Profile | None]:
        """See Profiles."""
        where = keys.profile_keys(tenant, shards, user_ids)
        blobs = self._client.get_all(where, where and keys.shards_of(user_ids, shards))
        try:
            return [None if blob is None else _decode(blob) for blob in blobs]
        except msgspec.MsgspecError:
            raise _corrupt(where, blobs) from None

    def update_many(
        self, tenant: str, shards: int, changes: Mapping[str, Change]
    ) -> dict[str, Profile | None]:
        """See Profiles."""
        users = list(changes)
        where = keys.profile_keys(tenant, shards, users)
        tags = keys.shards_of(users, shards)
        stored = [blob or b"" for blob in self._client.get_all(where, tags)]
        result: dict[str, Profile | None] = {}
        pending = list(range(len(users)))
        for _ in range(MAX_ATTEMPTS):
            writes: list[tuple[int, bytes]] = []
            for i in pending:
                old = _read(where[i], stored[i])
                new = next_version(users[i], old, changes[users[i]](old))
                result[users[i]] = new
                if new != old:
                    writes.append((i, b"" if new is None else _encode(new)))
            pending = self._swap(where, tags, stored, writes)
            if not pending:
                return result
        raise StateConflictError(
            f"{len(pending)} profiles of tenant {tenant!r} kept changing through "
            f"{MAX_ATTEMPTS} attempts, the first of user {users[pending[0]]!r}"
        )

    def _swap(
        self,
        where: Sequence[str],
        tags: Sequence[int],
        stored: list[bytes],
        writes: Sequence[tuple[int, bytes]],
    ) -> list[int]:
        """Write what nobody else has changed; refresh `stored` of the others and give them."""
        if not writes:
            return []
        groups = batches(
            [tags[i] for i, _ in writes], clustered=self._client.clustered, at_most=_PER_CALL
        )
        calls = [
            Call(
                _SWAP,
                [where[writes[n][0]] for n in group],
                [part for n in group for part in (stored[writes[n][0]], writes[n][1])],
            )
            for group in groups
        ]
        answers = spread(groups, self._client.call(calls), len(writes))
        lost = []
        for (i, _), answer in zip(writes, answers, strict=True):
            if answer != 1:
                stored[i] = answer
                lost.append(i)
        return lost


def next_version(user_id: str, old: Profile | None, new: Profile | None) -> Profile | None:
    """Give `new` the version that follows `old`, or `old` itself when nothing else differs.

    Raises ValueError for a profile of another user.
    """
    if new is None:
        return None
    if new.user_id != user_id:
        raise ValueError(f"a change of user {user_id!r} gave a profile of {new.user_id!r}")
    if old is None:
        return msgspec.structs.replace(new, version=1)
    if new is old or msgspec.structs.replace(new, version=old.version) == old:
        return old
    return msgspec.structs.replace(new, version=old.version + 1)


def _read(key: str, blob: bytes) -> Profile | None:
    if not blob:
        return None
    try:
        return _decode(blob)
    except msgspec.MsgspecError as error:
        raise StateCorruptError(f"{key!r} holds no profile: {error}") from None


def _corrupt(where: Sequence[str], blobs: Sequence[bytes | None]) -> StateCorruptError:
    for key, blob in zip(where, blobs, strict=True):
        try:
            _read(key, blob or b"")
        except StateCorruptError as error:
            return error
    raise AssertionError("called without a corrupt profile")
