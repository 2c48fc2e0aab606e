"""render: the words for a user, in their language."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.locales import choose_locale, locale_key
from operators.render import Renderer, UnknownTemplateError
from operators.templates import RenderError
from operators.work import Draft
from schemas.pipeline import Content, Platform, Texts
from schemas.tenant import Tenant
from state.profiles import Profile
from tests.unit.operators.builders import UNTIMED, device, notice, profile, tenant


def templated(of: Tenant | None = None, **texts: dict[str, str]) -> Draft:
    """Make a draft of template t; texts by locale with "_" for "-"."""
    named = {name.replace("_", "-"): text for name, text in texts.items()}
    owner = of or tenant(templates={"t": {"texts": named}})
    return draft_of(owner, template="t", texts={}, variables={"n": 3})


def draft_of(of: Tenant | None = None, **changes: object) -> Draft:
    owner = of or tenant()
    return Draft(notice(**changes), owner, owner.categories["news"])


def content(draft: Draft, user: Profile, **of_device: object) -> Content:
    raw = Renderer(draft).content(user, device(**of_device))
    return msgspec.msgpack.decode(raw, type=Content)


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        ("pt-BR", {"pt-br", "pt", ""}, "pt-br"),
        ("pt_BR", {"pt-br", "pt", ""}, "pt-br"),
        ("pt-BR", {"pt", "en"}, "pt"),
        ("pt-BR", {"en", "pt-pt"}, "default"),
        ("zh-Hant-TW", {"zh-hant", "zh"}, "zh-hant"),
        ("", {"en"}, "default"),
        ("-", {"en"}, "default"),
    ],
)
def test_the_best_locale(wanted: str, there: set[str], found: str) -> None:
    """The whole tag, then its beginnings, then the default."""
    assert choose_locale(wanted, dict.fromkeys(there), "default") == found


@UNTIMED
@given(st.text("abAB-_", max_size=9), st.sets(st.text("ab-", max_size=5)))
def test_a_locale_is_one_there_is_or_the_default(wanted: str, there: set[str]) -> None:
    """Whatever the tag."""
    found = choose_locale(wanted, dict.fromkeys(there), "default")
    assert found == "default" or (found in there and locale_key(wanted).startswith(found))


def test_texts_of_the_event_by_the_devices_locale() -> None:
    """The device's before the user's."""
    draft = draft_of(texts={"": Texts("Hi"), "pt": Texts("Oi"), "de": Texts("Hallo")})
    assert content(draft, profile(locale="de"), locale="pt-BR").title == "Oi"
    assert content(draft, profile(locale="de")).title == "Hallo"
    assert content(draft, profile(locale="fr")).title == "Hi"


def test_who_has_no_locale_reads_the_tenants() -> None:
    """It is for users of whom nothing better is known."""
    draft = draft_of(tenant(locale="de"), texts={"": Texts("Hi"), "de": Texts("Hallo")})
    assert content(draft, profile()).title == "Hallo"


def test_texts_of_the_event_are_not_templates() -> None:
    """Braces of a producer come through as they are."""
    assert content(draft_of(texts={"": Texts("{{ 1 }}")}), profile()).title == "{{ 1 }}"


def test_a_template_is_filled_in_the_users_locale() -> None:
    """pt-BR, then pt, then the tenant's."""
    draft = templated(en={"title": "{{ n }} new"}, pt={"title": "{{ n }} novos"})
    assert content(draft, profile(locale="pt-BR")).title == "3 novos"
    assert content(draft, profile(locale="fr")).title == "3 new"


@pytest.mark.parametrize("spelling", ["pt_BR", "pt-br", "PT-BR"])
def test_a_template_locale_may_be_spelt_either_way(spelling: str) -> None:
    """As in the contract."""
    texts = {"en": {"title": "new"}, spelling: {"title": "novos"}}
    draft = templated(tenant(templates={"t": {"texts": texts}}))
    assert content(draft, profile(locale="pt-BR")).title == "novos"


def test_all_four_texts_are_filled() -> None:
    """Also image and url."""
    text = {
        "title": "{{ n }}t",
        "body": "{{ n }}b",
        "image": "https://x.example/{{n}}",
        "url": "app://{{n}}",
    }
    found = content(templated(en=text), profile())
    assert (found.title, found.body) == ("3t", "3b")
    assert (found.image, found.url) == ("https://x.example/3", "app://3")


