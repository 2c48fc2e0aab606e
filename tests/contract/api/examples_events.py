"""Requests about events and health."""

from tests.contract.api.walk import Example

EVENT = {
    "id": "m-1",
    "type": "t",
    "category": "news",
    "audience": {"users": ["u1"]},
    "content": {"title": "Hi"},
}
EXAMPLES = [
    Example("POST /v1/events", json={**EVENT, "tenant": "acme"}),
    Example("POST /v1/events", is_about="own", json=EVENT),
    Example("POST /v1/events", is_about="own", query={"dry_run": "true"}, json=EVENT),
    Example("GET /healthz", is_about="public"),
    Example("GET /readyz", is_about="public"),
]
