"""Figures over HTTP, from the embedded engine."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.web.app import create_app
from api.web.door import Door
from tests.contract.api.clickhouse_stand import tell
from tests.contract.api.door_stand import NOW_MS, AsCaller

AT_MS = NOW_MS - 600_000
DELIVERIES, REASONS = "/v1/metrics/deliveries", "/v1/metrics/reasons"


def outcome(**more: Any) -> dict[str, Any]:
    return {"occurred_at_ms": AT_MS, "platform": "fcm", "category": "news", **more}


async def test_deliveries_are_counted_over_time(as_caller: AsCaller, door: Door) -> None:
    """The last day by the hour where nothing is said; the tenant's own alone."""
    tell(
        door,
        outcome(latency_ms=80),
        outcome(platform="apns", status="failed", reason="provider_error"),
        outcome(tenant="rival"),
        outcome(occurred_at_ms=NOW_MS - 3 * 86_400_000),
    )
    analyst = as_caller("analyst")
    found = (await analyst.get(DELIVERIES)).json()
    (bucket,) = found["buckets"]
    assert (found["until"], bucket["at"]) == ("2026-11-30T00:53:20Z", "2026-11-30T00:00:00Z")
    assert (bucket["outcomes"], bucket["sent"], bucket["failed"]) == (2, 1, 1)
    assert (bucket["latency_p50_ms"], bucket["platform"]) == (80.0, None)
    asked = {"by": ["platform", "category"], "interval": "minute"}
    told = (await analyst.get(DELIVERIES, params=asked)).json()["buckets"]
    assert [(one["platform"], one["category"], one["outcomes"]) for one in told] == [
        ("apns", "news", 1), ("fcm", "news", 1),
    ]  # fmt: skip
    (only,) = (await analyst.get(DELIVERIES, params={"platform": "apns"})).json()["buckets"]
    assert (only["outcomes"], only["latency_p99_ms"]) == (1, None)
    theirs = (await as_caller("analyst", tenant="rival").get(DELIVERIES)).json()["buckets"]
    assert theirs[0]["outcomes"] == 1


async def test_reasons_are_counted_in_a_window(as_caller: AsCaller, door: Door) -> None:
    """Of one category, if it is named; from is included and to is not."""
    tell(
        door,
        outcome(),
        outcome(status="suppressed", reason="opted_out"),
        outcome(category="alerts"),
        outcome(tenant="rival"),
    )
    analyst = as_caller("analyst")
    found = (await analyst.get(REASONS, params={"category": "news"})).json()["reasons"]
    assert found == [
        {"category": "news", "status": "sent", "reason": "accepted", "outcomes": 1},
        {"category": "news", "status": "suppressed", "reason": "opted_out", "outcomes": 1},
    ]
    asked = {"from": "2026-11-30T00:50:00Z", "to": "2026-11-30T00:53:20Z"}
    assert (await analyst.get(REASONS, params=asked)).json()["reasons"] == []


async def test_a_campaigns_funnel_is_told_by_variant(as_caller: AsCaller, door: Door) -> None:
    """Also of one that is defined no more; of an unknown one 404."""
    tell(
        door,
        outcome(campaign_id="old", user_id="a", variant="A"),
        outcome(campaign_id="old", user_id="b", variant="B", status="opened", reason="feedback"),
    )
    analyst = as_caller("analyst")
    found = (await analyst.get("/v1/metrics/campaigns/old")).json()
    assert (found["funnel"]["targeted_users"], found["funnel"]["sent_users"]) == (2, 1)
    assert [(one["variant"], one["opened_users"]) for one in found["variants"]] == [
        ("A", 0), ("B", 1),
    ]  # fmt: skip
    assert (await analyst.get("/v1/metrics/campaigns/none")).status_code == 404
    rival = as_caller("analyst", tenant="rival")
    assert (await rival.get("/v1/metrics/campaigns/old")).status_code == 404


@pytest.mark.parametrize(
    ("where", "asked", "field"),
    [
        (DELIVERIES, {"interval": "minute", "from": "2026-11-01T00:00:00Z"}, "from"),
        (DELIVERIES, {"interval": "day", "by": "category", "from": "2026-06-01T00:00:00Z"}, "from"),
        (DELIVERIES, {"from": "2026-12-01T00:00:00Z", "to": "2026-11-30T00:00:00Z"}, "from"),
        (DELIVERIES, {"from": "2026-11-01T00:00:00"}, "query.from"),
        (DELIVERIES, {"interval": "week"}, "query.interval"),
        (DELIVERIES, {"by": "user_id"}, "query.by.0"),
        (REASONS, {"from": "2020-01-01T00:00:00Z"}, "from"),
        (REASONS, {"category": "x" * 65}, "query.category"),
    ],
)
async def test_windows_and_names_are_bounded(
    as_caller: AsCaller, where: str, asked: dict[str, str], field: str
) -> None:
    """422 with the field, before ClickHouse is asked."""
    answer = await as_caller("analyst").get(where, params=asked)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


async def test_clickhouse_that_is_away_is_503(door: Door) -> None:
    """With when to try again, and nothing about where it is."""

    def away() -> Any:
        raise OSError("connection to 10.0.0.7 refused")

    app = create_app(replace(door, clickhouse=away))
    headers = {"Authorization": "Bearer test:acme:analyst"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        for where in (DELIVERIES, REASONS, "/v1/metrics/campaigns/spring"):
            answer = await client.get(where)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "10.0.0.7" not in answer.text


async def test_who_sends_sees_no_figures(as_caller: AsCaller) -> None:
    """They need a scope of their own."""
    for where in (DELIVERIES, REASONS, "/v1/metrics/campaigns/spring"):
        assert (await as_caller("producer").get(where)).status_code == 403
