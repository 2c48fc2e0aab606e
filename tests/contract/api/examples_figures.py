"""Requests about figures."""

from tests.contract.api.examples_campaigns import SPRING, defined
from tests.contract.api.walk import Example

EXAMPLES = [
    Example("GET /v1/metrics/deliveries", is_about="own"),
    Example("GET /v1/metrics/reasons", is_about="own"),
    Example("GET /v1/metrics/campaigns/{campaign_id}", values=SPRING, prepare=defined),
]
