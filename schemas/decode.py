"""Bytes to a wire model, and pydantic's errors to sentences that name the field and the remedy."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from schemas.fields import HINTS

MAX_MESSAGE_BYTES = 65_536
"""A registry or feedback message larger than this is refused unread."""
MAX_ERROR_CHARS = 1_900
"""An error message's length: under 2 kB in UTF-8, as everything in it is escaped to ASCII."""
MAX_FAULTS = 10
"""Faults named in one error message; the others are counted."""
MAX_LISTED = 1_000
"""Faults beyond which they are only counted."""
MAX_NESTING = 8
"""Levels inside free-form JSON: an event's variables and overrides, a profile's attributes."""

_REMEDIES = {
    "missing": "is missing, add it",
    "model_type": "must be an object with named fields",
    "model_attributes_type": "must be an object with named fields",
    "dict_type": "must be an object with named fields",
    "tuple_type": "must be a list",
    "union_tag_not_found": "platform is missing, add it: apns, fcm or webpush",
    "union_tag_invalid": "platform must be apns, fcm or webpush",
}
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
ESCAPED_NUL = b"\\u0000"

M = TypeVar("M", bound=BaseModel)


class BadMessageError(ValueError):
    """The bytes are no such message; the text names each field and what to do, at most 2 kB."""


def decode(model: type[M], raw: bytes | None, *, max_bytes: int = MAX_MESSAGE_BYTES) -> M:
    """Decode one JSON message. Raises BadMessageError and nothing else, whatever the bytes."""
    checked = check_raw(raw, max_bytes=max_bytes)
    try:
        message = model.model_validate_json(checked)
    except ValidationError as error:
        refuse_crowd(error, checked)
        raise BadMessageError(explain(faults(model, error))) from None
    check_nul(checked)
    return message


def check_raw(raw: bytes | None, *, max_bytes: int) -> bytes:
    """Give the bytes back when there are some and not too many. Raises BadMessageError."""
    if not raw:
        raise BadMessageError("the message is empty: send a JSON object")
    if len(raw) > max_bytes:
        raise BadMessageError(f"the message has {len(raw)} bytes: send at most {max_bytes}")
    return raw


def check_nul(raw: bytes) -> None:
    r"""Refuse a NUL in any text: stores and providers cut or refuse it. Raises BadMessageError.

    raw: valid JSON. Costs one search of the bytes unless the escape is there.
    """
    if ESCAPED_NUL in raw and (path := _nul_path(from_json(raw), "")) is not None:
        raise BadMessageError(f"{path or 'the message'}: remove the NUL character (\\u0000)")


def _nul_path(value: Any, path: str) -> str | None:
    """Where a NUL stands, or None. The parser bounds the depth."""
    if isinstance(value, str):
        return path if "\0" in value else None
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
        if any("\0" in key for key in value):
            return path
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        if (found := _nul_path(item, _joined(path, str(key)))) is not None:
            return found
    return None


def check_json(value: Mapping[str, Any], path: str, *, max_bytes: int) -> None:
    """Refuse free-form JSON that later stages could not carry. Raises ValueError with the path.

    Bounds the nesting, the size (about, as JSON) and the numbers: finite, and integers that fit
    in 64 bits, which is what msgpack holds. Looks no further once the size is exceeded.
    """
    try:
        left = _left(value, MAX_NESTING, max_bytes)
    except _FaultError as fault:
        raise ValueError(f"{fault.path(path)}: {fault}") from None
    if left < 0:
        raise ValueError(f"{path}: more than {max_bytes} bytes as JSON, use fewer")


