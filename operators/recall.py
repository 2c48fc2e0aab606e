"""Stopping what is under way: campaigns and messages that people have cancelled or paused."""

from collections.abc import Callable, Mapping
from typing import Protocol

from operators.work import Decided, Work
from schemas.campaigns import Control, ControlState, start_of
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery

MESSAGE_PREFIX = "message:"
LOOK_AGAIN_MS = 10_000
"""How often what a pause holds back is looked at."""


class Controls(Protocol):
    """The last word on campaigns and messages of a tenant, by control_name."""

    def of(self, tenant: str) -> Mapping[str, Control]:
        """Give them; mostly there are none."""
        ...


def campaign_control(campaign: str) -> str:
    """Name the control of a campaign."""
    return f"campaign:{campaign}"


def message_control(message_id: str) -> str:
    """Name the control of a message."""
    return f"{MESSAGE_PREFIX}{message_id}"


def state_of(controls: Mapping[str, Control], campaign: str, message_id: str) -> ControlState:
    """Tell whether a message may go on. A run of an earlier start of its campaign may not."""
    if message_control(message_id) in controls:
        return controls[message_control(message_id)].state
    control = controls.get(campaign_control(campaign)) if campaign else None
    if control is None:
        return ControlState.RUNNING
    start = start_of(message_id)
    if start and control.start_id and start != control.start_id:
        return ControlState.CANCELLED
    return control.state


class Recall:
    """Ends what is cancelled and holds what is paused, on its way through route."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """No round trip but that of the view, which is one now and then for all of a process."""
        going: list[Work] = []
        outs: list[object] = []
        for work in works:
            notice = work.draft.notice
            controls = self._controls.of(notice.tenant)
            state = ControlState.RUNNING
            if controls:
                state = state_of(controls, notice.campaign_id, notice.message_id)
            if state is ControlState.CANCELLED:
                outs += work.decide_all(now_ms, Status.SUPPRESSED, Reason.CANCELLED)
            elif state is ControlState.PAUSED:
                outs += _held(work, now_ms)
            else:
                going.append(work)
        return going, outs


def _held(work: Work, now_ms: int) -> list[object]:
    """Put work on a timer; its users are told once, however often it is looked at."""
    outs: list[object] = []
    if not work.is_paused:
        outs += work.decide_all(now_ms, Status.DEFERRED, Reason.PAUSED)
        work.is_paused = True
    until_ms = now_ms + LOOK_AGAIN_MS
    for chunk in work.again():
        outs.append(work.hold(until_ms, Reason.PAUSED, chunk))
    return outs


class RecallDeliveries:
    """Tells of a delivery whether it was cancelled, from what was last read.

    known: gives that by tenant. refresh: reads anew, in another thread; raises
    StateUnavailableError.
    """

    def __init__(
        self, known: Callable[[str], Mapping[str, Control]], refresh: Callable[[], None]
    ) -> None:
        self._known = known
        self.refresh = refresh

    def __call__(self, delivery: Delivery) -> bool:
        """Look it up: nearly always a look at an empty mapping."""
        controls = self._known(delivery.tenant)
        if not controls:
            return False
        state = state_of(controls, delivery.campaign_id, delivery.message_id)
        return state is ControlState.CANCELLED
