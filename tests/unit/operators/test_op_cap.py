"""cap: not too many messages for one user."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from operators.cap import DAILY, Answers, ApplyCaps, limits_of
from operators.fan_out import fan_out
from operators.work import Work
from schemas.pipeline import Outcome, Priority
from schemas.tenant import Tenant
from state.caps import Caps
from state.memory_limits import MemoryCaps
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

HOUR_MS = 3_600_000


def at_once(call: Callable[[], Answers]) -> "Future[Answers]":
    """Call now, as a thread would soon."""
    done: Future[Answers] = Future()
    done.set_result(call())
    return done


class Capping:
    """Both halves of the step, one after the other."""

    def __init__(self, caps: Caps) -> None:
        self._step = ApplyCaps(caps, at_once)

    def __call__(self, works: list[Work], now_ms: int) -> tuple[list[Any], list[Any]]:
        asked, outs = self._step.ask(works, now_ms)
        settled, more = self._step.settle(asked, now_ms)
        return settled, [*outs, *more]


def capped(*caps: dict[str, Any], daily: int | None = None, **categories: Any) -> Tenant:
    return tenant(
        categories={"news": {"caps": caps}, "alerts": {}, **categories},
        quotas={"user_daily": daily},
    )


def one_per_hour() -> Tenant:
    return capped({"limit": 1, "window_s": 3_600})


def send(
    step: Capping, of: Tenant, message: str, *users: str, at: int = NOW_MS, **changes: Any
) -> tuple[list[str], list[Any]]:
    """Who gets the message, and what was decided."""
    piece = work(*users, of=of, message_id=message, **changes)
    (back,), outs = step([addressed(piece, *map(profile, users))], at)
    return [p.user_id for p, _ in back.recipients], outs


def test_without_caps_nobody_is_asked() -> None:
    """All pass."""
    assert send(Capping(MemoryCaps()), tenant(), "m", "a", "b") == (["a", "b"], [])


def test_the_first_passes_and_the_second_is_held_back() -> None:
    """The outcome tells which cap."""
    step, of = Capping(MemoryCaps()), one_per_hour()
    assert send(step, of, "m1", "a")[0] == ["a"]
    users, outs = send(step, of, "m2", "a")
    assert (users, said(outs)) == ([], [("a", "suppressed", "frequency_cap")])
    assert outs[0].detail == "news: 1 in 3600 s"


def test_users_are_counted_apart() -> None:
    """One user's cap is not another's."""
    step, of = Capping(MemoryCaps()), one_per_hour()
    send(step, of, "m1", "a")
    assert send(step, of, "m2", "a", "b")[0] == ["b"]


def test_the_window_rolls() -> None:
    """It is free again to the millisecond."""
    step, of = Capping(MemoryCaps()), one_per_hour()
    send(step, of, "m1", "a")
    assert send(step, of, "m2", "a", at=NOW_MS + HOUR_MS - 1)[0] == []
    assert send(step, of, "m3", "a", at=NOW_MS + HOUR_MS)[0] == ["a"]


def test_the_limits_of_one_batch_count_together() -> None:
    """Two messages in one batch are two."""
    step, of = Capping(MemoryCaps()), one_per_hour()
    pieces = [addressed(work("a", of=of, message_id=m), profile("a")) for m in ("m1", "m2")]
    step(pieces, NOW_MS)
    assert [len(piece.recipients) for piece in pieces] == [1, 0]


def test_all_windows_of_a_category_hold() -> None:
    """The one that is used up is named."""
    of = capped({"limit": 2, "window_s": 3_600}, {"limit": 3, "window_s": 86_400})
    step = Capping(MemoryCaps())
    for n in range(3):
        assert send(step, of, f"m{n}", "a", at=NOW_MS + n * HOUR_MS)[0] == ["a"]
    users, outs = send(step, of, "m9", "a", at=NOW_MS + 5 * HOUR_MS)
    assert users == []
    assert outs[0].detail == "news: 3 in 86400 s"


def test_categories_are_counted_apart() -> None:
    """News do not use up offers."""
    offers = {"caps": [{"limit": 1, "window_s": 3_600}]}
    step, of = Capping(MemoryCaps()), capped({"limit": 1, "window_s": 3_600}, offers=offers)
    send(step, of, "m1", "a")
    assert send(step, of, "m2", "a", category="offers")[0] == ["a"]


def test_the_daily_quota_is_one_for_all_categories() -> None:
    """Also for those without caps of their own."""
    offers = {"caps": [{"limit": 9, "window_s": 3_600}]}
    step = Capping(MemoryCaps())
    of = capped({"limit": 9, "window_s": 3_600}, daily=2, offers=offers)
    assert send(step, of, "m1", "a")[0] == ["a"]
    assert send(step, of, "m2", "a", category="offers")[0] == ["a"]
    for category in ("news", "offers", "alerts"):
        users, outs = send(step, of, f"m-{category}", "a", category=category)
        assert users == []
        assert outs[0].detail == f"{DAILY}: 2 in 86400 s"


def test_a_category_named_daily_is_not_the_quota() -> None:
    """Their counts are kept apart."""
    daily = {"caps": [{"limit": 1, "window_s": 3_600}]}
    of = tenant(categories={"news": {}, "daily": daily}, quotas={"user_daily": 5})
    step = Capping(MemoryCaps())
    send(step, of, "m1", "a")
    assert send(step, of, "m2", "a", category="daily")[0] == ["a"]


def test_a_refused_message_uses_up_nothing() -> None:
    """Neither cap nor quota."""
    of = capped({"limit": 1, "window_s": 3_600}, daily=2)
    step = Capping(MemoryCaps())
    assert [send(step, of, f"m{n}", "a")[0] for n in range(3)] == [["a"], [], []]
    assert send(step, of, "m9", "a", category="alerts")[0] == ["a"]


def test_a_replayed_message_is_admitted_again_without_counting() -> None:
    """A batch that is read twice takes the same decisions."""
    of = capped({"limit": 2, "window_s": 3_600})
    step = Capping(MemoryCaps())
    first = [send(step, of, f"m{n}", "a")[0] for n in range(3)]
    assert first == [send(step, of, f"m{n}", "a")[0] for n in range(3)] == [["a"], ["a"], []]


def test_two_devices_of_one_user_are_one_message() -> None:
    """The cap counts messages to a user."""
    of = one_per_hour()
    piece = work("a", "a", of=of, devices=("x", "y"))
    user = profile("a", device("x"), device("y"))
    piece.recipients = [(user, user.devices[:1]), (user, user.devices[1:])]
    assert Capping(MemoryCaps())([piece], NOW_MS) == ([piece], [])
    assert len(piece.recipients) == 2


def test_capped_devices_of_one_user_are_told_apart() -> None:
    """Each outcome names its device."""
    of, caps = one_per_hour(), MemoryCaps()
    send(Capping(caps), of, "m1", "a")
    piece = work("a", "a", of=of, message_id="m2", devices=("x", "y"))
    user = profile("a", device("x"), device("y"))
    piece.recipients = [(user, user.devices[:1]), (user, user.devices[1:])]
    outcomes = only(Outcome, Capping(caps)([piece], NOW_MS)[1])
    assert [o.device_id for o in outcomes] == ["x", "y"]
    assert len({o.outcome_id for o in outcomes}) == 2


def test_a_critical_message_is_neither_held_back_nor_counted() -> None:
    """A code always comes, and leaves room for the news."""
    step, of = Capping(MemoryCaps()), one_per_hour()
    for n in range(3):
        assert send(step, of, f"c{n}", "a", priority=Priority.CRITICAL)[0] == ["a"]
    assert send(step, of, "m1", "a")[0] == ["a"]
    assert send(step, of, "c9", "a", priority=Priority.CRITICAL)[0] == ["a"]


def test_tenants_are_counted_apart() -> None:
    """Also when one batch holds both."""
    acme = one_per_hour()
    other = Tenant.model_validate({**acme.model_dump(), "name": "other", "shards": 8})
    step = Capping(MemoryCaps())
    pieces: list[Work] = [
        addressed(work("a", of=owner, tenant=owner.name, message_id=m), profile("a"))
        for m, owner in (("m1", acme), ("m2", other), ("m3", acme), ("m4", other))
    ]
    step(pieces, NOW_MS)
    assert [len(piece.recipients) for piece in pieces] == [1, 1, 0, 0]


def test_limits_are_named_after_the_category() -> None:
    """The quota comes last."""
    of = capped({"limit": 1, "window_s": 60}, daily=5)
    assert limits_of(of, "news", "test.event") == (
        ("news", 1, 60_000),
        (DAILY, 5, 86_400_000),
    )


def grouped(**group: Any) -> Tenant:
    """Make a tenant with one group of caps, of one message an hour."""
    limits = [{"limit": 1, "window_s": "1h"}]
    return tenant(
        categories={"news": {}, "offers": {}, "alerts": {}},
        caps=[{"name": "g", "limits": limits, **group}],
    )


def test_a_group_of_caps_counts_several_categories_together() -> None:
    """And leaves the others alone."""
    step, of = Capping(MemoryCaps()), grouped(categories=["news", "offers"])
    assert send(step, of, "m1", "a")[0] == ["a"]
    users, outs = send(step, of, "m2", "a", category="offers")
    assert (users, outs[0].detail) == ([], "caps:g: 1 in 3600 s")
    assert send(step, of, "m3", "a", category="alerts")[0] == ["a"]


def test_a_group_of_caps_counts_single_types() -> None:
    """In whatever category they come."""
    step, of = Capping(MemoryCaps()), grouped(types=["sale"])
    assert send(step, of, "m1", "a", type="sale")[0] == ["a"]
    assert send(step, of, "m2", "a", type="sale", category="alerts")[0] == []
    assert send(step, of, "m3", "a", type="breaking")[0] == ["a"]


def test_a_group_without_a_choice_counts_everything() -> None:
    """Beside it the category's own caps hold."""
    of = tenant(
        categories={"news": {"caps": [{"limit": 2, "window_s": "1d"}]}, "offers": {}},
        caps=[{"name": "all", "limits": [{"limit": 3, "window_s": "1d"}]}],
    )
    step = Capping(MemoryCaps())
    sent = [send(step, of, f"n{n}", "a")[0] for n in range(3)]
    sent += [send(step, of, f"o{n}", "a", category="offers")[0] for n in range(2)]
    assert sent == [["a"], ["a"], [], ["a"], []]


def test_what_was_made_for_a_refused_user_meanwhile_is_dropped() -> None:
    """Messages are addressed while Redis counts; only those of admitted users go on."""
    caps, of = MemoryCaps(), one_per_hour()
    send(Capping(caps), of, "m1", "a")
    step = ApplyCaps(caps, at_once)
    works, _ = step.ask(
        [addressed(work("a", "b", of=of, message_id="m2"), profile("a"), profile("b"))], NOW_MS
    )
    (piece,), outs = step.settle(fan_out(works, NOW_MS)[0], NOW_MS)
    assert [d.user_id for d in piece.deliveries] == ["b"]
    assert said(outs) == [("a", "suppressed", "frequency_cap")]
