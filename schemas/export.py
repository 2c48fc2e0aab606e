"""The wire contracts as JSON Schema (2020-12), as published in schemas/v<version>/<message>.json.

Once published, a schema only grows optional fields and its examples are never edited: they prove
that what was valid stays valid. Anything else is a new version with a step in schemas/upcast.py.
"""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from schemas.audit import AuditEntry
from schemas.event_v0 import EventV0
from schemas.events import Event
from schemas.feedback import Feedback
from schemas.registry import DeviceRegistration, UserPreferences, UserProfile
from schemas.template import Template
from schemas.tenant import Tenant
from schemas.user_events import UserEvent

DIALECT = "https://json-schema.org/draft/2020-12/schema"

PUBLISHED: dict[tuple[int, str], type[BaseModel]] = {
    (0, "event"): EventV0,
    (1, "event"): Event,
    (1, "device_registration"): DeviceRegistration,
    (1, "user_profile"): UserProfile,
    (1, "user_preferences"): UserPreferences,
    (1, "feedback"): Feedback,
    (1, "user_event"): UserEvent,
    (1, "audit_entry"): AuditEntry,
    (1, "tenant"): Tenant,
    (1, "template"): Template,
}
"""(version, message) -> its model. Examples lie in schemas/v<version>/examples/<message>/."""


class _Generator(GenerateJsonSchema):
    """Without a title for each field, which only repeats its name."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False


def path_of(version: int, message: str) -> str:
    """Give the path of a published schema below schemas/."""
    return f"v{version}/{message}.json"


def schema_of(version: int, message: str) -> dict[str, Any]:
    """Give the JSON Schema of a published message. Raises KeyError for one that is not."""
    model = PUBLISHED[version, message]
    schema = model.model_json_schema(schema_generator=_Generator)
    if model is Event:
        # Only the API makes one up; a producer on Kafka must give it.
        schema["required"] = ["id", *schema["required"]]
    _close(schema)
    return {"$schema": DIALECT, "$id": f"urn:clarion:v{version}:{message}", **schema}


def documents() -> dict[str, str]:
    """Give all published schemas: path below schemas/ -> the file's text."""
    return {
        path_of(version, message): json.dumps(schema_of(version, message), indent=2) + "\n"
        for version, message in PUBLISHED
    }


def _close(node: Any) -> None:
    """Refuse keys outside a mapping's pattern, as the models do and pydantic leaves unsaid."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _close(value)
    elif isinstance(node, list):
        for value in node:
            _close(value)
