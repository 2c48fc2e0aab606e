"""formats: what a language makes of numbers, money, dates and plurals."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from operators.formats import FILTERS, FormatError, Setting, locale_of, plural, zone_of
from operators.templates import CompiledText, RenderError
from tests.unit.operators.builders import UNTIMED

AT = "2026-01-05T23:30:00Z"


def setting(tag: str, zone: str = "UTC") -> Setting:
    locale, where = locale_of(tag), zone_of(zone)
    assert locale is not None
    assert where is not None
    return Setting(locale, where)


def render(source: str, of: Setting, **variables: object) -> str:
    return CompiledText(source).render(variables, of)


@pytest.mark.parametrize(
    ("source", "tag", "expected"),
    [
        ("{{ 1234.5 | number }}", "en", "1,234.5"),
        ("{{ 1234.5 | number }}", "de", "1.234,5"),
        ("{{ 1234567 | number }}", "en-IN", "12,34,567"),
        ("{{ 2 | number(digits=2) }}", "en", "2.00"),
        ("{{ '12345678901234567890.5' | number }}", "en", "12,345,678,901,234,567,890.5"),
        ("{{ 19.9 | currency('EUR') }}", "en", "€19.90"),
        ("{{ 19.9 | currency('EUR') }}", "de", "19,90\u00a0€"),
        ("{{ 99 | currency('USD', digits=0) }}", "en", "$99"),
        (
            "{{ 99 | currency('USD', 0) }} {{ 99 | currency('USD') }}",
            "de",
            "99\u00a0$ 99,00\u00a0$",
        ),
        ("{{ 1999 | currency('JPY') }}", "ja", "￥1,999"),
        ("{{ 0.25 | percent }}", "en", "25%"),
        ("{{ 0.25 | percent }}", "de", "25\u00a0%"),
        ("{{ at | date }}", "en", "Jan 5, 2026"),
        ("{{ at | date('long') }}", "pt-BR", "5 de janeiro de 2026"),
        ("{{ '2026-01-05' | date('short') }}", "en-GB", "05/01/2026"),
        ("{{ at | time }}", "en", "11:30\u202fPM"),
        ("{{ at | time }}", "de", "23:30"),
        ("{{ at | datetime }}", "de", "05.01.2026, 23:30:00"),
        ("{{ at | date(zone='Europe/Berlin') }}", "en", "Jan 6, 2026"),
        ("{{ [1, 2] | map('number', digits=1) | join(' ') }}", "de", "1,0 2,0"),
    ],
)
def test_what_a_language_writes(source: str, tag: str, expected: str) -> None:
    """As Unicode's CLDR has it."""
    assert render(source, setting(tag), at=AT) == expected


def test_times_are_the_readers() -> None:
    """The same moment is the next day in Tokyo."""
    source = "{{ at | date('short') }} {{ at | time }}"
    assert render(source, setting("de", "Asia/Tokyo"), at=AT) == "06.01.26 08:30"
    assert render(source, setting("de", "America/New_York"), at=AT) == "05.01.26 18:30"


@pytest.mark.parametrize(
    ("n", "en", "pl"),
    [
        (1, "1 seat", "1 miejsce"),
        (2, "2 seats", "2 miejsca"),
        (5, "5 seats", "5 miejsc"),
        (22, "22 seats", "22 miejsca"),
        (1_005, "1,005 seats", "1005 miejsc"),
        (1.5, "1.5 seats", "1,5 miejsca (ułamek)"),
    ],
)
def test_plurals_by_the_languages_rules(n: float, en: str, pl: str) -> None:
    """Polish has four forms; `#` is the number as the language writes it."""
    english = "{{ n | plural(one='# seat', other='# seats') }}"
    polish = (
        "{{ n | plural(one='# miejsce', few='# miejsca', many='# miejsc',"
        " other='# miejsca (ułamek)') }}"
    )
    assert render(english, setting("en"), n=n) == en
    assert render(polish, setting("pl"), n=n).replace("\u00a0", "") == pl


