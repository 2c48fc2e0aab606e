"""Requests about feedback."""

from schemas.moments import moment
from tests.contract.api.door_stand import NOW_MS
from tests.contract.api.walk import Example

REPORT = {
    "message_id": "m-1",
    "user_id": "u1",
    "kind": "opened",
    "occurred_at": moment(NOW_MS - 5_000),
}
EXAMPLES = [Example("POST /v1/feedback", is_about="own", json={"items": [REPORT]})]
