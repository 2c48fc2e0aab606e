"""hooks: what tenants' own code may decide, and what its failure comes to."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from operators.decode import Decode
from operators.fan_out import fan_out
from operators.hooks import (
    AfterOutcome,
    BeforeRouting,
    BeforeSend,
    HookAnswer,
    HookFailed,
    NoHooks,
)
from operators.settle import Settled, outcome_of
from operators.work import Work
from schemas.hooks import Hook, HookMessage, Point, Verdict
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Content, Delivery, Outcome
from tests.unit.operators.builders import (
    NOW_MS,
    SOURCE,
    addressed,
    delivery,
    event,
    messages,
    profile,
    tenant,
    work,
)

ACCEPTED = Answer(Status.SENT, Reason.ACCEPTED)


class FakeHooks:
    """Answers for one tenant with a function, and remembers what was asked."""

    def __init__(
        self, answer: Callable[[HookMessage], Verdict | None] | str, on_failure: str = "send"
    ) -> None:
        self._answer = answer
        self._hook = Hook.model_validate({"name": "h", "on_failure": on_failure})
        self.asked: list[HookMessage] = []
        self.calls = 0

    def hook(self, tenant: str, _point: Point) -> Hook | None:
        return self._hook if tenant == "acme" else None

    def ask(self, _tenant: str, _hook: Hook, asked: Sequence[HookMessage]) -> HookAnswer:
        self.asked += asked
        self.calls += 1
        if isinstance(self._answer, str):
            return HookFailed(self._answer)
        return [self._answer(one) for one in asked]


def routed(hooks: FakeHooks | NoHooks, **changes: Any) -> tuple[list[Work], list[Any]]:
    works, _ = Decode({"acme": tenant()})(messages("events.normal", event(**changes)), NOW_MS)
    return BeforeRouting(hooks)(works, NOW_MS)


def sent(hooks: FakeHooks | NoHooks, *deliveries: Delivery) -> tuple[list[Any], list[Any]]:
    pairs = [(one, SOURCE) for one in deliveries]
    return BeforeSend(hooks, {"acme": tenant(flags={"f": True})}.get)(pairs, NOW_MS)


def push(**changes: Any) -> Delivery:
    content = msgspec.msgpack.encode(Content("Hello", "World", data={"a": "1"}))
    return delivery(content=content, **changes)


def test_an_event_is_shown_once_and_may_be_suppressed() -> None:
    """The outcome has the hook's name and words."""
    hooks = FakeHooks(lambda _one: Verdict(suppress="sold out"))
    works, (out,) = routed(hooks, variables={"n": 1})
    assert (works, out.status, out.reason) == ([], Status.SUPPRESSED, Reason.HOOK)
    assert out.detail == "hook h: sold out"
    (seen,) = hooks.asked
    assert (seen.point, seen.title, seen.variables) == (Point.BEFORE_ROUTING, "Hello", {"n": 1})


def test_an_events_data_may_be_replaced_also_for_its_variants() -> None:
    """What the app receives."""
    hooks = FakeHooks(lambda _one: Verdict(data={"a": "2"}))
    (piece,), outs = routed(hooks, variants=[{"name": "a"}, {"name": "b"}])
    assert outs == []
    fan_out([addressed(piece, *(profile(f"u{n}") for n in range(9)))], NOW_MS)
    contents = [msgspec.msgpack.decode(d.content, type=Content) for d in piece.deliveries]
    assert {tuple(one.data.items()) for one in contents} == {(("a", "2"),)}
    assert {d.variant for d in piece.deliveries} == {"a", "b"}


def test_chunks_are_not_asked_about_again() -> None:
    """Their event was."""
    hooks = FakeHooks(lambda _one: Verdict(suppress="no"))
    piece = work("a")
    assert BeforeRouting(hooks)([piece], NOW_MS) == ([piece], [])


def test_a_failure_before_routing_is_told_by_the_outcome_of_sending() -> None:
    """The message goes on."""
    (piece,), outs = routed(FakeHooks("no answer"))
    assert outs == []
    fan_out([addressed(piece, profile("u1"))], NOW_MS)
    settled = Settled(piece.deliveries[0], ACCEPTED, SOURCE, NOW_MS)
    outcome = outcome_of(settled, NOW_MS, Status.SENT, Reason.ACCEPTED)
    assert outcome.detail == "failed: no answer"


