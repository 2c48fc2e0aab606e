"""The browser SDK's files, and what browsers may ask of the API."""

import dataclasses

import httpx
import pytest
from fastapi import FastAPI

from api.web.app import create_app
from api.web.door import Door
from schemas.settings import load_settings
from tests.contract.api.door_stand import AsCaller

SITE = "https://shop.example.com"
SCRIPTS = ["/v1/sdk/clarion.js", "/v1/sdk/clarion-sw.js"]


@pytest.fixture
def door_for_a_site(door: Door) -> FastAPI:
    """Give an application that answers pages of one site."""
    settings = load_settings(api={"cors_origins": [SITE]})
    return create_app(dataclasses.replace(door, settings=settings))


def of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize("path", SCRIPTS)
async def test_scripts_come_as_scripts_for_any_site(as_caller: AsCaller, path: str) -> None:
    """With the type that browsers insist on, and leave to be loaded from elsewhere."""
    answer = await as_caller().get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["service-worker-allowed"] == "/"
    assert "Clarion" in answer.text


@pytest.mark.parametrize("path", SCRIPTS)
async def test_a_script_that_the_browser_has_is_not_sent_again(
    as_caller: AsCaller, path: str
) -> None:
    """304 for its ETag, also a weak one among others."""
    client = as_caller()
    etag = (await client.get(path)).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        answer = await client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    answer = await client.get(path, headers={"If-None-Match": '"other"'})
    assert answer.status_code == 200


async def test_pages_of_a_named_site_may_call(door_for_a_site: FastAPI) -> None:
    """The preflight names what they may send; a problem can be read as well."""
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with of(door_for_a_site) as client:
        preflight = await client.options("/v1/feedback", headers=asked)
        answer = await client.get("/v1/users/u1", headers={"Origin": SITE})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == SITE
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


async def test_other_sites_may_not(door_for_a_site: FastAPI, app: FastAPI) -> None:
    """Neither those that are not named, nor any when none is."""
    for one, origin in [(door_for_a_site, "https://evil.example"), (app, SITE)]:
        async with of(one) as client:
            answer = await client.get("/v1/users/u1", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
