"""The client's areas: each method is a route of the API, and reads what the API says."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from api.client import Client, answers_access, answers_campaigns, answers_people
from api.client.areas import Area, listing, method
from tests.contract.api.client_stand import EVENT, KEY, async_client

MODULES = (answers_access, answers_campaigns, answers_people)
ANSWERS = {
    name: kind
    for module in MODULES
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and name != "Problem"
}
NOT_FOR_CLIENTS = re.compile(
    r"/(healthz|readyz)|/v1/(sdk|c|unsubscribe|preferences|providers|webhooks)/"
)
"""Routes for browsers, mail clients, providers and probes."""
FITTING: dict[str, Any] = {"version": 1, "wait_s": 1, "mode": "add", "subscription": {}}


def components(app: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = app.openapi()["components"]["schemas"]
    return found


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_an_answer_has_the_fields_of_the_document(name: str, app: FastAPI) -> None:
    """What the API adds later the client passes over, and this test says so."""
    assert set(ANSWERS[name].__struct_fields__) == set(components(app)[name]["properties"])


def methods() -> Iterator[tuple[str, str]]:
    client = Client("http://x", KEY)
    for area, of in vars(client).items():
        if isinstance(of, Area):
            for name, member in vars(type(of)).items():
                if isinstance(member, (method, listing)):
                    yield area, name


def asked_by(area: str, name: str) -> str:
    """Give the request that a method makes, "METHOD path", with the ids as {}."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418)

    with Client("http://x", KEY, transport=httpx.MockTransport(answer)) as client:
        called = getattr(getattr(client, area), name)
        given: dict[str, Any] = {}
        for parameter in inspect.signature(called).parameters.values():
            if parameter.default is parameter.empty and parameter.name != "self":
                text = parameter.name.endswith("_id") or parameter.name in {"name", "app", "secret"}
                given[parameter.name] = FITTING.get(parameter.name, "ID" if text else [])
            if parameter.name in {"event", "device", "profile", "change", "wishes", "grants"}:
                given[parameter.name] = dict(EVENT)
            if parameter.name == "events":
                given[parameter.name] = [EVENT]
        with pytest.raises(Exception, match="418"):
            list(called(**given)) if hasattr(called(**given), "__next__") else called(**given)
    path = re.sub(r"(?<=/)(ID|1)(?=/|$)", "{}", seen[-1].url.path)
    return f"{seen[-1].method} {path}"


def test_methods_and_routes_are_the_same(app: FastAPI) -> None:
    """Every method asks a route that there is; every route for clients has a method."""
    documented = {
        f"{verb.upper()} {re.sub(r'{[^}]*}', '{}', path)}"
        for path, verbs in app.openapi()["paths"].items()
        for verb in verbs
        if not NOT_FOR_CLIENTS.search(path + "/")
    }
    asked = {asked_by(*one) for one in methods()}
    assert asked - documented == set()
    assert documented - asked == {"POST /v1/devices"}  # for apps that keep no id


async def test_users_and_their_devices(app: FastAPI) -> None:
    """Registered, read, listed, changed, forgotten."""
    device = {"platform": "apns", "app": "ios", "token": "ab" * 32}
    async with async_client(app) as client:
        made = await client.devices.register("u.1", "d:1", device)
        assert made.device_token.startswith("cdt_")
        assert (await client.devices.get("u.1", "d:1")).app == "ios"
        for number in range(4):
            token = f"{number:064x}"
            await client.devices.register("u.1", f"e{number}", {**device, "token": token})
        assert len([one async for one in client.devices.list("u.1")]) == 5
        await client.users.put("u.1", {"locale": "de"})
        await client.users.patch("u.1", {"country": "AT"})
        user = await client.users.get("u.1")
        assert (user.locale, user.country) == ("de", "AT")
        await client.preferences.patch("u.1", {"opted_out_categories": ["news"]})
        assert (await client.preferences.get("u.1")).opted_out_categories == ["news"]
        assert (await client.users.import_many([{"user_id": "u2"}])).accepted == 1
        await client.devices.delete("u.1", "d:1")
        await client.users.delete("u.1")


async def test_lists_are_fetched_page_by_page(app: FastAPI) -> None:
    """An iterator over all of them, whatever a page holds."""
    async with async_client(app) as client:
        for number in range(105):
            await client.keys.create({"name": f"n{number}", "roles": ["producer"]})
        keys = [one.id async for one in client.keys.list()]
        assert len(set(keys)) == len(keys) == 105
        await client.keys.revoke(keys[0])
        assert (await client.keys.rotate(keys[1])).key
