"""Templates: hostile, broken and endless ones become errors, and nothing worse."""

from itertools import pairwise
from typing import Any

import pytest

from operators.templates import MAX_STEPS, MAX_TEXT_CHARS, CompiledText, RenderError, compiled

EMPTY_LOOPS = "{% for a in range(3000) %}{% for b in range(3000) %}{% endfor %}{% endfor %}"
EXPONENTIAL = (
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
)
ENDLESS = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"
DOUBLED_BY_TILDE = (
    "{% set ns = namespace(t='ab') %}{% for i in range(40) %}{% set ns.t = ns.t ~ ns.t %}"
    "{% endfor %}{{ ns.t | length }}"
)
DOUBLED_BY_PLUS = DOUBLED_BY_TILDE.replace("~", "+")
DOUBLED_BY_OUTPUT = (
    "{% set x %}{% for i in range(19000) %}{{ 'a' * 9000 }}{% endfor %}{% endset %}{{ x | length }}"
)
NESTED_LISTS = "".join(
    "{% set " + new + " = [" + ", ".join([old] * 9) + "] %}"
    for old, new in pairwise(["'a'", *"bcdefgh"])
) + "{{ h }}"  # fmt: skip
RECURSIVE = "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}"


def render(source: str, **variables: object) -> str:
    return CompiledText(source).render(variables)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ name }}!", "Zoë!"),
        ("{% for n in items %}{{ loop.index }}{{ n }}{{ loop.last }} {% endfor %}",
         "1aFalse 2bTrue "),
        ("{% for k, v in plan.items() %}{{ k }}={{ v }} {% else %}none{% endfor %}", "seats=3 "),
        ("{% for n in items if n != 'a' %}{{ loop.length }}{{ n }}{% endfor %}", "1b"),
        ("{% for n in [] %}x{% else %}empty{% endfor %}", "empty"),
        ("{{ plan.seats * 2 }} {{ 2 ** 10 }} {{ '-' * 3 }}", "6 1024 ---"),
        ("{{ '%d items' % plan.seats }} {{ '{:>4}'.format(plan.seats) }}", "3 items    3"),
        ("{% set user = 'x' %}{{ user }}", "x"),
        ("{{ name ~ '!' ~ plan.seats }} {{ 'a' + 'b' }} {{ 7 % 4 }} {{ [1] + [2] }}",
         "Zoë!3 ab 3 [1, 2]"),
        ("{{ '{:>4}|{:.1f}'.format('x', 2) }} {{ '%05.1f' % 2 }}", "   x|2.0 002.0"),
        ("{{ 'a-b'.replace('-', '+') }} {{ 'a-b' | replace('-', '+') }}", "a+b a+b"),
        ("{{ items | join(', ') }} {{ ', '.join(items) }} {{ [1, 2] | join }}", "a, b a, b 12"),
        ("{{ items | map('upper') | join('-') }} {{ [1, 2] | sum }}", "A-B 3"),
        ("{{ 'x'.ljust(3) }}| {{ plan | tojson }} {{ 'ab' | title | trim }}",
         'x  | {"seats": 3} Ab'),
        ("{{ 'a b c' | wordwrap(3) | length }} {{ 'abcdef' | truncate(5, leeway=0) }}", "5 ab..."),
    ],
)  # fmt: skip
def test_what_a_template_may_do(source: str, expected: str) -> None:
    """Variables, loops, calls and sums work as in Jinja."""
    assert render(source, name="Zoë", items=["a", "b"], plan={"seats": 3}) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ missing }}",
        "{{ plan.missing.deeper }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ items.append('c') }}",
        "{{ 1 / 0 }}",
        "{{ 1.5 | round(precision='x') }}",
        "{{ 7 | xmlattr }}",
        "{{ 'x' | int(base=99) + nothing }}",
        "{{ items[99] + 1 }}",
        "{{ plan() }}",
        "{% include 'other' %}",
        "{% for i in range(10**9) %}{{ i }}{% endfor %}",
        "{% for i in range(999999999) %}{{ i }}{% endfor %}",
        "{% for i in 5 %}{% endfor %}",
        EMPTY_LOOPS,
        EXPONENTIAL,
        ENDLESS,
        RECURSIVE,
        "{{ 'a' * 10 ** 9 }}",
        "{{ 'a' * 999999999 }}",
        "{{ [1] * 999999999 }}",
        "{{ 999999999 * 'a' }}",
        "{{ 10 ** 10 ** 8 }}",
        "{{ 99999 ** 99999 }}",
        "{{ namespace().x.y }}",
        "{{ 'a'.ljust(999999999) | length }}",
        "{{ 'a'.zfill(999999999) | length }}",
        "{{ '\t'.expandtabs(999999999) | length }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 999999999) }}",
        "{{ ('a' * 9999).replace('a', 'b' * 9999) | length }}",
        "{{ ('a' * 9999) | replace('a', 'b' * 9999) | length }}",
        "{{ ('a' * 9999).join('b' * 9999) | length }}",
        "{{ (['a' * 9999] * 9) | map('upper') | join('-' * 9999) | length }}",
        "{{ ''.join((['a' * 9999] * 11) | map('upper')) | length }}",
        "{{ [['a']] | sum(start=[]) }}",
        "{{ 'x'.translate({120: 'y'}) }}",
        DOUBLED_BY_TILDE,
        DOUBLED_BY_PLUS,
        DOUBLED_BY_OUTPUT,
        NESTED_LISTS,
        NESTED_LISTS.replace("{{ h }}", "{{ h | upper | length }}"),
        NESTED_LISTS.replace("{{ h }}", "{{ 'a' ~ h }}"),
        NESTED_LISTS.replace("{{ h }}", "{{ '%s' % [h] }}"),
    ],
)
def test_what_fails_is_a_render_error(source: str) -> None:
    """Security, recursion, overflow, attribute errors: all become one kind."""
    with pytest.raises(RenderError):
        render(source, items=["a"], plan={"a": 1})


