"""What became of campaigns, asked of ClickHouse itself."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.campaigns import Campaign, Run
from sinks.campaign_figures import CampaignFigures
from sinks.clickhouse import ClickHouseSettings, ClickHouseWriter, connect
from sinks.clickhouse_once import ExactlyOnceWriter
from tests.contract.clickhouse.outcome_log import TOPIC, record

CAMPAIGN = Campaign.model_validate(
    {
        "id": "spring",
        "tenant": "acme",
        "message": {"type": "promo", "category": "news", "audience": {"everyone": True},
                    "content": {"title": "Sale"}},
    }
)  # fmt: skip
SECOND_MS = 1_000


class Told:
    """Writes outcomes of run spring:s:1, a second apart."""

    def __init__(self, connect_here: Callable[[], Client]) -> None:
        self._once = ExactlyOnceWriter(ClickHouseWriter(client_factory=connect_here))
        self._once.assign(TOPIC, [0])
        self._offset = 0
        self.now_ms = int(time.time() * 1_000) - 60_000
        run = Run("spring:s:1", "acme", "spring", "s", b"{}", self.now_ms)
        self.run = msgspec.structs.replace(run, started_ms=self.now_ms)

    def tell(self, *outcomes: dict[str, Any]) -> None:
        rows = []
        for one in outcomes:
            self._offset += 1
            at_ms = self.now_ms + self._offset * SECOND_MS
            fields = {"message_id": "spring:s:1", "category": "news", "type": "promo", **one}
            rows.append(record(0, self._offset, occurred_at_ms=at_ms, **fields))
        self._once.write(rows)


@pytest.fixture
def told(client: Client, connect_here: Callable[[], Client]) -> Told:
    assert client.command("SELECT count() FROM outcomes") == 0
    return Told(connect_here)


@pytest.fixture
def figures(connect_here: Callable[[], Client]) -> CampaignFigures:
    return CampaignFigures(connect_here)


def test_a_run_without_outcomes_has_zeros(told: Told, figures: CampaignFigures) -> None:
    """Not NaN, which no gate could be compared with."""
    assert figures.of(told.run, CAMPAIGN) == (0, 0, 0.0, 0, 0)


def test_deliveries_users_and_latency_of_the_run_alone(
    told: Told, figures: CampaignFigures
) -> None:
    """Two devices of a user are two deliveries and one user; other messages are not counted."""
    told.tell(
        {"user_id": "a", "latency_ms": 100},
        {"user_id": "a", "latency_ms": 100},
        {"user_id": "b", "latency_ms": 100},
        {"user_id": "c", "latency_ms": -1},
        {"user_id": "d", "status": "failed", "reason": "token_unregistered"},
        {"user_id": "e", "status": "unknown", "reason": "in_flight_at_crash"},
        {"user_id": "f", "status": "suppressed", "reason": "opted_out"},
        {"user_id": "g", "message_id": "spring:s:2"},
        {"user_id": "h", "tenant": "other"},
    )
    assert figures.of(told.run, CAMPAIGN) == (4, 2, 100.0, 3, 0)


def test_opt_outs_are_those_of_users_reached(
    told: Told, figures: CampaignFigures, client: Client
) -> None:
    """From everything, the category or the type; not from others, nor who was never reached."""
    told.tell(*({"user_id": user} for user in "abcd"))
    opted_out = {"a": ["all"], "b": ["news"], "c": ["ads"], "d": ["promo"], "z": ["all"]}
    rows = [["acme", user, said, 1] for user, said in opted_out.items()]
    client.insert("users", rows, column_names=["tenant", "user_id", "opted_out", "version"])
    assert figures.of(told.run, CAMPAIGN) == (4, 0, 0.0, 4, 3)


def test_speed_is_that_of_late_runs_of_some_size(told: Told, figures: CampaignFigures) -> None:
    """Users from the first outcome to the last; opens, hours later, do not slow it down."""
    assert figures.users_per_s("acme", least=3) is None
    told.tell(*({"user_id": f"u{n}"} for n in range(11)))
    told.tell({"user_id": "u1", "status": "opened", "reason": "feedback"})
    assert figures.users_per_s("acme", least=3) == pytest.approx(1.1)
    assert figures.users_per_s("acme", least=12) is None
    assert figures.users_per_s("other", least=3) is None


def test_funnel_and_reasons(told: Told, figures: CampaignFigures) -> None:
    told.tell(
        {"user_id": "a"},
        {"user_id": "a"},
        {"user_id": "b", "status": "suppressed", "reason": "opted_out"},
        {"user_id": "a", "status": "opened", "reason": "feedback"},
    )
    found = figures.funnel("acme", "spring")
    assert (found["targeted_users"], found["sent_users"], found["opened_users"]) == (2, 1, 1)
    assert found["sent_deliveries"] == 2
    assert figures.reasons("acme", "spring", since_ms=told.run.started_ms)[0] == (
        "sent", "accepted", 2,
    )  # fmt: skip
    assert set(figures.funnel("acme", "none").values()) == {0}


def test_best_hours_are_learned_from_opens(told: Told, figures: CampaignFigures) -> None:
    """The hour with the most opens, in UTC; what was only sent says nothing."""
    told.tell(
        {"user_id": "a", "status": "opened", "reason": "feedback"},
        {"user_id": "b"},
    )
    hour = time.gmtime((told.now_ms + SECOND_MS) / 1_000).tm_hour
    assert [one for block in figures.best_hours("acme", days=90) for one in block] == [("a", hour)]


def test_what_cannot_be_asked_is_none(figures: CampaignFigures, told: Told) -> None:
    """A gate then holds the campaign where it is."""
    away = CampaignFigures(lambda: connect(ClickHouseSettings(port=9, connect_timeout_s=1)))
    assert away.of(told.run, CAMPAIGN) is None
    assert figures.of(told.run, CAMPAIGN) is not None
