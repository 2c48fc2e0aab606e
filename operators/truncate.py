"""Texts shortened until a message fits its platform, on whole characters."""

import unicodedata
from collections.abc import Callable
from typing import Final

from operators.platform_parts import Filled

ELLIPSIS: Final = "…"
_JOINER: Final = "\u200d"
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_TAGS: Final = range(0xE0020, 0xE0080)


class OversizeError(ValueError):
    """A message is too large for its platform, and shortening the chosen field is not enough."""


def fitted(filled: Filled, field: str, excess: Callable[[Filled], int]) -> Filled:
    """Shorten a field as little as makes the message fit.

    field: title, body, subtitle or data.<key>. excess: bytes over the limit, 0 or less when it
    fits; a longer text never makes it smaller. Raises OversizeError. O(log length) calls of excess.
    """
    if excess(filled) <= 0:
        return filled
    text = field_of(filled, field)
    fits, too_long = -1, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if excess(with_field(filled, field, shortened(text, middle))) <= 0:
            fits = middle
        else:
            too_long = middle
    if fits < 0:
        raise OversizeError(f"truncating {field} is not enough")
    return with_field(filled, field, shortened(text, fits))


def shortened(text: str, length: int) -> str:
    """Give at most this many characters of a text and an ellipsis; nothing but "" for none.

    Cuts between what a reader takes for characters: an emoji of several code points, or a letter
    with its accents, stays whole or goes. A close approximation of UAX #29, which is a table of its
    own: what it may cut apart are Hangul syllables typed as single letters.
    """
    if length >= len(text):
        return text
    while length > 0 and _joined(text, length):
        length -= 1
    kept = text[:length].rstrip()
    return kept + ELLIPSIS if kept else ""


def _joined(text: str, at: int) -> bool:
    """Tell whether the characters before and after a position belong together."""
    before, after = text[at - 1], text[at]
    code = ord(after)
    if unicodedata.category(after).startswith("M") or _JOINER in (before, after):
        return True
    if code in _SKIN_TONES or code in _TAGS or (before == "\r" and after == "\n"):
        return True
    if code not in _REGIONAL:
        return False
    start = at
    while start and ord(text[start - 1]) in _REGIONAL:
        start -= 1
    return (at - start) % 2 == 1  # a flag is two of these


def field_of(filled: Filled, field: str) -> str:
    """Give a field's text, "" when it is not there."""
    if field.startswith("data."):
        return filled.data.get(field.removeprefix("data."), "")
    text: str = getattr(filled, field)
    return text


def with_field(filled: Filled, field: str, text: str) -> Filled:
    """Give the same with another text in a field."""
    if field == "title":
        return filled._replace(title=text)
    if field == "body":
        return filled._replace(body=text)
    if field == "subtitle":
        return filled._replace(subtitle=text)
    key = field.removeprefix("data.")
    return filled if key not in filled.data else filled._replace(data=filled.data | {key: text})
