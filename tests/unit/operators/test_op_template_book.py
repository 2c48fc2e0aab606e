"""template_book: drafts are edited, what was published stays, and one can go back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.template_book import BookError, rolled_back, with_draft, with_published, without
from schemas.template import Template
from schemas.template_book import MAX_VERSIONS, TemplateBook
from tests.unit.operators.builders import UNTIMED

AT = datetime(2026, 1, 5, tzinfo=UTC)


def template(title: str = "t") -> Template:
    return Template.model_validate({"texts": {"en": {"title": title}}})


def book(*titles: str, published: int = 0) -> TemplateBook:
    """Make a book in which each title was put and published, then go back to one."""
    made: TemplateBook | None = None
    for title in titles:
        made = with_published(with_draft(made, template(title), AT), None, AT)
    assert made is not None
    return rolled_back(made, published, AT) if published else made


def titles(of: TemplateBook) -> dict[int, tuple[str, str]]:
    return {
        one.template.version: (one.template.texts["en"].title, of.state(one.template.version))
        for one in of.editions
    }


def test_a_draft_is_edited_until_it_is_published() -> None:
    """Then the next edit is a new version."""
    made = with_draft(with_draft(None, template("a"), AT), template("b"), AT)
    assert titles(made) == {1: ("b", "draft")}
    made = with_draft(with_published(made, None, AT), template("c"), AT)
    assert titles(made) == {1: ("b", "published"), 2: ("c", "draft")}
    made = with_published(made, 2, AT)
    assert titles(made) == {1: ("b", "earlier"), 2: ("c", "published")}


def test_numbers_begin_above_those_of_the_tenants_file() -> None:
    """So that a number means one text."""
    assert titles(with_draft(None, template(), AT, above=3)) == {4: ("t", "draft")}
    assert titles(with_draft(book("a"), template("b"), AT, above=3))[4] == ("b", "draft")


def test_going_back_step_by_step() -> None:
    """To what was published before, and only that."""
    made = book("a", "b", "c")
    made = rolled_back(made, None, AT)
    assert made.published == 2
    made = rolled_back(made, None, AT)
    assert made.published == 1
    with pytest.raises(BookError, match="no version before 1"):
        rolled_back(made, None, AT)
    assert rolled_back(made, 3, AT).published == 3


def test_when_a_version_was_first_published_stays() -> None:
    """Also when it is published again."""
    later = AT + timedelta(days=1)
    made = rolled_back(book("a", "b"), 1, later)
    edition = made.edition(1)
    assert edition is not None
    assert edition.published_at == AT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: with_published(of, 9, AT), "there is no version 9, only 1, 2, 3"),
        (lambda of: with_published(of, 2, AT), "published already"),
        (lambda of: rolled_back(of, 3, AT), "3 is a draft"),
        (lambda of: rolled_back(of, 9, AT), "no version 9"),
        (lambda of: without(of, 2), "is published: publish another"),
        (lambda of: without(of, 9), "no version 9"),
        (lambda _of: rolled_back(with_draft(None, template(), AT), None, AT), "nothing is publ"),
        (lambda _of: without(with_draft(None, template(), AT), 1), "the only version"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(change: object, said: str) -> None:
    """And changes nothing."""
    assert callable(change)
    with pytest.raises(BookError, match=said):
        change(with_draft(book("a", "b"), template("c"), AT))


def test_there_is_room_for_a_bounded_number() -> None:
    """Old ones can be removed."""
    made = book(*map(str, range(MAX_VERSIONS)))
    with pytest.raises(BookError, match="remove old ones"):
        with_draft(made, template("x"), AT)
    made = with_draft(without(made, 1), template("x"), AT)
    assert len(made.editions) == MAX_VERSIONS


_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "publish", "back", "rm"]), st.integers(1, 6)), max_size=25
)


@UNTIMED
@given(_STEPS)
def test_what_was_published_never_changes(steps: list[tuple[str, int]]) -> None:
    """Against a model: title by version, which of them were ever published, which one is."""
    made = with_draft(None, template("0"), AT)
    ever: dict[int, str] = {}
    in_use = None
    for number, (what, version) in enumerate(steps, start=1):
        try:
            if what == "put":
                made = with_draft(made, template(str(number)), AT)
            elif what == "publish":
                made = with_published(made, version, AT)
                in_use = version
                ever[version] = titles(made)[version][0]
            elif what == "back":
                made = rolled_back(made, version, AT)
                assert version in ever
                in_use = version
            else:
                made = without(made, version)
                assert version != in_use
                ever.pop(version, None)
        except BookError:
            continue
        assert made.published == in_use
        found = {v: title for v, (title, state) in titles(made).items() if state != "draft"}
        assert found == ever
        assert TemplateBook.model_validate_json(made.model_dump_json()) == made
