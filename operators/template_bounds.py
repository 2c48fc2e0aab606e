"""What a template may build: no text or list beyond a bound, however it is put together.

A text of a few characters could otherwise ask for gigabytes: by a width, by repeating, by doubling
itself in a loop. Each check looks at the lengths before anything is built.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.visitor import NodeTransformer

MAX_BUILT: Final = 100_000
"""Characters or items: more than the largest event brings, far more than anybody is shown."""
MAX_EXPONENT: Final = 64
JOINED: Final = "joined"
BINOPS: Final = frozenset({"*", "**", "+", "%"})

_PERCENT_WIDTH = re.compile(r"%[^A-Za-z%]*(\d{4,}|\*)")
_BRACE_WIDTH = re.compile(r"\{[^{}]*:[^{}]*(\d{4,}|\{)")


def check_binop(operator: str, left: Any, right: Any) -> None:
    """Raise SecurityError for an operation that builds too much."""
    if operator == "**" and not (_is_small(left) and _is_small(right)):
        raise SecurityError(f"powers of numbers up to {MAX_EXPONENT} only")
    if operator == "*":
        _check(_repeated(left, right))
    elif operator == "+":
        _check(_weight(left) + _weight(right))
    elif operator == "%" and isinstance(left, str):
        given = right if isinstance(right, tuple) else (right,)
        _check_format(left, _PERCENT_WIDTH, given, places=left.count("%"))


def check_call(obj: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give the arguments of a call. Raises SecurityError for a method that would build too much."""
    text = getattr(obj, "__self__", None)
    if not isinstance(text, str):
        return args
    name = getattr(obj, "__name__", "")
    numbers = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, int)]
    _check(max(numbers, default=0) * (text.count("\t") if name == "expandtabs" else 1))
    if name == "replace" and len(args) >= 2:
        _check_replace(text, args[0], args[1])
    elif name == "join" and args:
        return (_checked_parts(text, args[0]), *args[1:])
    elif name == "translate":
        raise SecurityError("translate is not for templates, use replace")
    return args


def check_format(text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise SecurityError for a str.format that would build too much."""
    _check_format(text, _BRACE_WIDTH, (*args, *kwargs.values()), places=text.count("{"))


@pass_context
def joined(_context: Context, parts: Iterable[Any]) -> str:
    """Give the texts of several values as one; what `~` becomes."""
    return "".join(map(str, _checked_parts("", parts)))


def check_output(value: Any) -> int:
    """Give the weight of what is put out. Raises SecurityError for too much."""
    weight = _weight(value)
    _check(weight)
    return weight


def check_filter(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Give the value of one of Jinja's own filters. Raises SecurityError for too much."""
    if name == "join":
        return _checked_parts(str(args[0] if args else kwargs.get("d", "")), value)
    if name == "sum":
        if isinstance(args[1] if len(args) > 1 else kwargs.get("start"), (str, list, tuple)):
            raise SecurityError("sum is for numbers, use join")
        return value
    _check(_weight(value))
    if name == "replace" and len(args) >= 2:
        _check_replace(str(value), args[0], args[1])
    elif name == "format":
        given = (*args, *kwargs.values())
        _check_format(str(value), _PERCENT_WIDTH, given, places=str(value).count("%"))
    else:
        numbers = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, int)]
        _check(max(numbers, default=0))
    return value


BOUNDED_FILTERS: Final = (
    "batch", "capitalize", "e", "escape", "forceescape", "format", "join", "lower", "pprint",
    "replace", "slice", "string", "striptags", "sum", "title", "tojson", "trim", "truncate",
    "upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr",
)  # fmt: skip
"""Jinja's filters that make a text of a value, or as much as a number says."""


class WithoutConcat(NodeTransformer):
    """Turns every `~` into a filter that looks at the lengths first."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Put the filter in its place."""
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, JOINED, [], [], None, None, lineno=node.lineno)


def _check(length: int) -> None:
    if length > MAX_BUILT:
        raise SecurityError(f"builds a text or list of more than {MAX_BUILT}")


def _check_format(text: str, width: re.Pattern[str], given: tuple[Any, ...], places: int) -> None:
    if width.search(text):
        raise SecurityError("widths and precisions of up to 999 only")
    _check(len(text) + places * sum(map(_weight, given)))


def _check_replace(text: str, old: Any, new: Any) -> None:
    _check(len(text) + text.count(str(old)) * len(str(new)))


def _checked_parts(between: str, parts: Iterable[Any]) -> list[Any]:
    """Give the parts of a text that is to be joined, no further than the bound."""
    kept, length = [], 0
    for part in parts:
        length += _weight(part) + len(between) + 1
        _check(length)
        kept.append(part)
    return kept


def _weight(value: Any) -> int:
    """Give about how long a value is as a text, or more than MAX_BUILT: it looks no further."""
    total, waiting = 0, [value]
    while waiting and total <= MAX_BUILT:
        one = waiting.pop()
        if isinstance(one, str):
            total += len(one)
        elif isinstance(one, (list, tuple)):
            total += len(one)
            waiting += one if len(one) <= MAX_BUILT else ()
        elif isinstance(one, dict):
            total += len(one)
            waiting += [*one.keys(), *one.values()] if len(one) <= MAX_BUILT else ()
    return total


def _is_small(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MAX_EXPONENT


def _repeated(left: Any, right: Any) -> int:
    """Give how long a repeated text or list would become; 0 for a product of numbers."""
    if isinstance(right, (str, list, tuple)):
        left, right = right, left
    is_repeated = isinstance(left, (str, list, tuple)) and isinstance(right, int)
    return max(_weight(left), 1) * right if is_repeated else 0
