import json
from importlib.resources import files
from typing import Any

from sinks.fcm_schema import SCHEMA_FILE

DOCUMENT = "discovery_cache/documents/fcm.v1.json"
KEPT = ("type", "$ref", "format", "enum")


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: schema[key] for key in KEPT if key in schema}
    below = {key: shape(schema[key]) for key in ("items", "additionalProperties") if key in schema}
    return kept | below


def test_our_copy_of_the_schema_is_googles() -> None:
    """Every field stands in Google's discovery document with the same type and values."""
    ours = json.loads(SCHEMA_FILE.read_text())
    google = json.loads(files("googleapiclient").joinpath(DOCUMENT).read_text())
    assert ours["id"] == google["id"]
    compared = 0
    for name, schema in ours["schemas"].items():
        for field, definition in schema.get("properties", {}).items():
            theirs = google["schemas"][name]["properties"][field]
            assert shape(definition) == shape(theirs), f"{name}.{field}"
            compared += 1
    assert compared > 100
