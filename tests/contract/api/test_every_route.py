"""What holds for every route: who may call it, whose things it shows, and that it is documented."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from api.web.door import Door
from tests.contract.api.door_stand import AppliedOutbox, AsCaller
from tests.contract.api.walk import Example, examples, routes

EXAMPLES = examples()
GUARDED = [one for one in EXAMPLES if one.is_about != "public"]
OF_A_DEVICE = [one for one in GUARDED if "{device_id}" in one.route]
FOR_ANY_DEVICE = {"GET /v1/apps/{app}/vapid-public-key", "POST /v1/feedback"}
"""What a device may call that names no user."""
PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def _id(one: Example) -> str:
    return f"{one.route} {one.is_about}"


def test_every_route_has_an_example(app: FastAPI) -> None:
    """A route without one would escape the tests below."""
    assert set(routes(app)) == {one.route for one in EXAMPLES}


def test_every_route_is_in_the_docs(app: FastAPI) -> None:
    """docs/api.md names each route as `METHOD /path`."""
    page = PAGE.read_text()
    assert [name for name in routes(app) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("one", EXAMPLES, ids=_id)
async def test_an_admin_of_the_tenant_may(one: Example, as_caller: AsCaller, door: Door) -> None:
    """The example succeeds."""
    admin = as_caller("" if one.is_about == "public" else "admin")
    more = await one.prepare(door, as_caller("admin"))
    answer = await one.request(admin, more)
    assert answer.status_code < 400, answer.text


@pytest.mark.parametrize("one", GUARDED, ids=_id)
async def test_nobody_may_without_a_credential(one: Example, as_caller: AsCaller) -> None:
    """401, with how to authenticate, before anything is looked up."""
    answer = await one.request(as_caller(), _any_values(one))
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("one", GUARDED, ids=_id)
async def test_a_credential_without_the_scope_may_not(one: Example, as_caller: AsCaller) -> None:
    """403, before anything is looked up."""
    answer = await one.request(as_caller("none"), _any_values(one))
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("one", [one for one in EXAMPLES if one.is_about == "theirs"], ids=_id)
async def test_another_tenant_finds_nothing(one: Example, as_caller: AsCaller, door: Door) -> None:
    """404 for what is another tenant's, the same as for what is not there at all."""
    more = await one.prepare(door, as_caller("admin"))
    answer = await one.request(as_caller("admin", tenant="rival"), more)
    assert answer.status_code == 404, answer.text


def _any_values(one: Example) -> dict[str, str]:
    """Stand for what prepare would give: it is not looked up."""
    names = {part[1:-1] for part in one.route.split("/") if part.startswith("{")}
    return dict.fromkeys(names - one.values.keys(), "x")


@pytest.mark.parametrize("one", GUARDED, ids=_id)
async def test_a_body_is_not_read_before_the_credential(one: Example, as_caller: AsCaller) -> None:
    """A broken body without a credential is 401 as well."""
    method, _, path = one.route.partition(" ")
    where = path.format(**{**_any_values(one), **one.values})
    headers = {"Content-Type": "application/json"}
    answer = await as_caller().request(method, where, content=b"{" * 9, headers=headers)
    assert answer.status_code == 401, answer.text


def test_the_document_says_which_routes_are_public(app: FastAPI) -> None:
    """Those that ask for no credential, and no others."""
    paths = app.openapi()["paths"]
    public = {
        f"{method.upper()} {path}"
        for path, found in paths.items()
        for method, operation in found.items()
        if operation.get("security") == []
    }
    assert public == {one.route for one in EXAMPLES if one.is_about == "public"}


@pytest.mark.parametrize("one", GUARDED, ids=_id)
async def test_a_device_touches_no_other_user(
    one: Example, as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Refused, or nothing that it gets or puts is about the example's user u1."""
    more = await one.prepare(door, as_caller("admin"))
    before = len(outbox.records)
    answer = await one.request(as_caller("device", user="stranger", device="d-stranger"), more)
    put = [record.value or b"" for record in outbox.records[before:]]
    assert answer.status_code in {403, 404} or one.route in FOR_ANY_DEVICE, answer.text
    assert [value for value in put if b'"u1"' in value] == []
    assert '"u1"' not in answer.text


@pytest.mark.parametrize("one", OF_A_DEVICE, ids=_id)
async def test_a_device_touches_no_other_device(
    one: Example, as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Not even of its own user: 404, and nothing is put."""
    more = await one.prepare(door, as_caller("admin"))
    before = len(outbox.records)
    answer = await one.request(as_caller("device", user="u1", device="d-other"), more)
    assert answer.status_code == 404, answer.text
    assert len(outbox.records) == before
