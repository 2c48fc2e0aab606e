"""Audience expressions: text such as `(buyers | trial) & eu - churned` to a tree.

Names are [A-Za-z0-9_.-]+. `-` binds tightest, then `&`, then `|`, as for Python's sets; equal
operators group to the left. A `-` inside a name belongs to the name: write blanks around it.
"""

import re
from typing import Literal, NamedTuple

MAX_CHARS = 1_000
MAX_NAMES = 64
MAX_BRACKETS = 16
MAX_NAME_CHARS = 64

_TOKEN = re.compile(r"\s*(?:([A-Za-z0-9_.][A-Za-z0-9_.-]*)|([&|()-]))")
_TIGHTNESS = {"|": 1, "&": 2, "-": 3}

Operator = Literal["&", "|", "-"]
_OPERATORS: dict[str, Operator] = {"&": "&", "|": "|", "-": "-"}


class Combined(NamedTuple):
    """Two audiences combined: & both, | either, - left without right."""

    operator: Operator
    left: "Expression"
    right: "Expression"


Expression = str | Combined
"""A segment's name, or two expressions combined."""


class BadSegmentError(ValueError):
    """The text is no audience expression; the message says where and what to do."""


def parse(text: str) -> Expression:
    """Parse an expression. Raises BadSegmentError. Bounded in length, names and brackets."""
    tokens = _tokens(text)
    tree, rest = _combined(tokens, 0, 0, 0)
    if rest < len(tokens):
        raise BadSegmentError(_unexpected(tokens[rest]))
    return tree


def names(tree: Expression) -> tuple[str, ...]:
    """Give the segment names in a tree, in order, each once."""
    if isinstance(tree, str):
        return (tree,)
    return tuple(dict.fromkeys((*names(tree.left), *names(tree.right))))


def _tokens(text: str) -> list[str]:
    if len(text) > MAX_CHARS:
        raise BadSegmentError(f"use at most {MAX_CHARS} characters")
    text = text.rstrip()
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadSegmentError(f"remove {text[at:].lstrip()[:1]!r}: it is no part of a name")
        tokens.append(found.group(1) or found.group(2))
        at = found.end()
    written = [token for token in tokens if _is_name(token)]
    if len(written) > MAX_NAMES:
        raise BadSegmentError(f"use at most {MAX_NAMES} segment names")
    for name in written:
        if len(name) > MAX_NAME_CHARS:
            raise BadSegmentError(f"shorten {name[:20]!r}...: at most {MAX_NAME_CHARS} characters")
    return tokens


def _is_name(token: str) -> bool:
    return token not in {"&", "|", "-", "(", ")"}


def _unexpected(token: str) -> str:
    if _is_name(token):
        return f"put an operator (& | -) before {token!r}, with blanks around it"
    return f"{token!r} has no place there"


def _combined(tokens: list[str], at: int, tightness: int, depth: int) -> tuple[Expression, int]:
    """Read from `at` while operators bind tighter than `tightness`; give the tree and the rest."""
    left, at = _operand(tokens, at, depth)
    while at < len(tokens):
        operator = _OPERATORS.get(tokens[at])
        if operator is None or _TIGHTNESS[operator] <= tightness:
            break
        right, at = _combined(tokens, at + 1, _TIGHTNESS[operator], depth)
        left = Combined(operator, left, right)
    return left, at


def _operand(tokens: list[str], at: int, depth: int) -> tuple[Expression, int]:
    if at == len(tokens):
        raise BadSegmentError("a segment name is missing at the end" if at else "name a segment")
    token = tokens[at]
    if _is_name(token):
        return token, at + 1
    if token != "(":  # noqa: S105 - a bracket, not a secret
        raise BadSegmentError(f"a segment name is missing before {token!r}")
    if depth == MAX_BRACKETS:
        raise BadSegmentError(f"nest at most {MAX_BRACKETS} brackets")
    inner, at = _combined(tokens, at + 1, 0, depth + 1)
    if at == len(tokens) or tokens[at] != ")":
        raise BadSegmentError("close the bracket with ')'")
    return inner, at + 1
