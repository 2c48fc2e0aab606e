"""Sweeps the stores for users who are erased, beside the registry flow."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import uuid4

import structlog

from operators import forget
from operators.recall import erased_control
from operators.registration import SKEW_MS
from schemas import metrics
from schemas.campaigns import control_of
from schemas.definitions import Kind, definition_key
from schemas.erasures import KEPT_MS, SWEEPS_AFTER_MS, Erasure, ErasureState, StoreSwept
from schemas.stream import Record
from schemas.tenant import Tenant
from schemas.topics import DEFINITIONS
from sinks.erased_rows import Whom
from state.definitions import Definitions, Watched
from state.erasing import Erasing
from state.profiles import Profile, Profiles
from state.segment_work import SegmentWork

AT_ONCE = 100
LEASE = "!erasures"
"""No segment's name: those have no exclamation mark."""
LEASE_S = 600.0
OVERDUE_MS = 600_000
FOLLOW_MS = 60_000
"""How long the registry may take to follow the tombstones before they are put again."""
REGISTRY = "registry"
NOTES: Mapping[str, str] = {
    REGISTRY: "the tombstone stays on the topic users for up to ten years, with the id as its key",
    "lists": "older parts on the topic segments hold the id until the list is replaced",
    "kafka": "topics keep records of messages for 7 days, dead letters for 30; a timer until due",
    "audit": "entries that name the user stay for 25 months: who did what must remain known",
}
"""What stays where, and until when."""


class Rows(Protocol):
    """The rows in analytics, see sinks/erased_rows.py."""

    def devices(self, whom: Whom) -> list[str]:
        """Give the ids of devices that the user ever had, but for those unregistered since then."""
        ...

    def sweep(self, whom: Whom) -> dict[str, int]:
        """Remove rows; how many there were, by table."""
        ...


