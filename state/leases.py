"""Leases: one owner at a time, until it gives them back or time takes them."""

from state.redis_client import Call, RedisClient, Script

# KEYS: the lease. ARGV: its owner, for how long in ms, 0 to give it back.
_HOLD = Script(
    "lease",
    """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
""",
)


def hold_lease(client: RedisClient, key: str, owner: str, *, ttl_s: float) -> bool:
    """Take or keep a lease; False when another has it. One round trip."""
    ttl_ms = max(1, int(ttl_s * 1_000))
    return bool(client.call([Call(_HOLD, [key], [owner, ttl_ms])])[0])


def release_lease(client: RedisClient, key: str, owner: str) -> None:
    """Give a lease back, if one has it. One round trip."""
    client.call([Call(_HOLD, [key], [owner, 0])])