def test_data_and_the_platforms_own_fields_are_the_notices() -> None:
    """Another platform's are left out."""
    draft = draft_of(data={"k": "v"}, overrides={Platform.FCM: {"a": 1}})
    found = content(draft, profile())
    assert (found.data, found.override) == ({"k": "v"}, {"a": 1})
    web = content(draft, profile(), platform=Platform.WEBPUSH)
    assert web.override == {}


def test_a_template_that_reads_the_user_is_not_shared() -> None:
    """Each sees their own name."""
    draft = templated(en={"title": "Dear {{ user.name }}"})
    renderer = Renderer(draft)
    users = [profile("a", attributes={"name": "Ann"}), profile("b", attributes={"name": "Bob"})]
    raws = [renderer.content(user, user.devices[0]) for user in users]
    titles = [msgspec.msgpack.decode(raw, type=Content).title for raw in raws]
    assert titles == ["Dear Ann", "Dear Bob"]
    assert draft.rendered == {}


def test_only_the_locale_that_reads_the_user_is_not_shared() -> None:
    """Others are rendered once."""
    draft = templated(en={"title": "{{ user.id }}"}, de={"title": "{{ n }}"})
    assert content(draft, profile("a")).title == "a"
    assert content(draft, profile("a", locale="de")).title == "3"
    assert list(draft.rendered) == [("de", Platform.FCM)]


def test_what_users_share_is_rendered_once() -> None:
    """Per locale and platform; sinks cache on the bytes."""
    draft = templated(en={"title": "{{ n }}"})
    first = Renderer(draft).content(profile("a"), device())
    assert Renderer(draft).content(profile("b"), device()) is first
    assert Renderer(draft).content(profile("a"), device(platform=Platform.APNS)) is not first


def test_the_users_id_cannot_be_an_attribute() -> None:
    """user.id is who the user is."""
    user = profile("a", attributes={"id": "b"})
    assert content(templated(en={"title": "{{ user.id }}"}), user).title == "a"


def test_variables_named_user_do_not_reach_a_template() -> None:
    """User is the profile's, always."""
    owner = tenant(templates={"t": {"texts": {"en": {"title": "{{ user.id }}"}}}})
    draft = draft_of(owner, template="t", variables={"user": {"id": "x"}})
    assert content(draft, profile("a")).title == "a"


def test_a_missing_variable_is_an_error() -> None:
    """Nobody gets a text with a hole."""
    with pytest.raises(RenderError, match="'missing' is undefined"):
        content(templated(en={"title": "{{ missing }}"}), profile())


def test_a_shared_text_that_fails_is_tried_once() -> None:
    """A thousand users do not cost a thousand tries."""
    renderer = Renderer(templated(en={"title": "{{ missing }}"}))
    errors = []
    for _ in range(2):
        with pytest.raises(RenderError) as caught:
            renderer.content(profile(), device())
        errors.append(caught.value)
    assert errors[0] is errors[1]


def test_a_template_broken_in_one_locale_serves_the_others() -> None:
    """Only its own users go without."""
    draft = templated(en={"title": "{{ n }}"}, de={"title": "{{ n "})
    assert content(draft, profile(locale="fr")).title == "3"
    with pytest.raises(RenderError, match="TemplateSyntaxError"):
        content(draft, profile(locale="de"))


def test_the_newest_version_unless_one_is_asked_for() -> None:
    """A pinned event keeps its words."""
    versions = [{"version": v, "texts": {"en": {"title": f"v{v}"}}} for v in (1, 3, 2)]
    of = tenant(templates={"t": versions})
    assert content(draft_of(of, template="t"), profile()).title == "v3"
    assert content(draft_of(of, template="t", template_version=1), profile()).title == "v1"


@pytest.mark.parametrize(("version", "named"), [(0, "'x'"), (7, "'x' version 7")])
def test_an_unknown_template_is_named(version: int, named: str) -> None:
    """With its version."""
    with pytest.raises(UnknownTemplateError, match=f"no template {named}"):
        Renderer(draft_of(template="x", template_version=version))
