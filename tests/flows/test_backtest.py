"""Events run again: the same rules decide the same, others otherwise, and nothing is sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client
from flow_harness import Runner, Stores

from api.backtest_text import lines
from api.cli import run
from flows.backtest_run import Compared
from flows.clock import wall_ms
from flows.compose_backtest import live_backtest, read_policy
from flows.compose_stores import clickhouse_of
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome, Platform
from schemas.settings import as_environment
from schemas.stream import Record
from schemas.topics import DELIVERIES, EVENTS, OUTCOMES
from sinks.clickhouse import ClickHouseWriter, connect
from sinks.clickhouse_migrations import migrate
from sinks.clickhouse_once import ExactlyOnceWriter
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from tests.contract.clickhouse.conftest import FacadeProcess
from tests.contract.clickhouse.outcome_log import TOPIC, record

TENANT: dict[str, Any] = {
    "name": "acme",
    "shards": 4,
    "categories": {
        "marketing": {"quiet_hours": "ignore", "caps": [{"limit": 2, "window_s": "1d"}]},
        "alerts": {"quiet_hours": "ignore"},
    },
}
USERS = [f"u{n}" for n in range(20)]
HOUR_MS = 3_600_000


def person(number: int) -> Profile:
    device = Device("d", Platform.FCM, "android", f"token-{number}", 1)
    return Profile(
        f"u{number}",
        0,
        devices=(device,),
        opted_out_categories=("alerts",) if number == 0 else (),
    )


def event(name: str, category: str, **changes: Any) -> Record:
    whole = {
        "id": name,
        "tenant": "acme",
        "type": "t",
        "category": category,
        "priority": "low",
        "audience": {"segment": "vip"},
        "content": {"title": "Hello"},
    }
    return Record(EVENTS["low"], name.encode(), json.dumps({**whole, **changes}).encode())


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[int]:
    facade = FacadeProcess(tmp_path / "clickhouse")
    yield facade.start()
    facade.stop()


class Lived:
    """A tenant with a past: what was sent is in ClickHouse, what was sent before it, too."""

    def __init__(self, stores: Stores, port: int, directory: Path) -> None:
        self.directory = directory
        (stores._tenants / "acme.yaml").write_text(yaml.safe_dump(TENANT))
        self.settings = stores.settings(clickhouse={"url": f"http://127.0.0.1:{port}"})
        self.stores = stores
        where = clickhouse_of(self.settings)
        client = connect(where, database="")
        migrate(client, database=where.database)
        client.close()
        redis = RedisClient(stores.redis_url)
        people = {f"u{n}": lambda _old, n=n: person(n) for n in range(len(USERS))}
        RedisProfiles(redis).update_many("acme", 4, people)
        RedisSegments(redis).add("acme", 4, "vip", USERS)
        redis.close()
        self.from_ms = wall_ms() - 1_000
        stores.put(
            [
                *(event(f"sale-{n}", "marketing") for n in range(4)),
                event("alert", "alerts"),
                event("alert", "alerts"),
                event("listed", "alerts", audience={"users": [*USERS[:3], "nobody"]}),
                event("other", "marketing", tenant="beta"),
                Record(EVENTS["low"], None, b"{no event"),
            ]
        )
        Runner(self.settings, "route").run()
        self._record()

    def _record(self) -> None:
        """Put what was decided, and the sends that followed, into ClickHouse."""
        outcomes = self.stores.decoded(OUTCOMES, Outcome)
        sends = self.stores.decoded(DELIVERIES["fcm", "low"], Delivery)
        told = [
            {name: getattr(o, name) for name in Outcome.__struct_fields__}
            for o in (*outcomes, *map(_sent, sends))
        ]
        # u19 had one message of marketing an hour before the period begins.
        earlier = {**told[-1], "outcome_id": "x", "delivery_id": "y", "message_id": "early"}
        earlier |= {"user_id": "u19", "occurred_at_ms": self.from_ms - HOUR_MS}
        earlier |= {"category": "marketing"}
        where = clickhouse_of(self.settings)
        once = ExactlyOnceWriter(ClickHouseWriter(client_factory=lambda: connect(where)))
        once.assign(TOPIC, [0])
        once.write([record(0, n, **one) for n, one in enumerate([*told, earlier])])

    def policy(self, **changes: Any) -> Path:
        path = self.directory / "new.yaml"
        path.write_text(yaml.safe_dump({**TENANT, **changes}))
        return path

    def compare(self, policy: Path, *, limit: int = 1_000) -> Compared:
        rules, now = read_policy(self.settings, policy)
        with live_backtest(self.settings, rules, now, self.from_ms, limit=limit) as test:
            *_, told = test.run(self.from_ms, wall_ms())
        return told

    def client(self) -> Client:
        return connect(clickhouse_of(self.settings))


def _sent(d: Delivery) -> Outcome:
    return Outcome(
        d.delivery_id, wall_ms(), d.tenant, d.message_id, Status.SENT, Reason.ACCEPTED,
        d.priority, d.user_id, d.device_id, d.delivery_id, d.platform, d.category, d.type,
        attempt=1,
    )  # fmt: skip


@pytest.fixture
def lived(stores: Stores, clickhouse: int, tmp_path: Path) -> Lived:
    return Lived(stores, clickhouse, tmp_path)


def trace(lived: Lived) -> list[Any]:
    """Give all that Redis holds, and how much Kafka and ClickHouse do."""
    redis = RedisClient(lived.stores.redis_url)
    held = [redis.run("DUMP", key) for key in sorted(redis.run("KEYS", "*"))]
    redis.close()
    client = lived.client()
    rows = client.query("SELECT count() FROM outcomes").result_rows
    client.close()
    topics = [OUTCOMES, *DELIVERIES.values(), *EVENTS.values()]
    return [held, rows, [len(lived.stores.read(topic)) for topic in topics]]


def rows_of(told: Compared) -> dict[tuple[str, str, str], tuple[int, int, int | None]]:
    return {(r.category, r.status, r.reason): (r.was, r.would, r.today) for r in told.rows}


def test_the_same_rules_decide_the_same(lived: Lived) -> None:
    """To the last decision but one: u19's message before the period is now known to the cap."""
    left = trace(lived)
    told = lived.compare(lived.policy())
    assert trace(lived) == left
    assert rows_of(told) == {
        ("alerts", "suppressed", "duplicate_event"): (1, 1, 1),
        ("alerts", "suppressed", "opted_out"): (2, 2, 2),
        ("alerts", "suppressed", "unknown_user"): (1, 1, 1),
        ("alerts", "to send", ""): (21, 21, 21),
        ("marketing", "suppressed", "frequency_cap"): (40, 41, 41),
        ("marketing", "to send", ""): (40, 39, 39),
    }
    assert (told.events, told.others, told.unreadable, told.is_cut) == (7, 1, 1, False)


