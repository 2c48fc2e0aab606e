"""An example of every route, for tests that hold for all of them.

Each area has a module tests/contract/api/examples_<area>.py with its EXAMPLES.
"""

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.web.door import Door

Prepare = Callable[[Door, httpx.AsyncClient], Awaitable[dict[str, str] | None]]


async def nothing(_door: Door, _admin: httpx.AsyncClient) -> None:
    """Need nothing to be there."""


@dataclass(frozen=True)
class Example:
    """One request that succeeds for an admin of the tenant acme.

    route: "METHOD /path/{with}/{names}", as FastAPI has it. values: of the names in the path.
    prepare: makes what the request is about, and may give more values. is_about: "theirs", an
    object of acme's that another tenant must not find; "own", something of the caller's own tenant
    (a list, a new object, figures): another tenant gets its own; "public": asks for no credential.
    """

    route: str
    is_about: str = "theirs"
    values: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    prepare: Prepare = nothing

    def request(self, client: httpx.AsyncClient, more: dict[str, str] | None = None) -> Any:
        """Make the request; await it."""
        method, _, path = self.route.partition(" ")
        return client.request(
            method,
            path.format(**self.values, **(more or {})),
            params=self.query,
            json=self.json,
            content=self.content,
            headers=self.headers,
        )


def examples() -> list[Example]:
    """Give the examples of all areas."""
    files = sorted(Path(__file__).parent.glob("examples_*.py"))
    modules = [importlib.import_module(f"tests.contract.api.{file.stem}") for file in files]
    return [one for module in modules for one in module.EXAMPLES]


def routes(app: FastAPI) -> list[str]:
    """Give the names of all documented routes, "METHOD /path"."""
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    return [f"{method.upper()} {path}" for path, found in paths.items() for method in found]
