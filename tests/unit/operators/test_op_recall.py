"""recall: what people cancelled ends, what they paused waits, the rest goes on."""

import msgspec
import pytest
from builders import NOW_MS, delivery, only, said, work

from operators.recall import (
    LOOK_AGAIN_MS,
    Recall,
    RecallDeliveries,
    campaign_control,
    message_control,
)
from operators.work import Work
from schemas.campaigns import Control, ControlState
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
