"""What FCM checks in a send request, on Google's own discovery document.

Written apart from sinks/fcm_schema.py on purpose: an error there must show here.
"""

import functools
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import jsonschema

from sandbox.fcm_answers import BAD_TOKEN, TOO_BIG, fcm_error, field_violation
from sandbox.fcm_tokens import is_well_formed
from sandbox.http_server import Response

DOCUMENT: Final = "discovery_cache/documents/fcm.v1.json"
TARGETS: Final = ("token", "topic", "condition", "fid")
MAX_TTL_S: Final = 2_419_200
MAX_BYTES: Final = 4096
MAX_TOPIC_BYTES: Final = 2048

_TOPIC = re.compile(r"[a-zA-Z0-9_.~%-]{1,900}")
_FORMATS: Final = {
    "google-duration": r"^-?\d+(\.\d{1,9})?s$",
    "google-datetime": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
}


def check_schema(request: object) -> Response | None:
    """Check a SendMessageRequest against the schema; give the refusal of the first violation."""
    errors = sorted(_validator().iter_errors(request), key=lambda error: len(error.absolute_path))
    return _violation(errors[0]) if errors else None


def check_meaning(message: dict[str, Any]) -> Response | None:
    """Check what the schema cannot say, for a message that fits it. Field names: either style."""
    given = [name for name in TARGETS if message.get(name)]
    if not given:
        return fcm_error(400, "INVALID_ARGUMENT", "Recipient of the message is not set.")
    if len(given) > 1:
        return field_violation(
            f"message.{given[1]}",
            f"Invalid value at 'message' (oneof), oneof field 'target' is already set. "
            f"Cannot set '{given[1]}'",
        )
    if given == ["token"] and not is_well_formed(message["token"]):
        return BAD_TOKEN
    if given == ["topic"] and not _TOPIC.fullmatch(message["topic"]):
        return fcm_error(400, "INVALID_ARGUMENT", "Invalid topic name")
    return _check_content(message, MAX_BYTES if given != ["topic"] else MAX_TOPIC_BYTES)


def _check_content(message: dict[str, Any], max_bytes: int) -> Response | None:
    android = message.get("android") or {}
    if android and _get(message, "android_v2"):
        return field_violation("message.android_v2", "android and android_v2 are exclusive")
    for section in (message, android, message.get("webpush") or {}):
        for key in section.get("data") or {}:
            if key in ("from", "message_type") or key.startswith(("google.", "gcm.")):
                return fcm_error(400, "INVALID_ARGUMENT", f"Invalid data payload key: {key}")
    ttl = android.get("ttl")
    if ttl is not None and not 0 <= float(ttl[:-1]) <= MAX_TTL_S:
        return field_violation(
            "message.android.ttl", f"The TTL must be a duration between 0 and {MAX_TTL_S} seconds"
        )
    data = android.get("data") or message.get("data") or {}
    shown = (message.get("notification") or {}) | (android.get("notification") or {})
    size = sum(len(text.encode()) for text in _texts([data, shown]))
    return TOO_BIG if size > max_bytes else None


def _get(message: dict[str, Any], snake: str) -> Any:
    return message.get(snake) or message.get(_camel(snake))


def _texts(value: object) -> Iterator[str]:
    """Give all keys and values as text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
    else:
        yield json.dumps(value)


@functools.cache
def _validator() -> Any:
    """Give a validator made of the discovery document's schemas."""
    document = json.loads(files("googleapiclient").joinpath(DOCUMENT).read_text(encoding="utf-8"))
    defs = {name: _as_json_schema(schema) for name, schema in document["schemas"].items()}
    root = {"$ref": "#/$defs/SendMessageRequest", "$defs": defs}
    return jsonschema.Draft202012Validator(root)


def _as_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn one discovery schema into JSON Schema; field names in both styles of proto3 JSON."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    if schema["type"] == "any":
        return {}
    made: dict[str, Any] = {"type": schema["type"]}
    if schema["type"] == "object":
        properties = {n: _as_json_schema(p) for n, p in schema.get("properties", {}).items()}
        made["properties"] = properties | {_snake(n): p for n, p in properties.items()}
        extra = schema.get("additionalProperties")
        made["additionalProperties"] = _as_json_schema(extra) if extra else False
    if "items" in schema:
        made["items"] = _as_json_schema(schema["items"])
    if "enum" in schema:
        # The Admin SDKs write android.priority in lower case, and FCM takes it.
        made["enum"] = schema["enum"] + [value.lower() for value in schema["enum"]]
    if schema.get("format") in _FORMATS:
        made["pattern"] = _FORMATS[schema["format"]]
    return made


def _violation(error: Any) -> Response:
    """Word a schema error as Google's JSON parser does."""
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        name = next(n for n in error.instance if n not in error.schema["properties"])
        at = f" at '{path}'" if path else ""
        text = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
        return field_violation(path, text)
    parts = list(error.absolute_path)
    if len(parts) >= 2 and parts[-2] == "data":
        # A map is a list of entries to the parser, so it names the entry's place, not its key.
        parent = ".".join(str(part) for part in parts[:-1])
        path = f"{parent}[0].value"
    kind = {"string": "TYPE_STRING", "boolean": "TYPE_BOOL"}.get(str(error.validator_value), "")
    text = f"Invalid value at '{path}'" + (f" ({kind})" if kind else "")
    return field_violation(path, f"{text}, {json.dumps(error.instance)[:100]}")


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: "_" + capital.group().lower(), name)


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda letter: letter.group(1).upper(), name)
