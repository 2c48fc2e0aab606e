"""What providers say about tokens, counted per credential, and which credentials are frozen."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from schemas.pipeline import Platform
from state import keys
from state.errors import StateCorruptError
from state.redis_client import Call, RedisClient, Script

PARTS = 10
"""A window is counted in this many parts."""


class Credential(NamedTuple):
    """Whose tokens are judged together: an app of a tenant on its platform."""

    tenant: str
    app: str
    platform: Platform


class Answers(NamedTuple):
    """How many answers said something about a token, and how many of them that it is dead."""

    answered: int
    dead: int


class Counted(NamedTuple):
    """Answers to add. window_ms: over how long the credential's are counted."""

    credential: Credential
    answers: Answers
    window_ms: int


class Freeze(msgspec.Struct, frozen=True, array_like=True):
    """A credential whose dead tokens are not believed. Fields are positional when stored.

    answered, dead: what was seen when it froze. reason: of the last dead one, as text, for other
    versions of Clarion may know other reasons.
    """

    tenant: str
    app: str
    platform: Platform
    since_ms: int
    answered: int
    dead: int
    reason: str

    @property
    def credential(self) -> Credential:
        """Whose."""
        return Credential(self.tenant, self.app, self.platform)


class Pruning(Protocol):
    """Shared by all processes that send. Every method raises StateUnavailableError.

    Counts and freezes serve as a guard, not as a ledger: a call repeated after a lost answer
    counts twice, and clocks are believed.
    """

    def count_many(self, counts: Sequence[Counted], now_ms: int) -> list[list[Answers]]:
        """Add answers; give for each credential those of its window, in parts, oldest first.

        O(credentials); one round trip. The newest part is still filling, so a window is up to a
        tenth shorter than window_ms. Another window_ms than before starts new counts.
        Raises ValueError for a window below PARTS milliseconds.
        """
        ...

    def freeze(self, found: Freeze) -> None:
        """Freeze a credential. One that is frozen stays as it was. One round trip."""
        ...

    def frozen(self) -> list[Freeze]:
        """Give all that are frozen, by name. O(frozen); one round trip."""
        ...

    def resume(self, credential: Credential) -> bool:
        """End a freeze and start new counts; False when it was not frozen. One round trip."""
        ...


# A hash of counts by part, "a<part>" answered and "d<part>" dead, and "w", the part's length.
_COUNT = Script(
    "pruning count",
    """
local part, length, parts = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if redis.call('HGET', KEYS[1], 'w') ~= length then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'w', length)
end
redis.call('HINCRBY', KEYS[1], 'a' .. part, ARGV[4])
redis.call('HINCRBY', KEYS[1], 'd' .. part, ARGV[5])
local first = part - parts + 1
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local of = tonumber(string.sub(name, 2))
  if of and of < first then redis.call('HDEL', KEYS[1], name) end
end
redis.call('PEXPIRE', KEYS[1], (parts + 1) * length)
local names = {}
for n = first, part do
  names[#names + 1] = 'a' .. n
  names[#names + 1] = 'd' .. n
end
return redis.call('HMGET', KEYS[1], unpack(names))
""",
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Freeze).decode


class RedisPruning:
    """Counts and freezes in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def count_many(self, counts: Sequence[Counted], now_ms: int) -> list[list[Answers]]:
        """See Pruning."""
        calls = []
        for credential, answers, window_ms in counts:
            length_ms = part_ms(window_ms)
            args = (now_ms // length_ms, length_ms, PARTS, *answers)
            calls.append(Call(_COUNT, [keys.pruning_key(*credential)], args))
        return [
            [
                Answers(int(answered or 0), int(dead or 0))
                for answered, dead in zip(found[::2], found[1::2], strict=True)
            ]
            for found in self._client.call(calls)
        ]

    def freeze(self, found: Freeze) -> None:
        """See Pruning."""
        field = keys.pruning_field(*found.credential)
        self._client.run("HSETNX", keys.PRUNING_FROZEN, field, _encode(found))

    def frozen(self) -> list[Freeze]:
        """See Pruning."""
        found = self._client.run("HVALS", keys.PRUNING_FROZEN)
        try:
            return sorted(map(_decode, found), key=lambda freeze: freeze.credential)
        except msgspec.MsgspecError as error:
            raise StateCorruptError(f"{keys.PRUNING_FROZEN!r} holds no freeze: {error}") from None

    def resume(self, credential: Credential) -> bool:
        """See Pruning."""
        # The counts go first: when the second command is lost, it is still frozen.
        _, gone = self._client.run_many(
            [
                ("DEL", keys.pruning_key(*credential)),
                ("HDEL", keys.PRUNING_FROZEN, keys.pruning_field(*credential)),
            ]
        )
        return bool(gone)


def part_ms(window_ms: int) -> int:
    """Give the length of a window's parts. Raises ValueError for a window below PARTS ms."""
    if window_ms < PARTS:
        raise ValueError(f"window_ms must be at least {PARTS}, not {window_ms}")
    return window_ms // PARTS
