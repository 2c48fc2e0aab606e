"""Requests about the browser SDK."""

from tests.contract.api.walk import Example

EXAMPLES = [
    Example("GET /v1/sdk/clarion.js", is_about="public"),
    Example("GET /v1/sdk/clarion-sw.js", is_about="public"),
]