class _FaultError(ValueError):
    """A value that cannot be carried; its path is put together on the way out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.parts: list[str] = []

    def path(self, start: str) -> str:
        return ".".join([start, *reversed(self.parts)])[:80]


def _left(value: Any, levels: int, left: int) -> int:
    """Give how many bytes are left of a budget after this value; below 0 is the end."""
    if isinstance(value, str):
        return left - (len(value) if value.isascii() else len(value.encode(errors="replace")))
    if isinstance(value, (dict, list, tuple)):
        if levels == 0:
            raise _FaultError(f"nest at most {MAX_NESTING} levels")
        return _left_of_items(value, levels, left)
    if value is None or isinstance(value, bool):
        return left - 5
    if isinstance(value, int) and _INT64_MIN <= value <= _UINT64_MAX:
        return left - 20
    if isinstance(value, float) and math.isfinite(value):
        return left - 20
    if isinstance(value, (int, float)):
        raise _FaultError("use a finite number that fits in 64 bits")
    raise _FaultError("use JSON values only")


def _left_of_items(value: Any, levels: int, left: int) -> int:
    left -= 2
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        try:
            left = _left(item, levels - 1, left - len(str(key)) - 4)
        except _FaultError as fault:
            fault.parts.append(str(key))
            raise
        if left < 0:
            break
    return left


def explain(sentences: list[str]) -> str:
    """Join sentences to one message of at most 2 kB: the first ones, and how many follow."""
    shown = sentences[:MAX_FAULTS]
    text = "; ".join(shown)
    more = len(sentences) - len(shown)
    if len(text) > MAX_ERROR_CHARS:
        text = text[:MAX_ERROR_CHARS] + "..."
    return f"{text}; and {more} more" if more else text


def refuse_crowd(error: ValidationError, raw: bytes) -> None:
    """Refuse JSON with faults in their thousands, by its largest object. Raises BadMessageError.

    To list them all, as pydantic can only do, would hold up the process for seconds.
    """
    if (count := error.error_count()) > MAX_LISTED:
        keys, path = max(_objects(from_json(raw), ""), default=(0, ""))
        what = f"{path or 'the message'}: has {keys} fields, use fewer"
        raise BadMessageError(f"{what}; {count} faults in all")


def _objects(value: Any, path: str) -> Iterator[tuple[int, str]]:
    """Find all objects: how many fields each has, and where it is."""
    if isinstance(value, dict):
        yield len(value), path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from _objects(item, _joined(path, str(key)))


def faults(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One sentence for each fault, `path: what to do`; values are never repeated."""
    return sentences_of(model, details_of(error))


def details_of(error: ValidationError) -> list[ErrorDetails]:
    """Give pydantic's errors without values.

    A list that stops at its first bad item also counts as too short; that echo is left out.
    """
    details = error.errors(include_url=False, include_input=False)
    return [
        detail
        for before, detail in zip([None, *details], details, strict=False)
        if detail["type"] != "too_short"
        or before is None
        or before["loc"][: len(detail["loc"])] != detail["loc"]
    ]


def sentences_of(model: type[BaseModel], details: list[ErrorDetails]) -> list[str]:
    """One sentence for each of the first faults; empty ones, to be counted, for the rest."""
    told = [sentence(model, detail) for detail in details[:MAX_FAULTS]]
    return told + [""] * (len(details) - len(told))


def sentence(model: type[BaseModel], detail: ErrorDetails) -> str:
    """`path: what to do` for one pydantic error."""
    path = ""
    for part in detail["loc"]:
        path = _joined(path, str(part))
    text = remedy(model, detail)
    return f"{path}: {text}" if path else text


def _joined(path: str, part: str) -> str:
    shown = part if part.isascii() and part.isprintable() else ascii(part)[1:-1]
    return f"{path}.{shown[:60]}" if path else shown[:60]


def remedy(model: type[BaseModel], detail: ErrorDetails) -> str:
    """Say what to do about one pydantic error, without its path."""
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind in _REMEDIES:
        return _REMEDIES[kind]
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(detail["loc"][-1])[:60], _field_names(model), n=1)
        return f"is no field here, {f'did you mean {close[0]!r}?' if close else 'remove it'}"
    if kind == "json_invalid":
        return f"not JSON: {_plain(str(context.get('error', '')))}"
    if kind == "value_error":
        return _plain(str(context.get("error", detail["msg"])))
    text = HINTS.get(str(context.get("pattern")), "") or detail["msg"]
    text = text.replace("Input should", "must").replace(" should ", " must ")
    return _plain(text[:1].lower() + text[1:])


def _plain(text: str) -> str:
    """ASCII of at most 300 characters, so that a message in UTF-8 has a known size."""
    return text.encode("ascii", "backslashreplace").decode()[:300]


@lru_cache(maxsize=64)
def _field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Give the names of all fields of a model and of those inside it."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return tuple(dict.fromkeys(name for part in parts for name in part.get("properties", {})))
