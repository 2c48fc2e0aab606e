"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from schemas.events import Event

PUBLIC: dict[str, Any] = {"security": []}
"""openapi_extra of a route that asks for no credential."""
_REF = "#/components/schemas/{model}"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (clk_...), a service's JWT, or a device token (cdt_...).",
}
_OWN = "x-audit"
"""What routes tell the application alone."""


def describe(app: FastAPI) -> None:
    """Let the application give its document with events' schema and credentials in it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    schema = Event.model_json_schema(ref_template=_REF)
    # The caller's credential names the tenant, and the API makes an id where there is none.
    schema["required"] = [name for name in schema.get("required", ()) if name != "tenant"]
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= schema.pop("$defs", {})
    schemas["Event"] = schema
    components["securitySchemes"] = {"bearer": _BEARER}
    found["security"] = [{"bearer": []}]
    for path in found["paths"].values():
        for operation in path.values():
            operation.pop(_OWN, None)
    return found
