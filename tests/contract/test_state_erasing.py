"""What Redis holds of a user is found and removed; what is others' stays."""

from collections.abc import Sequence

import pytest

from state import keys
from state.best_hours import RedisBestHours
from state.caps import CapCheck, CapLimit, RedisCaps
from state.erasing import Membership, RedisErasing
from state.gatherings import Closing, Joining, RedisGatherings
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import EVERYONE, Generation
from state.tokens import Owner, RedisTokens, TokenClaim

pytest_plugins = ["tests.contract.state_fixtures"]

SHARDS = 4
NOW_MS = 1_796_000_000_000
# Names that are parts of each other, and such as could be taken for parts of a key.
ERASED = ["anna", "b:anna", "é", "u1"]
OTHERS = ["c:b:anna", "anna:x", "xu1", "anna2", "1:n:anna"]


@pytest.fixture(params=["valkey_client_alone", "valkey_client_clustered"])
def client(request: pytest.FixtureRequest) -> RedisClient:
    """Give an empty store."""
    found: RedisClient = request.getfixturevalue(request.param)
    found.run("FLUSHALL")
    return found


def fill(client: RedisClient, tenant: str, users: Sequence[str]) -> None:
    """Write something of every kind for each user."""
    segments = RedisSegments(client)
    segments.add(tenant, SHARDS, EVERYONE, users)
    segments.add(tenant, SHARDS, "buyers", users)
    for order, name in enumerate(("g1", "g2"), 1):
        segments.stage(tenant, SHARDS, "vip", name, users)
        to = Generation(order=order, generation=name, kind="list", at_ms=order)
        segments.switch(tenant, SHARDS, "vip", to)
    RedisBestHours(client).put_many(tenant, SHARDS, [(user, 9) for user in users])
    limits = tuple(CapLimit(name, 5, 60_000) for name in ("news", "a:b", "ü"))
    for exact in (True, False):
        checks = [CapCheck(user, "m", limits, exact=exact) for user in users]
        RedisCaps(client).admit_many(tenant, SHARDS, checks, NOW_MS)
    joining = [Joining(user, "d:1", f"i-{user}", b"x", NOW_MS + 9_000, 9) for user in users]
    RedisGatherings(client).join_many(tenant, SHARDS, joining, NOW_MS)
    claims = [TokenClaim(f"t-{user}", user, "d", 1) for user in users]
    RedisTokens(client).claim_many(tenant, claims)
    for user in users:
        tag = keys.shard_tag(tenant, keys.shard_of(user, SHARDS))
        client.run("SET", f"{tag}:w:u:{user}", b"x")


def everything(client: RedisClient, tenant: str) -> set[bytes]:
    """Give all keys and members of a tenant."""
    found: set[bytes] = set()
    for batch in client.scan(f"{{{tenant}:*", step=100):
        for key in batch:
            found.add(key)
            kind = client.run("TYPE", key)
            if kind == b"set":
                found |= {key + b" " + one for one in client.run("SMEMBERS", key)}
            elif kind == b"hash":
                found |= {key + b" " + one for one in client.run("HKEYS", key)}
    return found


def test_what_is_left_is_what_others_alone_would_have(client: RedisClient) -> None:
    """Key by key and member by member; another tenant's users of the same name stay."""
    fill(client, "acme", OTHERS)
    meant = everything(client, "acme")
    client.run("FLUSHALL")
    fill(client, "rival", ERASED)
    theirs = everything(client, "rival")
    fill(client, "acme", [*ERASED, *OTHERS])
    found = RedisErasing(client).sweep("acme", SHARDS, ERASED)
    left = everything(client, "acme")
    # Windows' items are named by who opened them.
    assert left == meant
    assert everything(client, "rival") == theirs
    counts = {"segments": 4, "best_hours": 1, "caps": 6, "gatherings": 3, "tokens": 1, "records": 1}
    assert {user: dict(kinds) for user, kinds in found.items()} == dict.fromkeys(ERASED, counts)


def test_again_removes_nothing(client: RedisClient) -> None:
    """A crash between a sweep and its note does no harm."""
    fill(client, "acme", [*ERASED, *OTHERS])
    erasing = RedisErasing(client)
    erasing.sweep("acme", SHARDS, ERASED)
    again = erasing.sweep("acme", SHARDS, ERASED)
    assert sum(sum(kinds.values()) for kinds in again.values()) == 0


def test_a_token_forgets_whom_it_came_from(client: RedisClient) -> None:
    """Its owner keeps it."""
    tokens = RedisTokens(client)
    tokens.claim_many("acme", [TokenClaim("t", "anna", "d", 1)])
    tokens.claim_many("acme", [TokenClaim("t", "eve", "d2", 2)])
    RedisErasing(client).sweep("acme", SHARDS, ["anna"])
    assert tokens.owners("acme", ["t"]) == [Owner("eve", "d2")]
    (again,) = tokens.claim_many("acme", [TokenClaim("t", "eve", "d2", 2)])
    assert again.previous is None


def test_the_lists_that_users_are_in(client: RedisClient) -> None:
    """By the generation that counts; rules and queries are none."""
    fill(client, "acme", ["anna", "eve"])
    segments = RedisSegments(client)
    segments.stage("acme", SHARDS, "rule", "r1", ["anna"])
    to = Generation(order=1, generation="r1", kind="rule", at_ms=1)
    segments.switch("acme", SHARDS, "rule", to)
    erasing = RedisErasing(client)
    assert erasing.lists("acme", SHARDS, ["anna", "x"]) == [Membership("anna", "vip", "g2")]
    erasing.sweep("acme", SHARDS, ["anna"])
    assert erasing.lists("acme", SHARDS, ["anna", "eve"]) == [Membership("eve", "vip", "g2")]
    assert segments.members("acme", keys.shard_of("anna", SHARDS), "rule") == []


def test_a_closed_window_goes_too(client: RedisClient) -> None:
    """Its items are kept for a while after it was sent."""
    gatherings = RedisGatherings(client)
    (joined,) = gatherings.join_many(
        "acme", SHARDS, [Joining("anna", "d", "i", b"x", NOW_MS + 1, 9)], NOW_MS
    )
    closing = Closing("anna", "d", joined.window_id, "by")
    assert gatherings.close_many("acme", SHARDS, [closing], NOW_MS + 2)[0].items
    RedisErasing(client).sweep("acme", SHARDS, ["anna"])
    assert everything(client, "acme") == set()
