"""Where everything lives: one Redis Cluster slot per user, every key prefixed by its tenant.

The part of a key in braces decides the cluster slot ("hash tags" in the Redis Cluster
specification, https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
A user's keys carry `{tenant:shard}`, so profile, segments and caps of a user meet in one script.

    {tenant:shard}:p:<user>                 profile, msgpack
    {tenant:shard}:w:<kind>:<user>          newest record of the user, while it may be on its way
    {tenant:shard}:s:<segment>              set of user ids, as the users' own records say
    {tenant:shard}:s:<segment>@<generation> set of user ids: one state of a list, rule or query
    {tenant:shard}:z:<length>:<cap>:<user>  cap, exact: sorted set of message ids
    {tenant:shard}:k:<length>:<cap>:<user>  cap, in sub-windows: packed counters
    {tenant:shard}:h                        hash of users' best hours
    {tenant:shard}:g:<length>:<name>:<user> open window of a gathering; its items and who joined
    {tenant:t<bucket>}:<hash>               owner of a token
    {tenant:d<bucket>}:<hash>               dedup key
    {tenant:segments}                       names of the tenant's segments
    {tenant:runs}:<campaign>                runs of a campaign as their last tick left them
    {tenant:run}:<run>                      what route has done of a run
    {tenant:segments}:g                     by name, the generation that counts
    {tenant:segments}:u:<segment>           uploads of a list and how many parts they have
    {tenant:segments}:n                     by name, what the last attempt to build it came to
    {tenant:segments}:l:<segment>           who builds it now
    {tenant:<kind>}:definitions             what the tenant has defined of a kind, by name
    {tenant:<kind>}:mark                    changes whenever that does
    {rate:<key>}                            token bucket
    {quota:<tenant>}:<day>                  what the tenant sent on a day
    {quota:<tenant>}:ids:<hour>             what pieces of work took of it
    {quota:<tenant>}:events:<day>:<name>    events that the API took on a day, of a tenant or key
    {ledger:<group>}                        high-water marks of a consumer group
    {pruning:<tenant>/<app>/<platform>}     answers about a credential's tokens, counted by time
    {pruning}                               credentials whose tokens are not pruned now
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

BUCKETS = 64
"""Slots that a tenant's tokens and dedup keys spread over (they belong to no user)."""
DIGEST_BYTES = 16


def shard_of(user_id: str, shards: int) -> int:
    """Give the user's shard, 0 to shards - 1: CRC-32 of the UTF-8 id, the same everywhere.

    Raises ValueError when shards is below 1.
    """
    if shards < 1:
        raise ValueError(f"shards must be at least 1, not {shards}")
    return crc32(user_id.encode()) % shards


@lru_cache(maxsize=4096)
def checked_tenant(tenant: str) -> str:
    """Give the tenant's name back if it can stand inside a hash tag, else raise ValueError."""
    if not tenant or not tenant.isprintable() or any(c in "{}: " for c in tenant):
        raise ValueError(
            f"tenant {tenant!r}: a name needs at least one character, without braces, colon, space"
        )
    return tenant


def shard_tag(tenant: str, shard: int) -> str:
    """Give the hash tag, braces included, of one shard of a tenant."""
    return f"{{{checked_tenant(tenant)}:{shard}}}"


def shards_of(user_ids: Sequence[str], shards: int) -> list[int]:
    """Give the shard of each user, as shard_of."""
    if shards < 1:
        raise ValueError(f"shards must be at least 1, not {shards}")
    return [crc32(user_id.encode()) % shards for user_id in user_ids]


def profile_keys(tenant: str, shards: int, user_ids: Sequence[str]) -> list[str]:
    """Where the users' profiles are. Raises ValueError as shard_of and checked_tenant."""
    if shards < 1:
        raise ValueError(f"shards must be at least 1, not {shards}")
    name = checked_tenant(tenant)
    return [f"{{{name}:{crc32(user.encode()) % shards}}}:p:{user}" for user in user_ids]


def segment_key(tenant: str, shard: int, segment: str, generation: str = "") -> str:
    """Where the members of a segment are that belong to this shard."""
    suffix = f"@{generation}" if generation else ""
    return f"{shard_tag(tenant, shard)}:s:{segment}{suffix}"


def scratch_key(tenant: str, shard: int, number: int) -> str:
    """Where a script keeps intermediate result `number`, in the shard's slot."""
    return f"{shard_tag(tenant, shard)}:tmp:{number}"


def best_hours_key(tenant: str, shard: int) -> str:
    """Where the best hours of a shard's users are."""
    return f"{shard_tag(tenant, shard)}:h"


