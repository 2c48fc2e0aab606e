"""Which user's device owns a token: one owner each, the newest registration wins."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from state import keys
from state.redis_client import Call, RedisClient, Script, batches, spread


class Owner(NamedTuple):
    """The device that a token is registered under."""

    user_id: str
    device_id: str


class TokenClaim(NamedTuple):
    """A device says that a token is its own since at_ms (in release_many: no more)."""

    token: str
    user_id: str
    device_id: str
    at_ms: int


class Claim(NamedTuple):
    """What became of a claim.

    won: the token is the claimant's now. previous: when won, whom the token left, or None;
    when not, who keeps it.
    """

    previous: Owner | None
    won: bool


class Tokens(Protocol):
    """Owners by token. Only a hash of a token is stored."""

    def claim_many(
        self, tenant: str, claims: Sequence[TokenClaim | tuple[str, str, str, int]]
    ) -> list[Claim]:
        """Record owners, in order. A token goes to the claim with the latest at_ms.

        At equal times the recorded owner keeps it. The owner's own claims always win. A repeated
        claim gets the same answer: whom the token left is kept as long as its owner stays.
        O(claims); one round trip, at most 256 claims a script call (clustered: one of 64 slots).
        Raises StateUnavailableError.
        """
        ...

    def release_many(
        self, tenant: str, releases: Sequence[TokenClaim | tuple[str, str, str, int]]
    ) -> list[bool]:
        """Forget tokens that these devices own since at_ms or earlier; True where forgotten.

        A token that another owns, or that was claimed later, stays. Costs as claim_many.
        """
        ...

    def owners(self, tenant: str, tokens: Sequence[str]) -> list[Owner | None]:
        """Give each token's owner. O(tokens); one round trip. Raises StateUnavailableError."""
        ...


# The record: {at_ms, user, device, user and device whom it left}.
_CLAIM = Script(
    "token claim",
    """
local out = {}
for i, key in ipairs(KEYS) do
  local user, device, at = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local stored = redis.call('GET', key)
  local last = stored and cmsgpack.unpack(stored)
  local from_user, from_device, won = '', '', 1
  if last and last[2] == user and last[3] == device then
    from_user, from_device = last[4], last[5]
    if at < last[1] then at = last[1] end
  elseif last then
    from_user, from_device = last[2], last[3]
    if at <= last[1] then won = 0 end
  end
  if won == 1 then
    redis.call('SET', key, cmsgpack.pack({at, user, device, from_user, from_device}))
  end
  out[i] = {won, from_user, from_device}
end
return out
""",
)
_RELEASE = Script(
    "token release",
    """
local out = {}
for i, key in ipairs(KEYS) do
  local user, device, at = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local stored = redis.call('GET', key)
  local last = stored and cmsgpack.unpack(stored)
  if last and last[2] == user and last[3] == device and last[1] <= at then
    out[i] = redis.call('DEL', key)
  else
    out[i] = 0
  end
end
return out
""",
)
_PER_CALL = 256
_read = msgspec.msgpack.Decoder(tuple[int, str, str, str, str]).decode


class RedisTokens:
    """Token owners in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def claim_many(
        self, tenant: str, claims: Sequence[TokenClaim | tuple[str, str, str, int]]
    ) -> list[Claim]:
        """See Tokens."""
        return [
            Claim(Owner(user.decode(), device.decode()) if user or device else None, won == 1)
            for won, user, device in self._call(_CLAIM, tenant, claims)
        ]

    def release_many(
        self, tenant: str, releases: Sequence[TokenClaim | tuple[str, str, str, int]]
    ) -> list[bool]:
        """See Tokens."""
        return [gone == 1 for gone in self._call(_RELEASE, tenant, releases)]

    def owners(self, tenant: str, tokens: Sequence[str]) -> list[Owner | None]:
        """See Tokens."""
        where = [keys.hashed_key(tenant, "t", token) for token in tokens]
        blobs = self._client.get_all(where, [keys.bucket(key) for key in where])
        return [None if blob is None else Owner(*_read(blob)[1:3]) for blob in blobs]

    def _call(
        self,
        script: Script,
        tenant: str,
        claims: Sequence[TokenClaim | tuple[str, str, str, int]],
    ) -> list[Any]:
        where = [keys.hashed_key(tenant, "t", claim[0]) for claim in claims]
        groups = batches(
            [keys.bucket(key) for key in where],
            clustered=self._client.clustered,
            at_most=_PER_CALL,
        )
        calls = [
            Call(script, [where[i] for i in group], [part for i in group for part in claims[i][1:]])
            for group in groups
        ]
        return spread(groups, self._client.call(calls), len(claims))
