"""What is said of msgpack that cannot be read."""

import msgspec
import pytest

from schemas.packed import MAX_FAULT_CHARS, UNREADABLE, fault_of
from schemas.pipeline import Delivery, Timer

SECRET = "0123456789-secret-token"
DEEP = b"\x91" * 100_000


def fault(raw: bytes, kind: type = Timer) -> str:
    with pytest.raises(UNREADABLE) as caught:
        msgspec.msgpack.decode(raw, type=kind)
    return fault_of(caught.value)


def test_text_that_is_no_utf8_is_told() -> None:
    """Msgspec raises Python's own error for it."""
    assert fault(b"\x95\xa2\xff\xfe\x00\xa0\xc4\x00\xc4\x00") == "a text is not valid UTF-8"


def test_endless_nesting_is_told() -> None:
    """As above, in elements that no struct has."""
    assert fault(b"\x96\xa0\x00\xa0\xc4\x00\xc4\x00" + DEEP) == "nested too deeply"


@pytest.mark.parametrize("secret", [SECRET, SECRET * 50_000, "it's `quoted` - at `$[1]`'"])
def test_a_value_is_not_repeated(secret: str) -> None:
    """A token in the place of the platform stays out of logs, however long or quoted."""
    told = fault(msgspec.msgpack.encode(["i"] * 6 + [secret] + ["x"] * 12), Delivery)
    assert told.startswith("Invalid enum value (not shown)")
    assert secret not in told
    assert len(told) <= MAX_FAULT_CHARS


def test_the_place_is_told() -> None:
    """So that whoever wrote it can find it."""
    assert fault(msgspec.msgpack.encode(["i", "x", "t", b"", b""])) == (
        "Expected `int`, got `str` - at `$[1]`"
    )
