"""Msgpack from elsewhere: what decoding it can raise, and how to say so."""

import re

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that a msgspec decoder raises for bytes that are no such struct.

It gives text that is no UTF-8 and nesting beyond Python's stack as Python's own errors.
"""
MAX_FAULT_CHARS = 300

_QUOTED = re.compile(r"""(['"]).*\1|`[^`]{40,}`""", re.DOTALL)


def fault_of(error: Exception) -> str:
    """Say what is wrong in at most MAX_FAULT_CHARS of ASCII, without the values it was found in.

    error: one of UNREADABLE. A value may be of any length, and a token that stands in the wrong
    place must not get into a log.
    """
    if isinstance(error, UnicodeDecodeError):
        return "a text is not valid UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = _QUOTED.sub("(not shown)", str(error)).encode("ascii", "backslashreplace").decode()
    return text[:MAX_FAULT_CHARS]