def test_a_form_that_is_not_given_is_other() -> None:
    """Japanese has no other; a translator need not know `few`."""
    assert plural(2, setting("pl"), other="#x") == "2x"
    assert plural(1, setting("ja"), one="a", other="b") == "b"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' | number }}",
        "{{ none | number }}",
        "{{ true | number }}",
        "{{ '1e999999999' | number }}",
        "{{ '1e-999999999' | percent }}",
        "{{ 'nan' | number }}",
        "{{ 1 | number(digits=999999999) }}",
        "{{ 1 | number(digits='2') }}",
        "{{ 1 | currency('euro') }}",
        "{{ 1 | currency(5) }}",
        "{{ 1 | currency('EUR', digits=-1) }}",
        "{{ 1 | currency }}",
        "{{ 1 | plural }}",
        "{{ 1 | plural(one='a') }}",
        "{{ 1 | plural(several='a', other='b') }}",
        "{{ 1 | plural(one=1, other='b') }}",
        "{{ 'soon' | date }}",
        "{{ 1767600000 | date }}",
        "{{ '2026-01-05T08:00:00' | time }}",
        "{{ '2026-13-05' | date }}",
        "{{ '9999-12-31T23:59:59-01:00' | date }}",
        "{{ at | date('yyyy') }}",
        "{{ at | time(zone='Mars/Phobos') }}",
        "{{ at | datetime(zone=5) }}",
        "{{ missing | number }}",
        "{% for i in range(2000) %}{{ i | number }}{% endfor %}",
        "{{ range(2000) | map('number') | join }}",
    ],
)
def test_what_cannot_be_written_is_a_render_error(source: str) -> None:
    """And never a hang or another exception."""
    with pytest.raises(RenderError):
        render(source, setting("en"), at=AT)


def test_the_error_names_the_filter_and_the_remedy() -> None:
    """It becomes the detail of an outcome."""
    with pytest.raises(RenderError, match="time: write a time with its offset"):
        render("{{ 5 | time }}", setting("en"))
    with pytest.raises(RenderError, match="'missing' is undefined"):
        render("{{ missing | plural(other='x') }}", setting("en"))


@pytest.mark.parametrize(
    ("tag", "found"),
    [("pt-BR", "pt_BR"), ("pt_br", "pt_BR"), ("de-XX", "de"), ("zh-Hant-TW", "zh_Hant_TW"),
     ("en-US-x-y", "en_US"), ("xx", None), ("", None), ("../../etc", None)],
)  # fmt: skip
def test_the_locale_of_a_tag(tag: str, found: str | None) -> None:
    """The nearest one that CLDR knows."""
    assert (str(locale_of(tag)) if locale_of(tag) else None) == found


@pytest.mark.parametrize("name", ["", "Mars/Phobos", "../../etc/passwd", "/etc/passwd"])
def test_no_zone_but_those_there_are(name: str) -> None:
    """A name never becomes a path."""
    assert zone_of(name) is None


@pytest.mark.parametrize(
    ("source", "localized", "zoned"),
    [
        ("{{ n }}", False, False),
        ("{{ n | upper }}", False, False),
        ("{{ n | number }}", True, False),
        ("{{ n | plural(other='x') }}", True, False),
        ("{% if n %}{{ n | date }}{% endif %}", True, True),
        ("{% filter number %}5{% endfilter %}", True, False),
        ("{{ n | map(f) | join }}", True, True),
    ],
)
def test_what_depends_on_the_reader_is_noticed(
    source: str, *, localized: bool, zoned: bool
) -> None:
    """Such a text is shared only by readers of one locale and zone."""
    found = CompiledText(source)
    assert (found.localized, found.zoned) == (localized, zoned)


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40),
    st.from_regex(r"\A-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,9})?\Z"),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
)  # fmt: skip


@UNTIMED
@example("currency", "9" * 20 + "." + "9" * 50, "en")
@example("number", 2**64 - 1, "hi")
@example("percent", "9" * 20, "ar")
@given(st.sampled_from(sorted(FILTERS)), _VALUES, st.sampled_from(["en", "ar", "hi", "pt-BR"]))
def test_any_value_is_written_or_refused(name: str, value: Any, tag: str) -> None:
    """A short text twice the same, or one kind of error."""
    options = {"currency": {"code": "EUR", "digits": 6}, "plural": {"other": "#"}}
    more: dict[str, Any] = options.get(name, {})
    where = setting(tag, "Asia/Kolkata")
    try:
        text = FILTERS[name](value, where, **more)
    except FormatError:
        return
    assert 0 < len(text) < 200
    assert FILTERS[name](value, where, **more) == text
