"""Token owners: memory and Redis behave alike."""

import pytest

from state.redis_client import RedisClient
from state.tokens import Claim, Owner, RedisTokens
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


def test_the_first_claim_wins_and_leaves_nobody(stores: Stores) -> None:
    """A new token has no previous owner."""
    assert stores.tokens.claim_many("acme", [("tok", "u1", "d1", 100)]) == [Claim(None, won=True)]
    assert stores.tokens.owners("acme", ["tok", "other"]) == [Owner("u1", "d1"), None]


def test_a_token_that_registers_under_a_new_user_leaves_the_old_one(stores: Stores) -> None:
    """The later claim wins and names whom it left."""
    answers = stores.tokens.claim_many("acme", [("t", "u1", "d1", 100), ("t", "u2", "d2", 101)])
    assert answers == [Claim(None, won=True), Claim(Owner("u1", "d1"), won=True)]


def test_an_older_claim_loses_to_the_recorded_one(stores: Stores) -> None:
    """A claim that arrives late changes nothing; neither does one of the same time."""
    stores.tokens.claim_many("acme", [("t", "u2", "d2", 100)])
    late = stores.tokens.claim_many("acme", [("t", "u1", "d1", 99), ("t", "u1", "d1", 100)])
    assert late == [Claim(Owner("u2", "d2"), won=False)] * 2
    assert stores.tokens.owners("acme", ["t"]) == [Owner("u2", "d2")]


def test_a_replayed_claim_gets_the_same_answer(stores: Stores) -> None:
    """A crash between claim and clean-up does not lose whom the token left."""
    batch = [("t", "u1", "d1", 100), ("t", "u2", "d2", 200), ("t", "u2", "d2", 300)]
    stores.tokens.claim_many("acme", batch)
    assert stores.tokens.claim_many("acme", batch[1:]) == [Claim(Owner("u1", "d1"), won=True)] * 2
    assert stores.tokens.owners("acme", ["t"]) == [Owner("u2", "d2")]


def test_an_owners_repeat_does_not_set_its_time_back(stores: Stores) -> None:
    """After claims at 300 and 100, a foreign claim at 200 still loses."""
    stores.tokens.claim_many("acme", [("t", "u1", "d1", 300), ("t", "u1", "d1", 100)])
    assert not stores.tokens.claim_many("acme", [("t", "u2", "d2", 200)])[0].won


def test_only_the_owner_can_release_and_only_what_it_had_by_then(stores: Stores) -> None:
    """A token that moved or registered again since stays."""
    stores.tokens.claim_many("acme", [("t", "u1", "d1", 100)])
    asked = [("t", "u2", "d2", 500), ("t", "u1", "d1", 99), ("t", "u1", "d1", 100)]
    assert stores.tokens.release_many("acme", [*asked, asked[-1]]) == [False, False, True, False]
    assert stores.tokens.owners("acme", ["t"]) == [None]


def test_tenants_and_empty_batches(stores: Stores) -> None:
    """Tenants own the same token independently; nothing asked is nothing answered."""
    stores.tokens.claim_many("acme", [("t", "u1", "d1", 100)])
    assert stores.tokens.claim_many("other", [("t", "u2", "d2", 50)]) == [Claim(None, won=True)]
    assert stores.tokens.claim_many("acme", []) == []
    assert stores.tokens.release_many("acme", []) == []
    assert stores.tokens.owners("acme", []) == []


def test_many_tokens_keep_their_order(stores: Stores) -> None:
    """More than one script call and slot, answers in place."""
    claims = [(f"tok{n}", f"u{n}", "d", 1) for n in range(600)]
    stores.tokens.claim_many("acme", claims)
    moved = stores.tokens.claim_many("acme", [(t, "new", "d", 2) for t, _, _, _ in claims])
    assert [claim.previous for claim in moved] == [Owner(u, "d") for _, u, _, _ in claims]


def test_the_token_itself_is_never_stored(valkey_client_alone: RedisClient) -> None:
    """Neither key nor value holds it."""
    valkey_client_alone.run("FLUSHALL")
    RedisTokens(valkey_client_alone).claim_many("acme", [("s3cret-token", "u1", "d1", 100)])
    (key,) = valkey_client_alone.run("KEYS", "*")
    assert b"s3cret" not in key + valkey_client_alone.run("GET", key)


@pytest.mark.parametrize("tenant", ["", "a}b"])
def test_a_tenant_that_would_break_the_key_is_refused(stores: Stores, tenant: str) -> None:
    """As for profiles."""
    with pytest.raises(ValueError, match="tenant"):
        stores.tokens.claim_many(tenant, [("t", "u", "d", 1)])
