"""What a tenant rules, over crashes of route: quota, group caps, flags, variants, hooks."""

import json
import os
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flow_harness import TENANT, Runner, Stores, run_through_crashes

from operators.flags import is_on
from schemas.outcomes import Reason
from schemas.pipeline import Delivery, Outcome, Platform
from schemas.stream import Record
from schemas.tenant import Tenant
from schemas.topics import DELIVERIES, EVENTS, OUTCOMES
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient
from tests.unit.flows.hook_package import install

USERS, EVENTS_EACH = 30, 4
ANY = {"quiet_hours": "ignore"}
QUOTA = 50


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    return Profile(f"u{number}", 0, devices=(device,))


def _ready(stores: Stores, **changes: Any) -> Tenant:
    tenant = {**TENANT, **changes}
    (stores._tenants / "acme.yaml").write_text(json.dumps(tenant))
    redis = RedisClient(stores.redis_url)
    users = {f"u{number}": partial(_profile, number) for number in range(USERS)}
    RedisProfiles(redis).update_many("acme", 4, users)
    redis.close()
    return Tenant.model_validate(tenant)


def _event(number: int, **changes: Any) -> Record:
    event = {
        "id": f"e{number}",
        "tenant": "acme",
        "type": "t",
        "category": "news",
        "priority": "high",
        "audience": {"users": [f"u{number % USERS}"]},
        "content": {"title": "Hello"},
        **changes,
    }
    return Record(EVENTS["high"], str(number).encode(), json.dumps(event).encode())


def _results(stores: Stores) -> tuple[list[Delivery], list[Outcome]]:
    sent = stores.decoded(DELIVERIES["apns", "high"], Delivery)
    assert len({delivery.delivery_id for delivery in sent}) == len(sent)
    return sent, stores.decoded(OUTCOMES, Outcome)


def test_a_days_quota_is_given_out_exactly_over_crashes(stores: Stores) -> None:
    """What is done again takes what it took."""
    _ready(stores, categories={"news": ANY}, quotas={"daily": QUOTA})
    count = USERS * EVENTS_EACH
    stores.put([_event(number) for number in range(count)])
    run_through_crashes(Runner(stores.settings(), "route"))
    sent, outcomes = _results(stores)
    assert len(sent) == QUOTA
    assert Counter(o.reason for o in outcomes) == {Reason.TENANT_QUOTA: count - QUOTA}


def test_a_cap_over_two_categories_holds_over_crashes(stores: Stores) -> None:
    """Everyone gets two of four, whichever category they came in."""
    group = {"name": "both", "limits": [{"limit": 2, "window_s": "1d"}]}
    _ready(stores, categories={"news": ANY, "ads": ANY}, caps=[group])
    stores.put(
        [
            _event(number, category=("news", "ads")[number // USERS % 2])
            for number in range(USERS * EVENTS_EACH)
        ]
    )
    run_through_crashes(Runner(stores.settings(), "route"))
    sent, outcomes = _results(stores)
    assert Counter(d.user_id for d in sent) == Counter({f"u{n}": 2 for n in range(USERS)})
    assert {o.reason for o in outcomes} == {Reason.FREQUENCY_CAP}


def test_users_keep_their_variant_and_their_flag_over_crashes(stores: Stores) -> None:
    """All messages of a campaign show a user the same one."""
    acme = _ready(stores, categories={"news": {**ANY, "flag": "f"}}, flags={"f": 50})
    variants = [{"name": "a"}, {"name": "b", "content": {"title": "HELLO"}}]
    stores.put(
        [
            _event(number, campaign_id="c", variants=variants)
            for number in range(USERS * EVENTS_EACH)
        ]
    )
    run_through_crashes(Runner(stores.settings(), "route"))
    sent, outcomes = _results(stores)
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for delivery in sent:
        seen[delivery.user_id].add(delivery.variant)
    on = {user for user in (f"u{n}" for n in range(USERS)) if is_on(acme, "f", user)}
    assert set(seen) == on
    assert len(sent) == len(on) * EVENTS_EACH
    assert {tuple(names) for names in seen.values()} == {("a",), ("b",)}
    assert {(o.reason, bool(o.variant)) for o in outcomes} == {(Reason.FLAG_OFF, True)}


def test_a_hook_decides_over_crashes(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event is asked about; what it says no to ends with its words."""
    package = tmp_path / "package"
    package.mkdir()
    paths = [str(install(package)), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    hook = {"name": "in_stock", "timeout_s": 5}
    _ready(stores, categories={"news": ANY}, hooks={"before_routing": hook})
    count = USERS * EVENTS_EACH
    content = {"title": "Hello"}
    stores.put(
        [
            _event(number, content={**content, "data": {"stock": str(number % 2)}})
            for number in range(count)
        ]
    )
    run_through_crashes(Runner(stores.settings(), "route"))
    sent, outcomes = _results(stores)
    assert {d.message_id for d in sent} == {f"e{n}" for n in range(1, count, 2)}
    assert Counter(o.message_id for o in outcomes) == Counter(f"e{n}" for n in range(0, count, 2))
    assert {(o.reason, o.detail) for o in outcomes} == {(Reason.HOOK, "hook in_stock: sold out")}
