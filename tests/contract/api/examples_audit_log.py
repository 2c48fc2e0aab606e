"""Requests about the audit log."""

from tests.contract.api.walk import Example

EXAMPLES = [
    Example("GET /v1/audit", is_about="own", query={"from": "2026-11-01T00:00:00Z"}),
]
