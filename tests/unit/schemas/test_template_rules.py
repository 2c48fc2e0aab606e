"""Templates as people write them: what is refused names the field and the remedy."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.decode import explain, faults
from schemas.template import Template
from schemas.template_book import TemplateBook

AT = "2026-01-05T00:00:00Z"


def fault(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Template.model_validate({"texts": {"en": {"title": "t"}}, **fields})
    return explain(faults(Template, caught.value))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"texts": {}}, "texts"),
        ({"texts": {"english!": {"title": "t"}}}, "language tag"),
        (
            {"texts": {"en": {"titel": "t"}}},
            "texts.en.titel: is no field here, did you mean",
        ),
        ({"apns": {"badge": -1}}, "apns.badge"),
        ({"apns": {"badge": "three"}}, "Jinja expression such as '{{ user.unread }}'"),
        ({"apns": {"relevance_score": 2}}, "apns.relevance_score"),
        ({"apns": {"interruption_level": "loud"}}, "apns.interruption_level"),
        ({"apns": {"live_activity": {"event": "start"}}}, "attributes_type: is missing"),
        ({"apns": {"live_activity": {"content_state": {"x": "y" * 5_000}}}}, "content_state: more"),
        ({"fcm": {"priority": "urgent"}}, "fcm.priority"),
        ({"fcm": {"ttl_s": 3_000_000}}, "fcm.ttl_s"),
        ({"fcm": {"color": "red"}}, "fcm.color"),
        ({"webpush": {"renotify": True}}, "renotify: needs a tag"),
        ({"webpush": {"actions": [{"action": "a", "title": "x"}] * 2}}, "its own name"),
        ({"on_oversize": "shrink"}, "use 'reject' or 'truncate: body'"),
        ({"on_oversize": "truncate: url"}, "use 'reject' or 'truncate: body'"),
        ({"variables": {"a-b": 1}}, "letters, digits and '_'"),
        ({"variables": {"a": float("nan")}}, "variables.a"),
        ({"variables": {"a": "x" * 20_000}}, "variables: more than 16384 bytes"),
        ({"sound": "x"}, "sound: is no field here"),
    ],
)
def test_what_is_refused_says_what_to_do(fields: dict[str, Any], said: str) -> None:
    """In one line."""
    assert said in fault(**fields)


@pytest.mark.parametrize(
    ("choice", "field"),
    [("reject", ""), ("truncate: body", "body"), ("truncate:title", "title"),
     ("truncate: data.summary", "data.summary")],
)  # fmt: skip
def test_what_is_truncated(choice: str, field: str) -> None:
    """With a blank or without."""
    template = Template.model_validate({"texts": {"en": {}}, "on_oversize": choice})
    assert template.truncated == field


@pytest.mark.parametrize(
    ("book", "said"),
    [
        ({"editions": []}, "editions"),
        ({"editions": [1, 1]}, "its own number, in order"),
        ({"editions": [2, 1]}, "its own number, in order"),
        ({"editions": [1], "published": 1}, "names no version that was published"),
        ({"editions": [1], "published": 2}, "names no version that was published"),
    ],
)
def test_a_book_is_consistent(book: dict[str, Any], said: str) -> None:
    """Whoever wrote it."""
    editions = [
        {"template": {"version": n, "texts": {"en": {}}}, "edited_at": AT} for n in book["editions"]
    ]
    with pytest.raises(ValidationError, match=said):
        TemplateBook.model_validate({**book, "editions": editions})