@pytest.mark.parametrize(
    "source",
    [
        "{{ unclosed",
        "{% for %}",
        "{% nonsense %}",
        "{{ x | no_such_filter }}",
        "{{ x is no_such_test }}",
        "{{ 'x' | center(999999999) }}",
        "{{ lipsum(n=9) }}",
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
        "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
    ],
)
def test_what_is_no_template_is_a_render_error(source: str) -> None:
    """Whether the parser, the compiler or Python finds it."""
    with pytest.raises(RenderError):
        render(source, x=1)


def test_the_error_names_its_cause_shortly() -> None:
    """It becomes the detail of an outcome."""
    with pytest.raises(RenderError, match="UndefinedError: 'name' is undefined"):
        render("{{ name }}")
    with pytest.raises(RenderError) as caught:
        render("{{ " + "x" * 500 + " }}")
    assert len(str(caught.value)) <= 200


def test_long_output_is_cut() -> None:
    """And what would come after it is not made."""
    text = render("{% for a in range(90) %}{{ 'x' * 999 }}{% endfor %}{{ missing }}")
    assert text == "x" * MAX_TEXT_CHARS


def test_each_text_has_all_steps() -> None:
    """What one uses up is not missing to the next."""
    nearly = CompiledText("{% for a in items %}{% endfor %}{{ items | length }}")
    for _ in range(3):
        assert nearly.render({"items": [0] * MAX_STEPS}) == str(MAX_STEPS)


@pytest.mark.parametrize(
    ("source", "per_user"),
    [
        ("Hello", False),
        ("{{ name }}", False),
        ("{{ user.name }}", True),
        ("{% for a in user['tags'] %}{% endfor %}", True),
        ("{% if user %}x{% endif %}", True),
        ("{{ user_name }} {{ x.user }}", False),
    ],
)
def test_reading_the_user_is_noticed(source: str, *, per_user: bool) -> None:
    """Such a text is never shared."""
    assert CompiledText(source).per_user is per_user


def test_a_text_is_compiled_once() -> None:
    """The same source gives the same object."""
    assert compiled("{{ once }}") is compiled("{{ once }}")


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("{{ table[code] }}", {"table": {}, "code": "493817"}),
        ("{{ table[user.name] }}", {"table": {}, "user": {"name": "Ada Lovelace"}}),
        ("{{ table[codes[0]] }}", {"table": {}, "codes": [[], "x", 493817][2:]}),
    ],
)
def test_the_error_tells_no_values(source: str, variables: dict[str, Any]) -> None:
    """A code or a name must not get into logs and outcomes."""
    with pytest.raises(RenderError, match="hidden") as caught:
        render(source, **variables)
    assert "493817" not in str(caught.value)
    assert "Ada" not in str(caught.value)
