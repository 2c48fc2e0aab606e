"""Stopping what is under way: campaigns and messages that people have cancelled or paused."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Protocol

import msgspec

from operators.work import Decided, Work
from schemas.campaigns import Control, ControlState, start_of
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome

MESSAGE_PREFIX = "message:"
ERASED_PREFIX = "erased:"
MAX_PLAIN_CHARS = 120
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
    """Name the control of a message. Names have 128 characters: long ids stand there hashed."""
    if len(message_id) <= MAX_PLAIN_CHARS:
        return f"{MESSAGE_PREFIX}{message_id}"
    return f"{MESSAGE_PREFIX}#{blake2b(message_id.encode(), digest_size=16).hexdigest()}"


def erased_control(tenant: str, user_id: str) -> str:
    """Name the control of a user who is erased: a hash stands for the id."""
    hashed = blake2b(f"{tenant}\x00{user_id}".encode(), digest_size=16)
    return f"{ERASED_PREFIX}{hashed.hexdigest()}"


class Erased:
    """Whom the controls say to forget, sorted out once for each view of them."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Mapping[str, Control], Mapping[str, int], int]] = {}

    def of(self, tenant: str, controls: Mapping[str, Control]) -> tuple[Mapping[str, int], int]:
        """Give since when, by name of control, and the latest of these times; 0 for nobody."""
        seen = self._seen.get(tenant)
        if seen is None or seen[0] is not controls:
            since = {
                name: control.erased_ms
                for name, control in controls.items()
                if name.startswith(ERASED_PREFIX)
            }
            seen = self._seen[tenant] = (controls, since, max(since.values(), default=0))
        return seen[1], seen[2]


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
    """Ends what is cancelled, holds what is paused and forgets who is erased, on the way."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._erased = Erased()

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
            elif not controls or self._has_users_left(work, controls, now_ms, outs):
                going.append(work)
        return going, outs

    def _has_users_left(
        self, work: Work, controls: Mapping[str, Control], now_ms: int, outs: list[object]
    ) -> bool:
        """Take erased users out of work from before; tell whether there is any for others."""
        notice = work.draft.notice
        since, latest_ms = self._erased.of(notice.tenant, controls)
        if not work.users or notice.accepted_at_ms > latest_ms:
            return True
        gone = {
            at
            for at, user in enumerate(work.users)
            if since.get(erased_control(notice.tenant, user), -1) >= notice.accepted_at_ms
        }
        if not gone:
            return True
        devices = work.devices or [""] * len(work.users)
        for at in sorted(gone):
            user, device = work.users[at], devices[at]
            outcome = work.decide(
                now_ms, Status.SUPPRESSED, Reason.USER_ERASED, user_id=user, device_id=device
            )
            outs.append(nameless(outcome))
        stays = [at for at in range(len(work.users)) if at not in gone]
        work.users = [work.users[at] for at in stays]
        if work.devices:
            work.devices = [devices[at] for at in stays]
        return bool(stays)


def nameless(outcome: Outcome) -> Outcome:
    """Leave out of an outcome whom it is about."""
    return msgspec.structs.replace(outcome, user_id="", device_id="", token="")


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
    """Tells of a delivery whether it was cancelled or its user erased, from what was last read.

    known: gives that by tenant. refresh: reads anew, in another thread; raises
    StateUnavailableError.
    """

    def __init__(
        self, known: Callable[[str], Mapping[str, Control]], refresh: Callable[[], None]
    ) -> None:
        self._known = known
        self._erased = Erased()
        self.refresh = refresh

    def __call__(self, delivery: Delivery) -> Reason | None:
        """Give why it must not go, None when it may: nearly always a look at an empty mapping."""
        controls = self._known(delivery.tenant)
        if not controls:
            return None
        state = state_of(controls, delivery.campaign_id, delivery.message_id)
        if state is ControlState.CANCELLED:
            return Reason.CANCELLED
        since, latest_ms = self._erased.of(delivery.tenant, controls)
        # Also a message that was made later, while the registry still had the old registration.
        before_ms = min(delivery.accepted_at_ms, delivery.registered_at_ms)
        if before_ms > latest_ms:
            return None
        erased_ms = since.get(erased_control(delivery.tenant, delivery.user_id), -1)
        return Reason.USER_ERASED if erased_ms >= before_ms else None
