"""recall: what people cancelled ends, what they paused waits, the rest goes on."""

import msgspec
import pytest
from builders import NOW_MS, delivery, only, said, work

from operators.recall import (
    LOOK_AGAIN_MS,
    Recall,
    RecallDeliveries,
    campaign_control,
    erased_control,
    message_control,
)
from operators.work import Work
from schemas.campaigns import Control, ControlState
from schemas.outcomes import Reason
from schemas.pipeline import Chunk, Timer

CANCELLED = Control(state=ControlState.CANCELLED)
PAUSED = Control(state=ControlState.PAUSED)


class Said(dict[str, Control]):
    """Controls of the one tenant."""

    def of(self, tenant: str) -> dict[str, Control]:
        assert tenant == "acme"
        return self


def test_without_controls_all_goes_on() -> None:
    pieces = [work("u1", campaign_id="c"), work("u2")]
    assert Recall(Said())(pieces, NOW_MS) == (pieces, [])


def test_a_cancelled_message_or_campaign_ends_for_each_user() -> None:
    controls = Said({message_control("m-1"): CANCELLED, campaign_control("c"): CANCELLED})
    stays = work("u9", message_id="m-9", campaign_id="other")
    going, outs = Recall(controls)(
        [work("u1", "u2", message_id="m-1"), work("u3", message_id="m-2", campaign_id="c"), stays],
        NOW_MS,
    )
    assert going == [stays]
    assert said(outs) == [(user, "suppressed", "cancelled") for user in ("u1", "u2", "u3")]


def test_a_message_is_not_a_campaign_of_the_same_name() -> None:
    piece = work("u1", message_id="c")
    assert Recall(Said({campaign_control("c"): CANCELLED}))([piece], NOW_MS) == ([piece], [])


@pytest.mark.parametrize(("run", "goes"), [("c:s2:5", True), ("c:s1:5", False), ("m-1", True)])
def test_a_run_of_an_earlier_start_ends(run: str, *, goes: bool) -> None:
    """What a cancelled campaign left held must not come when it is started anew."""
    controls = Said({campaign_control("c"): Control(state=ControlState.RUNNING, start_id="s2")})
    going, outs = Recall(controls)([work("u1", message_id=run, campaign_id="c")], NOW_MS)
    assert bool(going) is goes
    assert bool(outs) is not goes


def _chunk(outs: list[object]) -> Chunk:
    (timer,) = only(Timer, outs)
    assert timer.due_at_ms == NOW_MS + LOOK_AGAIN_MS
    return msgspec.msgpack.decode(timer.value, type=Chunk)


def test_a_paused_piece_waits_as_it_is_and_says_so_once() -> None:
    """With its place in the audience; each further look is silent."""
    controls = Said({campaign_control("c"): PAUSED})
    piece = work(shard=2, campaign_id="c")
    piece.low, piece.high, piece.piece = 5, 9, "2.5.0"
    going, outs = Recall(controls)([piece], NOW_MS)
    chunk = _chunk(outs)
    assert going == []
    assert (chunk.shard, chunk.low, chunk.high, chunk.piece) == (2, 5, 9, "2.5.0")
    assert chunk.is_paused
    assert said(outs) == [("", "deferred", "paused")]
    again = Work(piece.draft, piece.source, shard=2, low=5, high=9, is_paused=True)
    _, outs = Recall(controls)([again], NOW_MS)
    assert said(outs) == []
    assert _chunk(outs).is_paused


def test_a_delivery_is_asked_about_by_what_was_last_read() -> None:
    known = {"acme": {message_control("m-1"): CANCELLED, campaign_control("c"): PAUSED}}
    recalled = RecallDeliveries(lambda tenant: known.get(tenant, {}), lambda: None)
    assert recalled(delivery(message_id="m-1"))
    assert not recalled(delivery(message_id="m-2"))
    # A pause holds back chunks; what is this far goes.
    assert not recalled(delivery(message_id="m-2", campaign_id="c"))
    assert not recalled(delivery(tenant="other", message_id="m-1"))


ERASED_MS = NOW_MS - 1_000


def erased(*users: str, at_ms: int = ERASED_MS) -> dict[str, Control]:
    """Give the controls of erased users."""
    control = Control(state=ControlState.CANCELLED, erased_ms=at_ms, start_id="e-1")
    return {erased_control("acme", user): control for user in users}


def test_an_erased_user_leaves_what_is_under_way_without_a_name() -> None:
    """One outcome, which does not say who it was; the others' messages go on."""
    piece = work("u1", "u2", "u3", accepted_at_ms=ERASED_MS)
    going, outs = Recall(Said(erased("u2", "u9")))([piece], NOW_MS)
    assert [one.users for one in going] == [["u1", "u3"]]
    assert said(outs) == [("", "suppressed", "user_erased")]
    assert "u2" not in repr(outs)


def test_devices_go_with_their_users() -> None:
    """They stay parallel; what has nobody left ends."""
    piece = work("u1", "u2", devices=["d1", "d2"], accepted_at_ms=ERASED_MS)
    going, outs = Recall(Said(erased("u1")))([piece], NOW_MS)
    assert [(one.users, one.devices) for one in going] == [(["u2"], ["d2"])]
    assert "d1" not in repr(outs)
    going, outs = Recall(Said(erased("u2")))(going, NOW_MS)
    assert going == []
    assert said(outs) == [("", "suppressed", "user_erased")]


def test_what_came_after_the_erasure_is_a_new_users() -> None:
    """By the time at which Kafka took it."""
    later = work("u1", accepted_at_ms=ERASED_MS + 1)
    going, outs = Recall(Said(erased("u1")))([later], NOW_MS)
    assert (going, outs) == ([later], [])


def test_deliveries_of_an_erased_user_do_not_go() -> None:
    """Nor those made later for a registration of before; a new registration's do."""
    known = {"acme": erased("u1")}
    recalled = RecallDeliveries(lambda tenant: known.get(tenant, {}), lambda: None)
    old, new = ERASED_MS - 5, ERASED_MS + 5

    def reason(accepted: int, registered: int, user: str = "u1") -> Reason | None:
        return recalled(
            delivery(user_id=user, accepted_at_ms=accepted, registered_at_ms=registered)
        )

    assert reason(old, old) is Reason.USER_ERASED
    assert reason(new, old) is Reason.USER_ERASED
    assert reason(old, new) is Reason.USER_ERASED
    assert reason(new, new) is None
    assert reason(old, old, "u2") is None
