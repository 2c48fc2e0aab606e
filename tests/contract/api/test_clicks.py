"""Links that count their clicks."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from api.auth.signing import Purpose, Signer
from api.web import clicks
from api.web.door import Door
from operators.feedback import outcome_of
from schemas.links import Link, LinkRules
from schemas.stream import Record
from schemas.topics import FEEDBACK
from tests.contract.api.door_stand import NOW_MS, TENANTS, AppliedOutbox, AsCaller
from tests.contract.api.examples_clicks import LINK

TO_SHOP = Link("acme", LINK["url"], "m-1", "u1", "x", "spring")


def lost() -> float:
    return REGISTRY.get_sample_value(
        "clarion_api_clicks_total", {"tenant": "acme", "result": "lost"}
    ) or 0.0  # fmt: skip


def signed(door: Door, link: Any = TO_SHOP, purpose: Purpose = Purpose.CLICK) -> str:
    return door.signer.sign(purpose, link)


async def test_a_link_counts_its_click_and_leads_on(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Made by the producer, followed by anybody; the click is an outcome of its message."""
    more = {"delivery_id": "x", "campaign_id": "spring"}
    answer = await as_caller("producer").post(
        "/v1/links/clicks", json={"items": [{**LINK, **more}]}
    )
    (made,) = answer.json()["results"]
    assert made["url"].startswith("http://test/v1/c/")
    followed = await as_caller().get(made["url"])
    assert followed.status_code == 302
    assert followed.headers["location"] == LINK["url"]
    assert "no-store" in followed.headers["cache-control"]
    (record,) = outbox.of(FEEDBACK)
    found = outcome_of(record.value, NOW_MS)
    assert (found.tenant, found.message_id, found.user_id, found.status) == (
        "acme", "m-1", "u1", "clicked",
    )  # fmt: skip
    assert (found.delivery_id, found.campaign_id, found.detail) == ("x", "spring", LINK["url"])
    assert found.occurred_at_ms == NOW_MS // 1_000 * 1_000


async def test_links_bear_the_public_address(as_caller: AsCaller, app: FastAPI, door: Door) -> None:
    """Where the API is reached, not how the producer happened to call it."""
    api = door.settings.api.model_copy(update={"public_url": "https://n.example.com"})
    app.state.door = replace(door, settings=door.settings.model_copy(update={"api": api}))
    answer = await as_caller("producer").post("/v1/links/clicks", json={"items": [LINK]})
    assert answer.json()["results"][0]["url"].startswith("https://n.example.com/v1/c/")


async def test_each_link_is_answered_by_itself(as_caller: AsCaller) -> None:
    """A host that is not allowed keeps no other link back, and the fix names the rule."""
    items = [
        LINK,
        {**LINK, "url": "https://evil.example/"},
        {**LINK, "url": "https://shop.example.com/\r\nSet-Cookie: a=b"},
        {**LINK, "user_id": ""},
        {**LINK, "url": "https://a.example.org/x"},
    ]
    answer = await as_caller("producer").post("/v1/links/clicks", json={"items": items})
    results = answer.json()["results"]
    assert ["url" in one for one in results] == [True, False, False, False, True]
    (fault,) = results[1]["problem"]["errors"]
    assert fault["field"] == "url"
    assert "links.link_hosts" in fault["fix"]


async def test_a_link_fits_into_what_can_be_opened(as_caller: AsCaller) -> None:
    """The longest URL does with plain ids; with ids that make it too long it is refused."""
    url = "https://shop.example.com/".ljust(2_048, "x")
    long_ids = {"message_id": "😀" * 128, "user_id": "😀" * 128, "delivery_id": "😀" * 128}
    items = [{**LINK, "url": url}, {**LINK, "url": url, **long_ids}]
    answer = await as_caller("producer").post("/v1/links/clicks", json={"items": items})
    good, bad = answer.json()["results"]
    assert (await as_caller().head(good["url"])).headers["location"] == url
    assert "shorter" in bad["problem"]["detail"]


async def test_a_head_request_records_nothing(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Nor does what a browser fetches ahead."""
    path = f"/v1/c/{signed(door)}"
    looked = await as_caller().head(path)
    ahead = await as_caller().get(path, headers={"Sec-Purpose": "prefetch;prerender"})
    assert looked.headers["location"] == ahead.headers["location"] == LINK["url"]
    assert not outbox.records


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "make",
    [
        lambda _door: "x",
        lambda door: signed(door)[:-1],
        lambda door: "A" + signed(door)[1:],
        lambda door: signed(door, purpose=Purpose.UNSUBSCRIBE),
        lambda door: signed(door, ["acme", LINK["url"]]),
        lambda door: signed(door, "https://evil.example/"),
        lambda door: signed(door, Link("nobody", LINK["url"], "m-1", "u1")),
        lambda door: signed(door, Link("acme", "https://evil.example/", "m-1", "u1")),
        lambda _door: Signer([b"other key".ljust(32)]).sign(Purpose.CLICK, TO_SHOP),
    ],
)
async def test_what_was_not_made_here_leads_nowhere(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox, method: str, make: Any
) -> None:
    """Damaged, for another purpose, by another key, to a host that is not allowed."""
    answer = await as_caller().request(method, f"/v1/c/{make(door)}")
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert not outbox.records


async def test_a_host_that_is_allowed_no_more_is_not_led_to(
    as_caller: AsCaller, app: FastAPI, door: Door
) -> None:
    """The rules of now count, not those of when the link was made."""
    path = f"/v1/c/{signed(door)}"
    none = TENANTS["acme"].model_copy(update={"links": LinkRules()})
    app.state.door = replace(door, tenants={"acme": none})
    assert (await as_caller().get(path)).status_code == 404


async def test_nobody_waits_for_kafka(
    as_caller: AsCaller,
    app: FastAPI,
    door: Door,
    outbox: AppliedOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refused or not acknowledged in time: the user is led on, and the loss is counted."""
    path, before = f"/v1/c/{signed(door)}", lost()
    outbox.refuses = True
    assert (await as_caller().get(path)).status_code == 302
    assert lost() == before + 1

    class Silent(AppliedOutbox):
        async def put(self, records: Sequence[Record]) -> None:
            del records
            await asyncio.Event().wait()

    monkeypatch.setattr(clicks, "ACK_WAIT_S", 0.01)
    app.state.door = replace(door, outbox=Silent(door.redis))
    assert (await as_caller().get(path)).status_code == 302
    assert lost() == before + 2


@pytest.mark.parametrize("role", ["device", "analyst"])
async def test_who_sends_nothing_makes_no_links(as_caller: AsCaller, role: str) -> None:
    """403 without the scope of those who send."""
    answer = await as_caller(role).post("/v1/links/clicks", json={"items": [LINK]})
    assert answer.status_code == 403
