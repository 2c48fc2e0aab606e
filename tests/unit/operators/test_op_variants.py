"""Variants: who sees which, always the same, and about as many as their weights say."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.decode import Decode
from operators.fan_out import fan_out
from operators.holdout import Holdout, left_out
from operators.settle import EXPIRED, Settled, outcome_of
from operators.variants import Choice
from operators.work import Work
from schemas.events import BadEventError, decode_event
from schemas.outcomes import Reason, Status
from schemas.pipeline import Content, Notice, Variant
from tests.unit.operators.builders import (
    NOW_MS,
    SOURCE,
    UNTIMED,
    addressed,
    event,
    messages,
    notice,
    profile,
    tenant,
)

USERS = [f"u{number}" for number in range(4_000)]
TWO: list[dict[str, Any]] = [
    {"name": "plain", "weight": 3},
    {"name": "loud", "content": {"title": "HELLO"}},
]


def weighted(*weights: int, **changes: Any) -> Notice:
    variants = tuple(Variant(f"v{at}", weight) for at, weight in enumerate(weights))
    return notice(variants=variants, **changes)


def drawn(said: Notice) -> list[int]:
    choice = Choice(said)
    return [choice.of(user) for user in USERS]


def decoded(**changes: Any) -> Work:
    of = tenant(templates={"t": {"texts": {"en": {"title": "From a template"}}}})
    works, outs = Decode({"acme": of})(messages("events.normal", event(**changes)), NOW_MS)
    assert outs == []
    work: Work = works[0]
    return work


def seen(piece: Work, *users: str) -> dict[str, tuple[str, str]]:
    """Give the variant on each user's delivery, and the title."""
    fan_out([addressed(piece, *map(profile, users))], NOW_MS)
    title_of = msgspec.msgpack.Decoder(Content).decode
    return {d.user_id: (d.variant, title_of(d.content).title) for d in piece.deliveries}


def test_about_as_many_see_each_as_its_weight_says() -> None:
    """Within four standard deviations, of a draw that is the same on every machine."""
    counts = Counter(drawn(weighted(1, 3)))
    assert abs(counts[0] - len(USERS) / 4) < 4 * (len(USERS) * 3 / 16) ** 0.5


@UNTIMED
@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=10), st.text(min_size=1))
def test_each_user_sees_exactly_one_and_always_the_same(weights: list[int], user: str) -> None:
    """Whatever the weights and the user."""
    at = Choice(weighted(*weights)).of(user)
    assert 0 <= at < len(weights)
    assert at == Choice(weighted(*weights)).of(user)


def test_the_draw_is_the_campaigns() -> None:
    """Its messages show a user the same variant; another campaign draws anew."""
    assert drawn(weighted(1, 1, campaign_id="c")) == drawn(
        weighted(1, 1, campaign_id="c", message_id="m-2")
    )
    assert drawn(weighted(1, 1, campaign_id="c")) != drawn(weighted(1, 1, campaign_id="d"))


def test_the_draw_has_nothing_to_do_with_a_holdout() -> None:
    """Half of those left out would have seen each variant."""
    said = weighted(1, 1, campaign_id="c")
    group, choice = Holdout("campaign c", 50.0), Choice(said)
    out = [user for user in USERS if left_out((group,), "acme", user)]
    share = sum(choice.of(user) for user in out) / len(out)
    assert 0.45 < share < 0.55


def test_users_see_their_variants_words() -> None:
    """One without words of its own is the event as it stands."""
    found = seen(decoded(variants=TWO), *USERS[:40])
    assert set(found.values()) == {("plain", "Hello"), ("loud", "HELLO")}


def test_variants_may_be_templates() -> None:
    """And the event's own words too."""
    variants = [{"name": "a"}, {"name": "b", "template": {"name": "t"}}]
    found = seen(decoded(variants=variants), *USERS[:40])
    assert set(found.values()) == {("a", "Hello"), ("b", "From a template")}


def test_an_unknown_template_ends_its_own_variant_only() -> None:
    """The others are sent; each outcome names the variant."""
    piece = decoded(variants=[{"name": "a"}, {"name": "b", "template": {"name": "nope"}}])
    found = seen(piece, *USERS[:40])
    assert {variant for variant, _ in found.values()} == {"a"}
    assert len(found) + len(piece.undeliverable) == 40
    assert {(o.reason, o.variant) for o in piece.undeliverable} == {(Reason.UNKNOWN_TEMPLATE, "b")}


def test_a_chunk_keeps_the_variants() -> None:
    """What goes round is the whole notice."""
    piece = decoded(variants=TWO)
    again = Decode({"acme": tenant()})
    value = msgspec.msgpack.encode(piece.chunk(users=USERS[:40]).value)
    (back,), _ = again(messages("chunks.normal", value), NOW_MS)
    assert seen(back, *USERS[:40]) == seen(piece, *USERS[:40])


def test_the_outcome_tells_the_variant() -> None:
    """That of a decision about a user, and the provider's answer."""
    piece = decoded(variants=TWO)
    seen(piece, "u1")
    told = piece.decide(NOW_MS, Status.SUPPRESSED, Reason.FREQUENCY_CAP, user_id="u1")
    (delivery,) = piece.deliveries
    settled = Settled(delivery, EXPIRED, SOURCE, NOW_MS)
    answered = outcome_of(settled, NOW_MS, Status.SENT, Reason.ACCEPTED)
    assert told.variant == delivery.variant == answered.variant != ""


@pytest.mark.parametrize(
    ("variants", "says"),
    [
        (TWO[:1], "variants: one alone compares with nothing"),
        ([TWO[0], TWO[0]], "variants: give each its own name"),
        ([TWO[0], {"name": "b", "content": {}}], "variants.b.content: give at least a title"),
        (
            [TWO[0], {**TWO[1], "template": {"name": "t"}}],
            "variants.loud: give at most one of content and template",
        ),
        ([{"name": f"v{n}"} for n in range(11)], "variants"),
        ([TWO[0], {"name": "b", "weight": 0}], "variants.1.weight"),
        (
            [TWO[0], {"name": "b", "content": {"data": {str(n): "x" * 4_096 for n in range(5)}}}],
            "variants.b.data: more than",
        ),
    ],
)
def test_variants_that_compare_nothing_are_refused(
    variants: list[dict[str, Any]], says: str
) -> None:
    """The fault names the variant."""
    with pytest.raises(BadEventError, match=says):
        decode_event(event(variants=variants))
