"""`clarion keys`: the API keys of a tenant, at the stores themselves; so the first key is made."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from api.auth.key_ring import KeyRing
    from schemas.api_keys import KeyView, NewKey

app = App(name="keys", help="API keys: make, change, rotate, revoke.", help_format="plaintext")

TenantOption = Annotated[str, Parameter(help="whose keys")]
JsonFlag = Annotated[bool, Parameter(help="JSON, for machines")]
ONCE = "This is shown once. Send it as Authorization: Bearer."


@app.command
def create(
    *,
    tenant: TenantOption,
    name: Annotated[str, Parameter(help="what people call it")],
    role: Annotated[
        list[str], Parameter(help="producer, marketer, analyst, operator or admin; repeatable")
    ],
    scope: Annotated[
        list[str] | None, Parameter(help="of the roles' scopes these alone; repeatable")
    ] = None,
    category: Annotated[
        list[str] | None, Parameter(help="that it may send, all when none is named; repeatable")
    ] = None,
    priority: Annotated[list[str] | None, Parameter(help="that it may send; repeatable")] = None,
    expires: Annotated[str | None, Parameter(help="a time such as 2027-01-01T00:00:00Z")] = None,
    json: JsonFlag = False,
) -> None:
    """Make a key."""
    from pydantic import ValidationError  # noqa: PLC0415 - what --help need not wait for

    from schemas.api_keys import KeyGrants  # noqa: PLC0415 - as above
    from schemas.decode import explain, faults  # noqa: PLC0415 - as above

    said = {
        "name": name,
        "roles": role,
        "scopes": scope,
        "categories": category,
        "priorities": priority,
        "expires_at": expires,
    }
    given = {field: value for field, value in said.items() if value}
    try:
        grants = KeyGrants.model_validate(given)
    except ValidationError as error:
        raise CommandError(explain(faults(KeyGrants, error))) from None
    with _ring(tenant) as ring:
        _show_new(ring.create(grants, None), json=json)


@app.command
def ls(*, tenant: TenantOption, json: JsonFlag = False) -> None:
    """List the keys."""
    from api.auth.key_ring import view_of  # noqa: PLC0415 - what --help need not wait for

    with _ring(tenant) as ring:
        found = [view_of(one) for one in ring.all()]
    for one in found:
        _print(one.model_dump_json(exclude_none=True) if json else _line(one))
    if not found and not json:
        _print("none; clarion keys create makes one")


@app.command
def show(key: str, *, tenant: TenantOption) -> None:
    """Show what a key may do, as JSON. key: its id."""
    from api.auth.key_ring import view_of  # noqa: PLC0415 - what --help need not wait for

    with _ring(tenant) as ring:
        _print(view_of(ring.get(key)).model_dump_json(exclude_none=True, indent=2))


@app.command
def rotate(
    key: str,
    *,
    tenant: TenantOption,
    overlap: Annotated[
        str, Parameter(help="how long the old secret goes on counting, such as 0, 90s, 1d")
    ] = "1d",
    json: JsonFlag = False,
) -> None:
    """Give a key a new secret. key: its id."""
    from pydantic import ValidationError  # noqa: PLC0415 - what --help need not wait for

    from schemas.api_keys import KeyRotation  # noqa: PLC0415 - as above
    from schemas.decode import explain, faults  # noqa: PLC0415 - as above

    try:
        said = int(overlap) if overlap.isdecimal() else overlap
        rotation = KeyRotation.model_validate({"overlap_s": said})
    except ValidationError as error:
        text = explain(faults(KeyRotation, error)).replace("overlap_s", "--overlap")
        raise CommandError(text) from None
    with _ring(tenant) as ring:
        _show_new(ring.rotate(key, rotation.overlap_s, None), json=json)


@app.command
def revoke(key: str, *, tenant: TenantOption) -> None:
    """Revoke a key: nobody gets in with it any more after two seconds. key: its id."""
    with _ring(tenant) as ring:
        ring.revoke(key)
    _print(f"{key} is revoked")


@contextmanager
def _ring(tenant: str) -> "Iterator[KeyRing]":
    """Give a tenant's keys. Raises CommandError for what a person can mend."""
    from api.auth.key_ring import KeyFaultError, KeyRing, NoSuchKeyError  # noqa: PLC0415 - what --help need not wait for
    from api.publishing import DefinitionWriter, Publisher  # noqa: PLC0415 - as above
    from api.tenant_stores import tenant_stores  # noqa: PLC0415 - as above
    from flows.clock import wall_ms  # noqa: PLC0415 - as above

    with tenant_stores(tenant, KeyFaultError) as stores:

        def writer() -> DefinitionWriter:
            publisher = Publisher(stores.settings.kafka.client_options())
            return DefinitionWriter(publisher, stores.definitions)

        try:
            yield KeyRing(
                stores.tenant, definitions=stores.definitions, writer=writer, now_ms=wall_ms
            )
        except NoSuchKeyError as error:
            raise CommandError(f"there is no key {error}; see clarion keys ls") from None


def _show_new(made: "NewKey", *, json: bool) -> None:
    if json:
        _print(made.model_dump_json(exclude_none=True))
        return
    _print(made.key)
    sys.stderr.write(f"{_line(made)}\n{ONCE}\n")


def _line(one: "KeyView") -> str:
    bounds: list[str] = []
    if one.categories is not None:
        bounds.append(f"categories {', '.join(one.categories)}")
    if one.priorities is not None:
        bounds.append(f"priorities {', '.join(one.priorities)}")
    if one.expires_at is not None:
        bounds.append(f"until {one.expires_at.isoformat()}")
    return "  ".join([one.id, one.name, ", ".join(one.roles), *bounds])


def _print(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
