"""truncate: the result always fits, and is made of whole characters."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.platform_parts import Filled
from operators.truncate import ELLIPSIS, OversizeError, field_of, fitted, shortened, with_field
from schemas.pipeline import Content, Platform
from sinks.sizes import size_of
from tests.unit.operators.builders import UNTIMED

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG_DE, FLAG_PT = "\U0001f1e9\U0001f1ea", "\U0001f1f5\U0001f1f9"
WAVE = "\U0001f44b\U0001f3fd"
E_ACUTE = "e\u0301"
WHOLE = [FAMILY, FLAG_DE, FLAG_PT, WAVE, E_ACUTE, "a", "ß", "日", "\r\n", " ", "\u2764\ufe0f"]


def filled(**changes: object) -> Filled:
    return Filled("Title", "Body", "", "", "", {"k": "value"}, {})._replace(**changes)


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("hello world", 5, "hello…"),
        ("hello world", 6, "hello…"),
        ("hello", 5, "hello"),
        ("hello", 0, ""),
        ("", 0, ""),
        (f"a{FAMILY}", 3, "a…"),
        (f"{FAMILY}a", 5, f"{FAMILY}…"),
        (f"{FLAG_DE}{FLAG_PT}", 3, f"{FLAG_DE}…"),
        (f"{FLAG_DE}{FLAG_PT}", 1, ""),
        (f"x{WAVE}", 2, "x…"),
        (f"caf{E_ACUTE}s", 4, "caf…"),
        (f"caf{E_ACUTE}s", 5, f"caf{E_ACUTE}…"),
    ],
)
def test_a_text_is_cut_between_characters(text: str, length: int, expected: str) -> None:
    """As a reader sees them: a family, a flag, an accent."""
    assert shortened(text, length) == expected


@UNTIMED
@given(st.lists(st.sampled_from(WHOLE), max_size=30), st.integers(0, 60))
def test_what_is_kept_is_a_beginning_of_whole_characters(parts: list[str], length: int) -> None:
    """Of those the text was put together from."""
    text = "".join(parts)
    found = shortened(text, length)
    kept = found.removesuffix(ELLIPSIS)
    assert len(kept) <= length
    beginnings = ["".join(parts[:end]) for end in range(len(parts) + 1)]
    assert kept in beginnings or kept in [beginning.rstrip() for beginning in beginnings]


_TEXTS = st.one_of(
    st.text(max_size=6_000),
    st.lists(st.sampled_from(WHOLE), max_size=2_000).map("".join),
    st.sampled_from(['"', "\\", "\x01", "日", FAMILY]).map(lambda one: one * 1_500),
)


@UNTIMED
@given(_TEXTS, st.text(max_size=300), st.sampled_from(list(Platform)),
       st.sampled_from(["title", "body", "data.k"]))  # fmt: skip
def test_the_result_always_fits(text: str, other: str, platform: Platform, field: str) -> None:
    """Measured as the sink does; and it is the longest that does, in valid UTF-8."""

    def content(of: Filled) -> Content:
        return Content(of.title, of.body, of.image, of.url, of.data)

    def excess(of: Filled) -> int:
        size = size_of(platform, content(of))
        assert size is not None
        return size[0] - size[1]

    whole = with_field(filled(title=other, body=other), field, text)
    found = fitted(whole, field, excess)
    assert excess(found) <= 0
    kept = field_of(found, field)
    kept.encode()
    assert found == with_field(whole, field, kept)
    if kept != text:
        longer = [shortened(text, n) for n in range(len(kept), min(len(kept) + 8, len(text)))]
        tries = [with_field(whole, field, one) for one in longer if len(one) > len(kept)]
        assert all(excess(one) > 0 for one in tries)
    assert msgspec.msgpack.encode(content(found))


def test_a_field_that_cannot_help_is_an_error() -> None:
    """The others are too large already."""
    with pytest.raises(OversizeError, match=r"truncating data\.none is not enough"):
        fitted(filled(body="x" * 9_000), "data.none", lambda of: len(of.body) - 4_000)
    with pytest.raises(OversizeError, match="title"):
        fitted(filled(body="x" * 9_000), "title", lambda of: len(of.body) - 4_000)


def test_what_fits_is_not_touched() -> None:
    """And measured once."""
    asked = []
    whole = filled()
    assert fitted(whole, "body", lambda of: asked.append(of) or 0) is whole
    assert len(asked) == 1
