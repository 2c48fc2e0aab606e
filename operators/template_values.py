"""A template's own values, filled: texts, and JSON whose texts may be expressions."""

from collections.abc import Iterator, Mapping
from typing import Any

from operators.formats import Setting
from operators.templates import RenderError, compiled, compiled_value, is_expression


def text_of(source: str, variables: Mapping[str, Any], setting: Setting) -> str:
    """Fill in one text. Raises RenderError."""
    return compiled(source).render(variables, setting) if "{" in source else source


def value_of(value: Any, variables: Mapping[str, Any], setting: Setting) -> Any:
    """Fill in JSON: a text that is one expression becomes its value. Raises RenderError."""
    if isinstance(value, str):
        if is_expression(value):
            return compiled_value(value).value(variables, setting)
        return text_of(value, variables, setting)
    if isinstance(value, dict):
        return {name: value_of(item, variables, setting) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [value_of(item, variables, setting) for item in value]
    return value


def sources_of(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Give every text in JSON that is Jinja, with where it stands."""
    if isinstance(value, str):
        if "{" in value:
            yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from sources_of(item, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from sources_of(item, f"{path}.{number}")


def whole_number_of(value: int | str, variables: Mapping[str, Any], setting: Setting) -> int:
    """Give a badge's number. Raises RenderError."""
    found = value_of(value, variables, setting)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise RenderError("badge: the expression must give a whole number, 0 or more")
    return found
