"""The page on security says what the code does."""

from pathlib import Path

import yaml

from schemas.access import SCOPES, Role
from schemas.tenant import Tenant
from schemas.tenant_access import AccessLimits

PAGE = (Path(__file__).parents[3] / "docs" / "security.md").read_text()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_table_of_roles_is_the_codes() -> None:
    """Every scope, every role."""
    head, _, *rows = [line for line in section("Roles and scopes").splitlines() if "|" in line]
    roles = [Role(name) for name in cells(head)[1:]]
    told: dict[Role, set[str]] = {role: set() for role in roles}
    for scope, *marks in map(cells, rows):
        for role, mark in zip(roles, marks, strict=True):
            if mark == "yes":
                told[role].add(scope.strip("`"))
    assert told == {role: set(scopes) for role, scopes in SCOPES.items()}


def test_the_limits_are_the_codes() -> None:
    """Their names, and what holds where a tenant says nothing."""
    rows = [cells(line) for line in section("Limits").splitlines() if line.startswith("| `")]
    told = {
        name.strip("`"): None if default == "no limit" else float(default.replace(",", ""))
        for names, default, _ in rows
        for name in names.split(", ")
    }
    assert told == AccessLimits().model_dump()


def test_the_example_of_an_identity_provider_is_taken() -> None:
    """As it stands there."""
    text = section("Tokens of your identity provider").partition("```yaml\n")[2].partition("```")[0]
    tenant = Tenant.model_validate(
        {"name": "acme", "categories": {"news": {}}, **yaml.safe_load(text)}
    )
    assert tenant.access.issuers[0].roles["app-user"] is Role.DEVICE