def test_other_rules_decide_otherwise(lived: Lived) -> None:
    """A smaller cap, an opt-in category and one that is gone; each row says what changes."""
    categories = {"marketing": {"caps": [{"limit": 1, "window_s": "1d"}]}}
    told = lived.compare(lived.policy(categories=categories))
    rows = rows_of(told)
    assert rows["marketing", "to send", ""] == (40, 19, 39)
    assert rows["marketing", "suppressed", "frequency_cap"] == (40, 61, 41)
    assert rows["alerts", "rejected", "unknown_category"] == (0, 3, 0)
    assert rows["alerts", "to send", ""] == (21, 0, 21)
    opt_in = {**TENANT["categories"], "alerts": {"consent": "opt_in"}}
    rows = rows_of(lived.compare(lived.policy(categories=opt_in)))
    assert rows["alerts", "suppressed", "not_opted_in"][1] == 21


def test_a_limit_cuts_the_period_and_says_so(lived: Lived) -> None:
    """Both sides end there."""
    told = lived.compare(lived.policy(), limit=2)
    assert told.is_cut
    assert told.events == 2
    assert told.to_ms < wall_ms()
    assert "only the oldest were read" in "\n".join(lines(told))


def test_the_command_prints_a_table(
    lived: Lived, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text and as JSON; and what is wrong with a policy by field and fix."""
    for name, value in as_environment(lived.settings).items():
        monkeypatch.setenv(name, value)
    words = ["backtest", "--from", "1h", "--policy"]
    assert run([*words, str(lived.policy())]) == 0
    shown = capsys.readouterr().out
    assert "marketing  suppressed frequency_cap" in shown
    assert "note: profiles" in shown
    assert run([*words, str(lived.policy()), "--json", "--today"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["today"] is None for row in told["rows"]} == {False}
    for changes, said in (
        ({"shards": 8}, "shards: users are in 4 parts"),
        ({"name": "nobody"}, "name: no tenant 'nobody'"),
        ({"categories": {"marketing": {"caps": [{"limit": 0}]}}}, "categories.marketing.caps.0"),
    ):
        assert run([*words, str(lived.policy(**changes))]) == 1
        shown = capsys.readouterr().err
        assert said in shown
        assert "Traceback" not in shown


def test_an_explanation_of_what_was_decided(
    lived: Lived, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the real stores: the chain, the profile, an event that was none, a duplicate."""
    for name, value in as_environment(lived.settings).items():
        monkeypatch.setenv(name, value)
    assert run(["explain", "--message", "alert", "--user", "u0"]) == 0
    shown = capsys.readouterr().out
    assert "suppressed opted_out" in shown
    assert "saw: no to category alerts" in shown
    assert "device_id d, platform fcm" in shown
    assert "token-0" not in shown
    assert "the event that was first: this same id, sent before" in shown
    assert run(["explain", "--message", "sale-3", "--tenant", "acme"]) == 0
    assert "20 users:" in capsys.readouterr().out
    assert run(["explain", "--message", "no-such"]) == 1
    assert "What may be the cause" in capsys.readouterr().out
    places = [f"{EVENTS['low']}/{partition}/{n}" for partition in range(4) for n in range(9)]
    rejected = [place for place in places if not run(["explain", "--event", place])]
    assert rejected
    assert "bad_event" in capsys.readouterr().out
