"""Audience expressions: how they group, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.segments import BadSegmentError, Combined, Expression, names, parse


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", "a"),
        (" plan.pro-2_x ", "plan.pro-2_x"),
        ("a & b", Combined("&", "a", "b")),
        ("a - b - c", Combined("-", Combined("-", "a", "b"), "c")),
        ("a-b", "a-b"),
        ("(a)-b", Combined("-", "a", "b")),
        ("a & (b | c)", Combined("&", "a", Combined("|", "b", "c"))),
        ("a|b&c", Combined("|", "a", Combined("&", "b", "c"))),
        (
            "a & b | c - d",
            Combined("|", Combined("&", "a", "b"), Combined("-", "c", "d")),
        ),
    ],
)
def test_expression_groups_as_pythons_sets(text: str, tree: Expression) -> None:
    """`-` binds tightest, then `&`, then `|`; equal ones from the left."""
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "name a segment"),
        ("a &", "missing at the end"),
        ("& a", "missing before '&'"),
        ("a b", "put an operator"),
        ("a- b", "put an operator"),
        ("(a", "close the bracket"),
        ("a)", "has no place"),
        ("a + b", "remove '+'"),
        ("a & ß", "remove 'ß'"),
        ("x" * 65, "at most 64 characters"),
        ("x" * 1001, "at most 1000 characters"),
        ("|".join("x" * 65), "at most 64 segment names"),
        ("(" * 17 + "a" + ")" * 17, "at most 16 brackets"),
    ],
)
def test_bad_expression_is_explained(text: str, says: str) -> None:
    """The message says where it went wrong."""
    with pytest.raises(BadSegmentError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_names_are_listed_once_in_order() -> None:
    """What has to exist before anybody is chosen."""
    assert names(parse("b & a | (b - c)")) == ("b", "a", "c")


@given(st.text(alphabet="ab&|-() .", max_size=40))
def test_any_text_is_a_tree_or_explained(text: str) -> None:
    """Nothing but BadSegmentError comes out, and a tree names what the text names."""
    try:
        tree = parse(text)
    except BadSegmentError as error:
        assert str(error)  # noqa: PT017 - either end is right
    else:
        assert names(tree)