@pytest.mark.parametrize("point", [Point.BEFORE_ROUTING, Point.BEFORE_SEND])
def test_a_failure_may_be_configured_to_let_nothing_through(point: Point) -> None:
    """With a reason of its own."""
    hooks = FakeHooks("no answer", on_failure="suppress")
    going, (out,) = routed(hooks) if point is Point.BEFORE_ROUTING else sent(hooks, push())
    assert (going, out.reason, out.detail) == ([], Reason.HOOK_FAILED, "failed: no answer")


def test_a_push_is_shown_as_the_user_sees_it() -> None:
    """One call for all of a tenant's; the others are not asked about."""
    hooks = FakeHooks(lambda one: Verdict(suppress="legal") if one.user_id == "u1" else None)
    mine = [push(user_id=user) for user in ("u1", "u2")]
    going, (out,) = sent(hooks, push(tenant="other"), *mine)
    assert [d.user_id for d, _ in going] == ["u1", "u2"]
    assert (out.user_id, out.reason, out.detail) == ("u1", Reason.HOOK, "hook h: legal")
    assert hooks.calls == 1
    seen = hooks.asked[0]
    assert (seen.title, seen.data, seen.flags) == ("Hello", {"a": "1"}, {"f": True})


def test_a_pushs_data_may_be_replaced() -> None:
    """The words stay."""
    ((changed, _),), _ = sent(FakeHooks(lambda _one: Verdict(data={})), push())
    assert msgspec.msgpack.decode(changed.content, type=Content) == Content("Hello", "World")


def test_a_failure_before_sending_is_noted_on_the_push() -> None:
    """Beside what was noted before; so is data that no platform would take."""
    ((one, _),), _ = sent(FakeHooks("no answer"), push(note="body truncated"))
    assert one.note == "body truncated; failed: no answer"
    large = FakeHooks(lambda _one: Verdict(data={"a": "x" * 20_000}))
    ((other, _),), _ = sent(large, push())
    assert other.note.startswith("failed: hook h: data of more than")
    assert other.content == push().content


@pytest.mark.parametrize("content", [b"", b"?", b"\x91" * 100_000])
def test_a_push_whose_words_cannot_be_read_goes_on_unasked(content: bytes) -> None:
    """The sink rejects it; the others of the batch are asked about."""
    hooks = FakeHooks(lambda _one: Verdict(suppress="no"))
    bad = delivery(content=content)
    going, (out,) = sent(hooks, bad, push(user_id="u2"))
    assert (going, out.user_id) == ([(bad, SOURCE)], "u2")
    assert sent(hooks, bad) == ([(bad, SOURCE)], [])
    assert hooks.calls == 1


def test_outcomes_are_told_and_go_on_whatever_happens() -> None:
    """Only those of tenants that listen; what is none is left to the writer."""
    outcome = Outcome("o", NOW_MS, "acme", "m", Status.SENT, Reason.ACCEPTED)
    good = msgspec.msgpack.encode(outcome)
    no_text = good.replace(b"acme", b"\xff\xff\xff\xff")
    nested = b"\x91" * 100_000
    rows = [("outcomes", 0, n, raw) for n, raw in enumerate((good, b"?", no_text, nested))]
    for hooks, count in ((FakeHooks("no answer"), 1), (FakeHooks(lambda _one: None), 1)):
        assert AfterOutcome(hooks, ["acme"])(rows, NOW_MS) == (rows, [])
        assert [(one.status, one.reason) for one in hooks.asked] == [("sent", "accepted")] * count
    silent = FakeHooks("no answer")
    assert AfterOutcome(silent, [])(rows, NOW_MS) == (rows, [])
    assert silent.calls == 0


def test_without_hooks_nothing_changes() -> None:
    """As in a rehearsal."""
    assert sent(NoHooks(), push())[0] == [(push(), SOURCE)]
    assert NoHooks().ask("acme", Hook(name="h"), [HookMessage(
        point=Point.BEFORE_SEND, tenant="acme", message_id="m")]) == [None]  # fmt: skip