class ErasureKeeper:
    """Does what is due of each erasure, in SWEEPS_AFTER_MS; any process may die at any time.

    Each step may be repeated, and the note that it was done is written last: after a crash the
    sweep is done again, and the receipt counts what the last attempt found. Several may run; a
    lease keeps them from doing the same at once. put: puts records on Kafka and waits until it has
    them. rows: gives the rows for one turn. now_ms: wall clock.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        erasures: Watched[Erasure],
        definitions: Definitions,
        profiles: Profiles,
        erasing: Erasing,
        work: SegmentWork,
        rows: Callable[[], AbstractContextManager[Rows]],
        put: Callable[[Sequence[Record]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._tenants = tenants
        self._erasures = erasures
        self._definitions = definitions
        self._profiles = profiles
        self._erasing = erasing
        self._work = work
        self._rows = rows
        self._put = put
        self._now_ms = now_ms
        self._owner = uuid4().hex
        # By erasure: the version that was worked, until the view has the next one; and since when
        # the registry has been waited for.
        self._done: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._log = structlog.get_logger()

    def turn(self) -> None:
        """Do all that is due now. Raises StateError, ClickHouseError, NotPutError."""
        overdue_ms, overdue = self._now_ms() - OVERDUE_MS, 0
        views = {tenant: self._erasures.of(tenant) for tenant in self._tenants}
        for known in views.values():
            overdue += sum(
                one.body.state is not ErasureState.COMPLETE and one.body.due_ms < overdue_ms
                for one in known.values()
            )
        metrics.ERASURES_OVERDUE.set(overdue)
        for tenant, known in views.items():
            if known:
                self._turn(tenant, known)

    def _turn(self, tenant: str, known: Mapping[str, Erasure]) -> None:
        self._forget_old_receipts(known)
        now_ms = self._now_ms()
        due = [
            one
            for one in known.values()
            if one.body.state is not ErasureState.COMPLETE
            and one.body.due_ms <= now_ms
            and one.version > self._done.get(one.id, 0)
        ]
        if not due or not self._work.hold(tenant, LEASE, self._owner, ttl_s=LEASE_S):
            return
        try:
            self._sweep(tenant, sorted(due, key=lambda one: one.body.due_ms)[:AT_ONCE])
        finally:
            self._work.release(tenant, LEASE, self._owner)

    def _forget_old_receipts(self, known: Mapping[str, Erasure]) -> None:
        since_ms = self._now_ms() - KEPT_MS
        old = [
            one
            for one in known.values()
            if 0 < one.body.completed_ms < since_ms and one.version > self._done.get(one.id, 0)
        ]
        if old:
            self._put(
                [
                    Record(DEFINITIONS, definition_key(Kind.ERASURE, one.tenant, one.id), None)
                    for one in old
                ]
            )
            self._done.update((one.id, one.version) for one in old)

    def _sweep(self, tenant: str, due: Sequence[Erasure]) -> None:
        shards = self._tenants[tenant].shards
        users = [one.body.user_id for one in due]
        found = dict(zip(users, self._profiles.get_many(tenant, shards, users), strict=True))
        ready = [one for one in due if self._has_followed(one, found[one.body.user_id])]
        if not ready:
            return
        # Who is back is a new user: what the first sweep left is not looked for any more.
        cleared = {
            one.body.user_id
            for one in ready
            if not one.body.sweeps or found[one.body.user_id] is None
        }
        with self._rows() as rows:
            lists = self._leave(tenant, ready, found, rows)
            removed = self._erasing.sweep(tenant, shards, sorted(cleared))
            for one in ready:
                user = one.body.user_id
                since_ms = one.body.erased_ms if found[user] is not None else 0
                swept = rows.sweep(Whom(tenant, user, since_ms))
                counts = Counter({f"redis.{kind}": n for kind, n in removed.get(user, {}).items()})
                counts.update({f"clickhouse.{table}": n for table, n in swept.items()})
                counts["lists"] += lists[user]
                self._note(one, counts)

    def _has_followed(self, one: Erasure, profile: Profile | None) -> bool:
        """Tell whether the registry has forgotten all from before; put tombstones again if not."""
        if profile is None:
            self._waiting.pop(one.id, None)
            return True
        erased_ms, user = one.body.erased_ms, one.body.user_id
        devices = forget.old_devices(profile, erased_ms)
        is_back = forget.is_back(profile, erased_ms)
        if is_back and not devices:
            self._waiting.pop(one.id, None)
            return True
        now_ms = self._now_ms()
        if now_ms - self._waiting.setdefault(one.id, now_ms) >= FOLLOW_MS:
            # A record from before that came after the tombstones, as from a producer that was away.
            make = forget.device_tombstones if is_back else forget.user_tombstones
            self._put(make(one.tenant, user, devices))
            self._waiting[one.id] = now_ms
        return False

    def _leave(
        self,
        tenant: str,
        ready: Sequence[Erasure],
        found: Mapping[str, Profile | None],
        rows: Rows,
    ) -> Counter[str]:
        """Put what makes a rebuild forget, too; in how many lists each user was."""
        records: list[Record] = []
        leaving: list[str] = []
        for one in ready:
            user = one.body.user_id
            profile = found[user]
            if not one.body.sweeps:
                known = {device.device_id for device in profile.devices} if profile else set()
                # Those whose tokens died, or left: the request did not know of them.
                since_ms = one.body.erased_ms - SKEW_MS
                gone = set(rows.devices(Whom(tenant, user, since_ms))) - known
                records += [forget.control_record(one, self._now_ms())]
                records += forget.device_tombstones(tenant, user, gone)
            if not one.body.sweeps or profile is None:
                leaving.append(user)
        lists: Counter[str] = Counter()
        shards = self._tenants[tenant].shards
        for user, segment, generation in self._erasing.lists(tenant, shards, leaving):
            upload = f"{self._now_ms():013d}-{uuid4().hex[:8]}"
            records.append(forget.leave_list(tenant, user, segment, generation, upload))
            lists[user] += 1
        if records:
            self._put(records)
        return lists

    def _note(self, one: Erasure, counts: Mapping[str, int]) -> None:
        """Write down that a sweep is done."""
        now_ms, body, version = self._now_ms(), one.body, one.version + 1
        sweeps = body.sweeps + 1
        is_last = sweeps >= len(SWEEPS_AFTER_MS)
        said = body.model_copy(
            update={
                "sweeps": sweeps,
                "state": ErasureState.COMPLETE if is_last else ErasureState.ERASED,
                "first_swept_ms": body.first_swept_ms or now_ms,
                "stores": _added(body.stores, counts, now_ms),
                "completed_ms": now_ms if is_last else 0,
                "user_id": "" if is_last else body.user_id,
            }
        )
        records = [forget.erasure_record(one, said, version, now_ms)]
        if is_last and self._is_own_control(one):
            records.append(forget.control_tombstone(one.tenant, body.user_id))
        self._put(records)
        self._done[one.id] = one.version
        metrics.ERASURE_SWEEPS.labels(one.tenant, "complete" if is_last else "swept").inc()
        self._log.info(
            "erasure swept",
            tenant=one.tenant,
            erasure=one.id,
            sweep=sweeps,
            removed=sum(counts.values()),
            is_complete=is_last,
        )

    def _is_own_control(self, one: Erasure) -> bool:
        """Tell whether the user was not erased once more meanwhile."""
        name = erased_control(one.tenant, one.body.user_id)
        stored = self._definitions.get(Kind.CONTROL, one.tenant, name)
        return stored is not None and control_of(stored).start_id == one.id


def _added(
    before: Sequence[StoreSwept], counts: Mapping[str, int], now_ms: int
) -> tuple[StoreSwept, ...]:
    removed = Counter({one.store: one.removed for one in before})
    removed.update(counts)
    names = dict.fromkeys((REGISTRY, *sorted(removed), *NOTES))
    return tuple(
        StoreSwept(store=name, removed=removed[name], at_ms=now_ms, note=NOTES.get(name, ""))
        for name in names
    )
