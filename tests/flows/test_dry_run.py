"""A dry run says what a real run then does, and leaves no trace."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from flow_harness import Runner, Stores

from api.cli import run
from api.dry_run_text import lines
from flows.clock import wall_ms
from flows.compose_rehearsal import live_rehearsal
from flows.rehearsal import Reach
from operators.quota import day_of
from schemas.events import decode_event
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome, Platform
from schemas.settings import Settings, as_environment
from schemas.stream import Record
from schemas.topics import DELIVERIES, EVENTS, OUTCOMES
from state.profiles import Device, Profile, QuietHours, RedisProfiles
from state.quotas import RedisDailyQuotas
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments

SHARDS = 4
TENANT: dict[str, Any] = {
    "name": "acme",
    "shards": SHARDS,
    "categories": {"marketing": {"caps": [{"limit": 2, "window_s": "1d"}]}},
    "quotas": {"daily": 5_000},
    "rates": {"per_second": 2},
    "holdout": {"percent": 20, "categories": ["marketing"]},
    "templates": {"hello": {"texts": {"en": {"title": "Hello {{ user.name }}"}}}},
}
USERS = [f"u{n}" for n in range(100)]


def person(number: int) -> Profile | None:
    """Make one of many kinds: without devices, opted out, asleep, nameless, with two devices."""
    at = time.gmtime(wall_ms() / 1_000)
    minute = at.tm_hour * 60 + at.tm_min
    asleep = QuietHours((minute - 60) % 1_440, (minute + 120) % 1_440)
    devices = (
        Device("a", Platform.FCM, "android", f"token-{number}", 1),
        Device("b", Platform.APNS, "ios", f"{number % 4:064x}", 1),
    )
    kind = number % 10
    return Profile(
        f"u{number}",
        0,
        devices=() if kind == 0 else devices[: 1 + number % 2],
        opted_out_categories=("marketing",) if kind == 1 else (),
        quiet_hours=asleep if kind == 2 else None,
        attributes={} if kind == 3 else {"name": "Zoë"},
    )


def event(name: str, **changes: Any) -> bytes:
    whole = {
        "id": name,
        "tenant": "acme",
        "type": "sale",
        "category": "marketing",
        "priority": "low",
        "audience": {"segment": "vip - staff"},
        "template": {"name": "hello"},
    }
    return json.dumps({**whole, **changes}).encode()


@pytest.fixture
def settings(stores: Stores) -> Settings:
    """Give settings of a tenant with people, of whom some have had their two messages."""
    (stores._tenants / "acme.yaml").write_text(yaml.safe_dump(TENANT))
    made = stores.settings()
    small = made.flow.model_copy(update={"chunk_users": 9})
    made = made.model_copy(update={"flow": small})
    client = RedisClient(stores.redis_url)
    RedisProfiles(client).update_many(
        "acme", SHARDS, {f"u{n}": lambda _old, n=n: person(n) for n in range(len(USERS))}
    )
    segments = RedisSegments(client)
    segments.add("acme", SHARDS, "vip", [*USERS, "nobody"])
    segments.add("acme", SHARDS, "staff", ["u5", "u15"])
    client.close()
    audience = {"users": USERS[:30]}
    put(stores, *(event(f"before-{n}", audience=audience) for n in range(2)))
    Runner(made, "route").run()
    return made


def put(stores: Stores, *events: bytes) -> None:
    stores.put([Record(EVENTS["low"], None, one) for one in events])


def trace(stores: Stores) -> dict[bytes, Any]:
    """Give all that Redis holds, with when it expires."""
    client = RedisClient(stores.redis_url)
    found = {
        key: (client.run("DUMP", key), client.run("PEXPIRETIME", key))
        for key in client.run("KEYS", "*")
    }
    client.close()
    return found


def rehearsed(settings: Settings, raw: bytes, *, users_limit: int = 0) -> Reach:
    with live_rehearsal(settings) as rehearsal:
        *_, last = rehearsal.run(decode_event(raw), wall_ms(), users_limit=users_limit)
    return last


@pytest.mark.parametrize(
    "audience",
    [
        {"segment": "vip - staff"},
        {"users": [*USERS[10:60], "nobody"]},
        {"devices": [{"user_id": u, "device_id": d} for d in "ab" for u in USERS[20:50]]},
        {"segment": "no-such"},
    ],
    ids=["segment", "users", "devices", "unknown"],
)
def test_a_dry_run_says_what_a_real_run_does(
    stores: Stores, settings: Settings, audience: dict[str, Any]
) -> None:
    """Reach, devices and every reason to the last user; and Redis is what it was."""
    raw = event("real", audience=audience)
    left = trace(stores)
    reach = rehearsed(settings, raw)
    assert trace(stores) == left
    assert reach.is_whole
    put(stores, raw)
    Runner(settings, "route").run()
    decided = [o for o in stores.decoded(OUTCOMES, Outcome) if o.message_id == "real"]
    sent = [
        d
        for platform in Platform
        for d in stores.decoded(DELIVERIES[platform, "low"], Delivery)
        if d.message_id == "real"
    ]
    # What waits for a rate is on its way: a dry run counts it as reached, and says how long.
    paced = [o for o in decided if o.reason is Reason.TENANT_RATE]
    others = [o for o in decided if o.reason is not Reason.TENANT_RATE]
    assert {(t.status, t.reason): t.decisions for t in reach.decided} == Counter(
        (o.status, o.reason) for o in others
    )
    assert reach.devices == Counter(str(d.platform) for d in (*sent, *paced))
    assert reach.reached == len({o.user_id for o in (*sent, *paced)})
    assert reach.users == len({o.user_id for o in (*sent, *decided) if o.user_id})


def test_many_reasons_were_rehearsed(settings: Settings) -> None:
    """The test above would show little if everybody got it."""
    reach = rehearsed(settings, event("real"))
    assert {one.reason for one in reach.decided} == {
        Reason.UNKNOWN_USER,
        Reason.NO_DEVICE,
        Reason.OPTED_OUT,
        Reason.QUIET_HOURS,
        Reason.HOLDOUT,
        Reason.FREQUENCY_CAP,
        Reason.DUPLICATE_TOKEN,
        Reason.RENDER_ERROR,
    }
    assert reach.slowest_s > 1
    assert reach.held_ms[0] > wall_ms()
    assert len(reach.faults) == 1
    text = "\n".join(lines(reach))
    assert "99 users looked at" in text
    assert "cap for this user was used up" in text


def test_a_quota_gives_out_what_is_left(stores: Stores, settings: Settings) -> None:
    """As many as a real run; which of them, the order of the parts decides, which none can know."""
    used = RedisClient(stores.redis_url)
    left, tenant = 20, {**TENANT}
    day = day_of(wall_ms(), "UTC")
    tenant["quotas"] = {"daily": RedisDailyQuotas(used).used("acme", day) + left}
    used.close()
    (stores._tenants / "acme.yaml").write_text(yaml.safe_dump(tenant))
    raw = event("real")
    reach = rehearsed(settings, raw)
    told = {one.reason: one.decisions for one in reach.decided}
    put(stores, raw)
    Runner(settings, "route").run()
    decided = [o for o in stores.decoded(OUTCOMES, Outcome) if o.message_id == "real"]
    assert reach.reached == left
    assert told[Reason.TENANT_QUOTA] == sum(o.reason is Reason.TENANT_QUOTA for o in decided) > 0


def test_an_event_that_was_sent_is_a_duplicate(settings: Settings) -> None:
    """As it would be if it were sent again."""
    reach = rehearsed(settings, event("before-0"))
    (told,) = reach.decided
    assert (told.status, told.reason) == (Status.SUPPRESSED, Reason.DUPLICATE_EVENT)
    assert told.example_detail.startswith("first seen at events.low/")


def test_a_later_event_is_asked_about_for_its_time(settings: Settings) -> None:
    """In two hours the sleepers are awake."""
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_ms() / 1_000 + 3 * 3_600))
    reach = rehearsed(settings, event("real", send_at=later))
    assert {Reason.QUIET_HOURS, Reason.SCHEDULED}.isdisjoint(t.reason for t in reach.decided)


def test_a_limit_stops_early_and_says_so(settings: Settings) -> None:
    """After the part in which it is met."""
    reach = rehearsed(settings, event("real"), users_limit=10)
    assert not reach.is_whole
    assert 10 <= reach.users < 40
    assert "--users-limit" in "\n".join(lines(reach))


def test_the_command_prints_the_reach(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a file, with the settings of the environment; as text and as JSON."""
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "event.json"
    file.write_bytes(event("real"))
    assert run(["dry-run", str(file)]) == 0
    assert "real of acme (marketing, low)" in capsys.readouterr().out
    assert run(["dry-run", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reached"] > 0
    assert told["is_whole"] is True
    file.write_bytes(event("real", audience={"users": ["nobody"]}))
    assert run(["dry-run", str(file)]) == 1
