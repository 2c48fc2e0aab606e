"""The registry's topics read again: what an old tombstone still removes."""

from collections.abc import Sequence
from typing import TypeGuard

from operators.registration import SKEW_MS, Change, Removal, UserChange
from state.profiles import Profile


def is_tombstone(change: Change) -> TypeGuard[Removal | UserChange]:
    """Tell whether a change removes without comparing times, as the last word in its topic."""
    if isinstance(change, Removal):
        return not change.token
    return isinstance(change, UserChange) and change.profile is None


def is_overtaken(tombstone: Removal | UserChange, stored: Profile | None) -> bool:
    """Tell whether all that a tombstone would remove came after it, surely.

    stored: the profile as the tombstone meets it. In the live flow a tombstone is the last word
    when it comes; read again later, it may meet who registered since, and who must stay reachable
    while the rest of the topic is read. In doubt it counts: the newer record follows.
    """
    if stored is None:
        return False
    if isinstance(tombstone, Removal):
        times_ms: Sequence[int] = [
            d.registered_at_ms for d in stored.devices if d.device_id == tombstone.device_id
        ]
    else:
        said_ms = (stored.updated_at_ms, stored.preferences_at_ms)
        times_ms = [at_ms for at_ms in said_ms if at_ms]
        times_ms += [device.registered_at_ms for device in stored.devices]
    return bool(times_ms) and min(times_ms) > tombstone.at_ms + SKEW_MS
