"""Checks a message against FCM's own schema, the discovery document's Message."""

import functools
import re
from pathlib import Path
from typing import Any, Final

import msgspec

SCHEMA_FILE: Final = Path(__file__).with_name("fcm_schema.json")

_DURATION = re.compile(r"\d{1,12}(\.\d{1,9})?s")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_FORMATS: Final = {
    "google-duration": (_DURATION, 'a duration in seconds such as "3.5s"'),
    "google-datetime": (_TIMESTAMP, 'an RFC 3339 time such as "2026-01-31T08:00:00Z"'),
}
_INT32 = range(-(2**31), 2**31)


class FieldError(ValueError):
    """A field of a message is wrong. field: its path, such as message.android.ttl."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def check_message(message: object) -> dict[str, Any]:
    """Check a (partial) Message and give it in FCM's canonical form.

    Field names may be snake_case or camelCase, enum values in either case, as proto3 JSON and
    the Admin SDKs write them. null means "not set" and stays in the result.
    Raises FieldError for an unknown field or a value of the wrong type.
    Source: https://protobuf.dev/programming-guides/json/
    """
    return _fields(message, _schemas()["Message"], "message")


@functools.cache
def _schemas() -> dict[str, dict[str, Any]]:
    """Schemas by name, each property under both of its spellings."""
    document = msgspec.json.decode(SCHEMA_FILE.read_bytes())
    schemas: dict[str, dict[str, Any]] = document["schemas"]
    for schema in schemas.values():
        properties = schema.get("properties", {})
        schema["names"] = {_snake(name): name for name in properties} | {n: n for n in properties}
    return schemas


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: "_" + capital.group().lower(), name)


def _fields(value: object, schema: dict[str, Any], path: str) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, item in _object(value, path).items():
        name = schema["names"].get(key)
        if name is None:
            raise FieldError(f"{path}.{key}", "FCM has no such field")
        if name in checked:
            raise FieldError(f"{path}.{key}", "given twice, in two spellings")
        field = schema["properties"][name]
        checked[name] = None if item is None else _value(item, field, f"{path}.{name}")
    return checked


def _value(value: object, schema: dict[str, Any], path: str) -> object:
    if "$ref" in schema:
        return _fields(value, _schemas()[schema["$ref"]], path)
    check = _CHECKS.get(schema["type"])
    return check(value, schema, path) if check else value  # "any" is any JSON


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise FieldError(path, "must be an object")
    return value


def _map(value: object, schema: dict[str, Any], path: str) -> dict[str, Any]:
    of = schema["additionalProperties"]
    items = _object(value, path).items()
    return {k: None if v is None else _value(v, of, f"{path}.{k}") for k, v in items}


def _array(value: object, schema: dict[str, Any], path: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise FieldError(path, "must be an array")
    return [_value(item, schema["items"], f"{path}[{i}]") for i, item in enumerate(value)]


def _string(value: object, schema: dict[str, Any], path: str) -> str:
    if not isinstance(value, str):
        raise FieldError(path, "must be a string")
    if "enum" in schema:
        if value.upper() not in schema["enum"]:
            raise FieldError(path, f"must be one of {', '.join(schema['enum'])}")
        return value.upper()
    pattern, wanted = _FORMATS.get(schema.get("format", ""), (None, ""))
    if pattern and not pattern.fullmatch(value):
        raise FieldError(path, f"must be {wanted}")
    return value


def _boolean(value: object, _schema: dict[str, Any], path: str) -> bool:
    if not isinstance(value, bool):
        raise FieldError(path, "must be true or false")
    return value


def _integer(value: object, _schema: dict[str, Any], path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in _INT32:
        raise FieldError(path, "must be a 32-bit integer")
    return value


def _number(value: object, _schema: dict[str, Any], path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FieldError(path, "must be a number")
    return value


_CHECKS: Final = {
    "object": _map,
    "array": _array,
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
}
