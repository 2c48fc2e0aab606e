"""The application with limits: 429 with what a client needs to know, and for whom it is not."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.auth.leased_limits import LeasedLimits
from api.web.app import create_app
from api.web.door import Door
from schemas.tenant import Tenant
from state.event_quotas import RedisEventQuotas
from state.rates import RedisRates
from tests.contract.api.door_stand import NOW_MS, TENANTS, AppliedOutbox
from tests.contract.api.test_events import event


def limited(door: Door, **limits: Any) -> Door:
    """Give the door with these limits for acme; the clock stands still."""
    access = {"limits": limits}
    acme = Tenant.model_validate(
        TENANTS["acme"].model_dump(mode="json", exclude_unset=True) | {"access": access}
    )
    rates, quotas = RedisRates(door.redis), RedisEventQuotas(door.redis)
    found = LeasedLimits(
        {**TENANTS, "acme": acme},
        rates,
        quotas,
        now_ms=lambda: NOW_MS,
        day_ms=lambda: NOW_MS,
    )
    return replace(door, limits=found)


def caller(door: Door, credential: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(door))
    headers = {"Authorization": f"Bearer {credential}"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def test_too_many_requests_are_told_when_to_come_back(door: Door) -> None:
    """429 with Retry-After and the RateLimit headers; another tenant goes on."""
    door = limited(door, key_requests_per_s=2.0)
    client = caller(door, "test:acme:producer")
    answers = [await client.get("/v1/users/u1") for _ in range(5)]
    assert [one.status_code for one in answers] == [404, 404, 404, 404, 429]
    refused = answers[-1]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"key";q=2;w=1, "tenant";q=10000;w=1'
    assert refused.headers["ratelimit"] == '"key";r=0;t=1'
    assert refused.headers["content-type"] == "application/problem+json"
    rival = caller(door, "test:rival:producer")
    assert (await rival.get("/v1/users/u1")).status_code == 404


async def test_what_is_left_is_in_every_answer(door: Door) -> None:
    """Also where the route makes its own response."""
    client = caller(limited(door, key_requests_per_s=5.0), "test:acme:admin")
    listed = await client.get("/v1/templates")
    sent = await client.post("/v1/events", json=event())
    assert listed.headers["ratelimit"] == '"key";r=9;t=1'
    assert sent.headers["ratelimit"] == '"key";r=8;t=1'


@pytest.mark.parametrize("form", ["json", "ndjson"])
async def test_each_event_of_a_batch_counts(door: Door, outbox: AppliedOutbox, form: str) -> None:
    """A batch that is more than what is left of the day is refused whole, a smaller one is not."""
    client = caller(limited(door, events_per_day=5), "test:acme:producer")

    async def send(n: int) -> httpx.Response:
        items = [event(id=f"e{number}") for number in range(n)]
        if form == "json":
            return await client.post("/v1/events", json=items)
        lines = "\n".join(
            httpx.Request("POST", "http://x", json=one).content.decode() for one in items
        )
        return await client.post(
            "/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson"}
        )

    assert (await send(3)).status_code == 202
    refused = await send(3)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 1
    assert '"tenant-day";q=5;w=86400' in refused.headers["ratelimit-policy"]
    assert len(outbox.records) == 3
    assert (await send(2)).status_code == 202
    assert (await client.post("/v1/events", json=event())).status_code == 429
    assert (await client.get("/v1/users/u1")).status_code == 404


async def test_what_is_refused_costs_no_quota(door: Door, outbox: AppliedOutbox) -> None:
    """A single event that is faulty, and a dry run."""
    client = caller(limited(door, events_per_day=1), "test:acme:producer")
    assert (await client.post("/v1/events", json={"type": "t"})).status_code == 422
    assert (await client.post("/v1/events?dry_run=true", json=event())).status_code == 200
    assert (await client.post("/v1/events", json=event())).status_code == 202
    assert len(outbox.records) == 1
