"""Older event formats to the current one: a registry of steps, each from one version to the next.

A step is a function from a document to a document. To make version 2: keep version 1's model for
its published schema, add one step here, and publish schemas/v2 beside schemas/v1.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from schemas.event_v0 import EventV0

Document = dict[str, Any]
Step = Callable[[Document], Document]

_URGENCY = {"urgent": "high", "normal": "normal", "bulk": "low"}


def _from_v0(old: Document) -> Document:
    """Version 0 to 1. `kind` was both type and category; critical did not exist."""
    message = old["message"]
    new: Document = {
        "schema_version": 1,
        "id": old["id"],
        "tenant": old["tenant"],
        "type": old["kind"],
        "category": old["kind"],
        "priority": _URGENCY[old.get("urgency", "normal")],
        "audience": {"users": old["recipients"]},
        "content": {
            "title": message.get("title", ""),
            "body": message.get("text", ""),
            "url": message.get("link"),
            "data": old.get("extra", {}),
        },
        "ttl_s": old.get("ttl"),
    }
    if (sent_at_s := old.get("sent_at")) is not None:
        new["created_at"] = datetime.fromtimestamp(sent_at_s, UTC).isoformat()
    return new


STEPS: dict[int, Step] = {0: _from_v0}
"""Version -> the step that makes the next version of a document of that version."""

OLD_MODELS: dict[int, type[BaseModel]] = {0: EventV0}
"""Version -> what documents of that version must look like, before any step."""


def upcast(document: Document, *, version: int, current: int) -> Document:
    """Bring a valid document of an older version to the current one.

    Raises KeyError when a step is missing.
    """
    for step in range(version, current):
        document = STEPS[step](document)
    return document