def segments_key(tenant: str) -> str:
    """Where the names of the tenant's segments are."""
    return f"{{{checked_tenant(tenant)}:segments}}"


def definitions_key(tenant: str, kind: str) -> str:
    """Where the tenant's definitions of a kind are."""
    return f"{{{checked_tenant(tenant)}:{kind}}}:definitions"


def definitions_mark_key(tenant: str, kind: str) -> str:
    """Where the text is that changes with them."""
    return f"{{{checked_tenant(tenant)}:{kind}}}:mark"


def definition_lease_key(tenant: str, kind: str, name: str) -> str:
    """Where it stands who changes a definition now."""
    return f"{{{checked_tenant(tenant)}:{kind}}}:l:{name}"


def runs_key(tenant: str, campaign: str) -> str:
    """Where a campaign's runs are."""
    return f"{{{checked_tenant(tenant)}:runs}}:{campaign}"


def progress_key(tenant: str, run_id: str) -> str:
    """Where the marks of a run are."""
    return f"{{{checked_tenant(tenant)}:run}}:{run_id}"


def generations_key(tenant: str) -> str:
    """Where it stands which generation of each segment counts; beside segments_key."""
    return f"{segments_key(tenant)}:g"


def uploads_key(tenant: str, segment: str) -> str:
    """Where a list's uploads are."""
    return f"{segments_key(tenant)}:u:{segment}"


def segment_notes_key(tenant: str) -> str:
    """Where the last attempts to build segments are noted."""
    return f"{segments_key(tenant)}:n"


def segment_lease_key(tenant: str, segment: str) -> str:
    """Where it stands who builds a segment now."""
    return f"{segments_key(tenant)}:l:{segment}"


def cap_key(tag: str, user_id: str, name: str, *, exact: bool) -> str:
    """Where a cap's record of the user is; tag from shard_tag. The length keeps names apart."""
    return f"{tag}:{'z' if exact else 'k'}:{len(name)}:{name}:{user_id}"


def pending_key(tag: str, kind: str, user_id: str) -> str:
    """Where the user's newest record of a kind is; tag from shard_tag."""
    return f"{tag}:w:{kind}:{user_id}"


def gathering_key(tag: str, user_id: str, name: str) -> str:
    """Where a user's open window of this name is; what belongs to it is beside it."""
    return f"{tag}:g:{len(name)}:{name}:{user_id}"


def digest(text: str) -> bytes:
    """Hash to DIGEST_BYTES bytes (BLAKE2b), to stand in for what must not be readable."""
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def hashed_key(tenant: str, kind: str, text: str) -> bytes:
    """Where the record about `text` is; kind is "t" for tokens, "d" for dedup keys."""
    hashed = digest(text)
    name = checked_tenant(tenant).encode()
    return b"{%b:%b%d}:%b" % (name, kind.encode(), hashed[0] % BUCKETS, hashed)


def bucket(hashed: bytes) -> int:
    """Give the number in the hash tag of a key made by hashed_key."""
    return hashed[-DIGEST_BYTES] % BUCKETS


def rate_key(key: str) -> str:
    """Where a shared rate's token bucket is. Raises ValueError for a key with braces."""
    if not key or "{" in key or "}" in key:
        raise ValueError(f"rate key {key!r}: needs at least one character, without braces")
    return f"{{rate:{key}}}"


def quota_key(tenant: str, part: str) -> str:
    """Where a part of the tenant's daily quota is."""
    return f"{{quota:{checked_tenant(tenant)}}}:{part}"


def ledger_key(group: str) -> str:
    """Where a consumer group's high-water marks are. Raises ValueError as rate_key."""
    if not group or "{" in group or "}" in group:
        raise ValueError(f"group {group!r}: needs at least one character, without braces")
    return f"{{ledger:{group}}}"


PRUNING_FROZEN = "{pruning}"
"""Where the credentials are whose dead tokens nobody believes for now."""


def pruning_key(tenant: str, app: str, platform: str) -> str:
    """Where the answers about a credential's tokens are counted. Raises ValueError as rate_key."""
    name = pruning_field(tenant, app, platform)
    if "{" in name or "}" in name:
        raise ValueError(f"credential {name!r}: must not have braces")
    return f"{{pruning:{name}}}"


def pruning_field(tenant: str, app: str, platform: str) -> str:
    """Give a credential's field of PRUNING_FROZEN. Raises ValueError when a part is missing."""
    if not tenant or not app or not platform:
        raise ValueError(f"credential {tenant}/{app}/{platform}: needs tenant, app and platform")
    return f"{tenant}/{app}/{platform}"
