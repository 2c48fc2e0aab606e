"""fan-out: recipients to deliveries, one per device."""

from uuid import UUID

import msgspec
import pytest

from operators.fan_out import deliveries_of, fan_out
from operators.ids import DeliveryIds
from operators.work import Work
from schemas.pipeline import Content, Delivery, Outcome, Platform, Priority
from tests.unit.operators.builders import (
    NOW_MS,
    addressed,
    device,
    only,
    profile,
    said,
    tenant,
    work,
)


def fan(works: list[Work], now_ms: int) -> tuple[list[Delivery], list[Outcome]]:
    """Give what was made, and what could not be."""
    made, _ = fan_out(works, now_ms)
    return deliveries_of(made), [outcome for each in made for outcome in each.undeliverable]


def sent(piece: Work) -> list[Delivery]:
    deliveries, outs = fan([piece], NOW_MS)
    assert outs == []
    return deliveries


def templated(title: str, *users: str) -> Work:
    of = tenant(templates={"t": {"texts": {"en": {"title": title}}}})
    return work(*users, of=of, template="t", texts={})


def test_one_delivery_per_device() -> None:
    """Addressed to its token."""
    user = profile("u1", device("a"), device("b", platform=Platform.WEBPUSH))
    found = [(d.user_id, d.device_id, d.token, d.platform) for d in sent(addressed(work(), user))]
    assert found == [
        ("u1", "a", "token-of-a", "fcm"),
        ("u1", "b", "token-of-b", "webpush"),
    ]


def test_a_delivery_says_all_that_is_known() -> None:
    """Of the message and of the device."""
    web = device(
        "w", platform=Platform.WEBPUSH, app="web", p256dh="p", auth="a", environment="sandbox"
    )
    said_of = {
        "priority": Priority.HIGH,
        "expires_at_ms": 9,
        "collapse_key": "k",
        "campaign_id": "c",
        "traceparent": "00-x",
        "sandbox": True,
    }
    (found,) = sent(addressed(work(held=True, **said_of), profile("u1", web)))
    assert (found.app, found.p256dh, found.auth) == ("web", "p", "a")
    assert (found.environment, found.registered_at_ms) == ("sandbox", NOW_MS - 1_000)
    assert {name: getattr(found, name) for name in said_of} == said_of
    assert (found.held, found.attempt, found.history) == (True, 1, ())
    assert msgspec.msgpack.decode(found.content, type=Content).title == "Hello"


def test_ids_are_canonical_uuids() -> None:
    """Lower case with hyphens, version 8: APNs takes them as apns-id."""
    (found,) = sent(addressed(work(), profile()))
    uuid = UUID(found.delivery_id)
    assert (str(uuid), uuid.version, uuid.variant) == (
        found.delivery_id,
        8,
        "specified in RFC 4122",
    )


def test_ids_are_the_same_at_a_replay() -> None:
    """So a provider can tell a repeat."""
    first, second = (sent(addressed(work(), profile())) for _ in range(2))
    assert first == second


def test_ids_differ_by_tenant_message_user_and_device() -> None:
    """And cannot be confused by moving a letter from one to the next."""
    ids = {
        DeliveryIds(tenant_name, message).of(user, device_id)
        for tenant_name, message in (("t", "m"), ("t", "n"), ("s", "m"), ("tm", ""), ("", "tm"))
        for user, device_id in (("u", "d"), ("u", "e"), ("v", "d"), ("ud", ""), ("", "ud"))
    }
    assert len(ids) == 25


def test_a_token_that_two_devices_share_is_sent_once() -> None:
    """The second is told as a duplicate."""
    a, b = profile("a", device("x", token="t")), profile("b", device("y", token="t"))
    deliveries, outs = fan([addressed(work(), a, b)], NOW_MS)
    assert [d.user_id for d in deliveries] == ["a"]
    assert said(outs) == [("b", "suppressed", "duplicate_token")]
    assert only(Outcome, outs)[0].device_id == "y"


def test_two_messages_to_one_token_are_both_sent() -> None:
    """Sharing matters within a message only."""
    pieces = [addressed(work(message_id=m), profile()) for m in ("m1", "m2")]
    deliveries, _ = fan(pieces, NOW_MS)
    assert [d.message_id for d in deliveries] == ["m1", "m2"]


def test_a_text_that_fails_for_one_user_goes_to_the_others() -> None:
    """Each device of the one is told why."""
    ann = profile("ann", attributes={"name": "Ann"})
    nobody = profile("x", device("x1"), device("x2"))
    deliveries, outs = fan([addressed(templated("{{ user.name }}"), nobody, ann)], NOW_MS)
    assert [d.user_id for d in deliveries] == ["ann"]
    assert said(outs) == [("x", "rejected", "render_error")] * 2
    assert len({o.outcome_id for o in only(Outcome, outs)}) == 2


def test_a_token_whose_text_failed_is_free_for_the_next() -> None:
    """Nothing was sent to it."""
    nobody = profile("x", device("x1", token="t"))
    ann = profile("ann", device("a1", token="t"), attributes={"name": "Ann"})
    deliveries, _ = fan([addressed(templated("{{ user.name }}"), nobody, ann)], NOW_MS)
    assert [d.user_id for d in deliveries] == ["ann"]


@pytest.mark.parametrize("title", ["{{ n", "{{ ''.__class__.x }}", "{{ n | nonsense }}"])
def test_a_broken_template_stops_its_message_only(title: str) -> None:
    """The other messages of the batch go out."""
    broken = addressed(templated(title), profile("a"), profile("b"))
    deliveries, outs = fan([broken, addressed(work(message_id="m2"), profile())], NOW_MS)
    assert [d.message_id for d in deliveries] == ["m2"]
    assert said(outs) == [("a", "rejected", "render_error"), ("b", "rejected", "render_error")]


def test_an_unknown_template_is_told_to_every_user() -> None:
    """With its name."""
    piece = addressed(work(template="gone"), profile("a"), profile("b"))
    deliveries, outs = fan([piece], NOW_MS)
    assert deliveries == []
    assert said(outs) == [
        ("a", "rejected", "unknown_template"),
        ("b", "rejected", "unknown_template"),
    ]
    assert outs[0].detail == "no template 'gone'"


def test_without_recipients_nothing_happens() -> None:
    """Not even a template is looked for."""
    assert fan([work(template="gone")], NOW_MS) == ([], [])


def test_a_user_is_in_the_region_of_their_country() -> None:
    """Only where the tenant has regions, and one lists the country."""
    of = tenant(rates={"regions": {"eu": {"countries": ["DE", "FR"], "per_second": 5.0}}})
    users = [profile(name, country=country) for name, country in (("a", "DE"), ("b", "US"))]
    piece = addressed(work("a", "b", of=of), *users)
    fan_out([piece], NOW_MS)
    assert [d.region for d in piece.deliveries] == ["eu", ""]
