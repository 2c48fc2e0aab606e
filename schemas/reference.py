"""The page docs/configuration.md, made from the models so that it cannot go out of date."""

import inspect
import json
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from schemas.hooks import Hook, Hooks
from schemas.links import LinkRules
from schemas.registry import QuietHours
from schemas.settings import Settings, group_of, variable
from schemas.template import (
    ApnsPart,
    FcmPart,
    LintRules,
    LiveActivity,
    Template,
    TemplateText,
    WebPushAction,
    WebPushPart,
)
from schemas.tenant import (
    ApnsApp,
    Arbitration,
    Cap,
    CapGroup,
    Category,
    CategoryDigest,
    FcmApp,
    Holdout,
    PlatformRates,
    Quotas,
    Rates,
    RegionRate,
    RetryPolicy,
    SecretRef,
    Tenant,
    TokenHygiene,
    WebPushApp,
)
from schemas.tenant_access import AccessLimits, Jwks, TenantAccess, TokenIssuer

_INTRO = """<!-- Made by `clarion config reference`; edit the models in schemas/, not this page. -->
# Configuration

A process takes its settings from the environment, and each tenant has one YAML file.

- `clarion config check deploy/tenants` explains every fault in the tenants' files, and
  `--secrets` also reads the secrets they point to.
- A variable with `__` in its name that is no setting stops the process: it is a misspelling.
- A group can also be given whole, as JSON: `CLARION_KAFKA='{"bootstrap": "k1:9092"}'`.

## Settings

"""
_TENANT_INTRO = """## Tenant files

One `*.yaml` file per tenant in `CLARION_TENANTS_DIR`; deploy/tenants/demo.yaml is an example.
Unknown fields, repeated keys and aliases are faults. A duration is a number of seconds, or text
such as `90s`, `15m`, `12h`, `7d`. Times of day stand in quotes: `"22:00"`. Editors can check
files against schemas/v1/tenant.json.

"""
_TENANT_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The tenant", Tenant),
    ("apps: Apple", ApnsApp),
    ("apps: Firebase", FcmApp),
    ("apps: Web Push", WebPushApp),
    ("Secrets", SecretRef),
    ("categories", Category),
    ("categories: caps", Cap),
    ("categories: digest", CategoryDigest),
    ("categories: arbitration", Arbitration),
    ("caps", CapGroup),
    ("hooks", Hooks),
    ("hooks: one of them", Hook),
    ("holdout", Holdout),
    ("rates", Rates),
    ("rates: platforms", PlatformRates),
    ("rates: regions", RegionRate),
    ("quotas", Quotas),
    ("access", TenantAccess),
    ("access: limits", AccessLimits),
    ("access: issuers", TokenIssuer),
    ("access: issuers: jwks", Jwks),
    ("retry", RetryPolicy),
    ("hygiene", TokenHygiene),
    ("lint", LintRules),
    ("links", LinkRules),
    ("templates", Template),
    ("templates: texts", TemplateText),
    ("templates: apns", ApnsPart),
    ("templates: apns: live_activity", LiveActivity),
    ("templates: fcm", FcmPart),
    ("templates: webpush", WebPushPart),
    ("templates: webpush: actions", WebPushAction),
    ("quiet_hours", QuietHours),
)


def configuration_page() -> str:
    """Give the whole page as Markdown."""
    parts = [_INTRO]
    for name, field in Settings.model_fields.items():
        if (group := group_of(field.annotation)) is not None:
            parts.append(f"### {name}\n\n{_prose(group)}\n\n{_settings_table(group, name)}\n")
    alone = {
        name: field
        for name, field in Settings.model_fields.items()
        if group_of(field.annotation) is None
    }
    parts.append(f"### Others\n\n{_table('variable', _variables(alone, Settings))}\n")
    parts.append(_TENANT_INTRO)
    for title, model in _TENANT_PARTS:
        rows = _rows(model, {name: f"`{name}`" for name in model.model_fields})
        parts.append(
            f"### {title} ({model.__name__})\n\n{_prose(model)}\n\n{_table('field', rows)}\n"
        )
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _settings_table(group: type[BaseModel], name: str) -> str:
    return _table("variable", _variables(group.model_fields, group, name))


def _variables(
    fields: dict[str, FieldInfo], model: type[BaseModel], *path: str
) -> list[tuple[str, ...]]:
    names = {name: f"`{variable(*path, name)}`" for name in fields}
    return _rows(model, names)


def _rows(model: type[BaseModel], names: dict[str, str]) -> list[tuple[str, ...]]:
    """One row for each field: its name, its kind and its default, with the description."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    rows: list[tuple[str, ...]] = []
    for name, shown in names.items():
        part = schema["properties"][name]
        kind = _kind(part, definitions)
        about = part.get("description", "")
        rows.append((shown, f"{about}; {kind}" if about else kind, _default(model, name)))
    return rows


def _table(head: str, rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {head} | what | default |", "|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _prose(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ("", {}, ()):
        return ""
    if isinstance(value, SecretStr):
        return ""
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{json.dumps(value) if isinstance(value, (bool, int, float)) else value}`"


def _kind(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Say in words what a JSON Schema takes."""
    if "$ref" in part:
        return _kind(definitions[part["$ref"].rsplit("/", 1)[-1]], definitions)
    if named := part.get("enum", [part["const"]] if "const" in part else []):
        return ", ".join(f"`{value}`" for value in named)
    if part.get("format") == "duration":
        return "duration"
    options = [one for key in ("anyOf", "oneOf") for one in part.get(key, ())]
    if options:
        kinds = [_kind(one, definitions) for one in options if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    return _plural(part, definitions) or _scalar(part)


def _plural(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    if part.get("type") == "array":
        return f"list of {_kind(part.get('items', {}), definitions)}"
    if part.get("type") != "object":
        return ""
    if "properties" in part:
        return str(part["title"])
    inner = next(iter(part.get("patternProperties", {}).values()), {"type": "string"})
    return f"{_kind(inner, definitions)} by name"


_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true/false"}


def _scalar(part: dict[str, Any]) -> str:
    kind = _KINDS.get(part.get("type", ""), "any")
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum")
    if low is not None and high is not None:
        kind += f", {'over ' if 'exclusiveMinimum' in part else ''}{low} to {high}"
    return kind
