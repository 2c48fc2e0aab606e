"""Keeps segments that are defined up to date, beside the registry flow, in a thread of its own."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Protocol
from uuid import uuid4

import structlog

from operators.segment_builder import AwayError, LostError, QueryError, SegmentBuilder
from operators.segment_lists import LIST
from operators.segment_rules import QUERY, RULE, LiveSegment
from schemas import metrics
from schemas.tenant import Tenant
from state.definitions import Watched
from state.errors import StateError
from state.segment_work import RULES, Note, SegmentWork
from state.segments import Generation, Segments

TURN_S = 0.5
LEASE_S = 30.0
QUERY_LEASE_S = 330.0
"""A query says nothing before its first block, and may take that long."""
RETRY_S = 60
KINDS = frozenset({RULE, QUERY})
JOIN_S = 10.0
MAX_ERROR_CHARS = 500


class SegmentKeeper:
    """Builds what is defined and not built, or due, and deletes what is defined no more.

    Several may run; a lease decides who builds. now_ms: wall clock. stopped: ends what is
    under way. kinds: what it builds. tells: logs it.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        definitions: Watched[LiveSegment],
        segments: Segments,
        work: SegmentWork,
        builder: SegmentBuilder,
        now_ms: Callable[[], int],
        stopped: Callable[[], bool] = lambda: False,
        kinds: frozenset[str] = KINDS,
        tells: bool = True,
    ) -> None:
        self._tenants = tenants
        self._definitions = definitions
        self._segments = segments
        self._work = work
        self._builder = builder
        self._now_ms = now_ms
        self._stopped = stopped
        self._kinds, self._tells = kinds, tells
        self._owner = uuid4().hex
        self._with_some = set(tenants)
        self._ask_from_ms = 0
        self._log = structlog.get_logger()

    def turn(self) -> None:
        """Do all that is due now. Raises StateError."""
        for tenant in self._tenants:
            defined = self._definitions.of(tenant)
            if defined or tenant in self._with_some:
                self._turn(tenant, defined)

    def refresh(self, tenant: str, names: Sequence[str]) -> dict[str, Note]:
        """Build some now, due or not; give what came of each.

        Raises StateError, LostError, AwayError.
        """
        self._definitions.refresh()
        defined = self._definitions.of(tenant)
        self._build(tenant, [defined[name] for name in names])
        notes = self._work.notes(tenant)
        return {name: notes[name] for name in names if name in notes}

    def due(self, tenant: str) -> list[LiveSegment]:
        """Give those that are not built yet, or change with time and are due."""
        self._definitions.refresh()
        return self._due(self._definitions.of(tenant), tenant, self._segments.generations(tenant))

    def _turn(self, tenant: str, defined: Mapping[str, LiveSegment]) -> None:
        counting = self._segments.generations(tenant)
        shards = self._tenants[tenant].shards
        for name, generation in counting.items():
            if (
                generation.kind != LIST
                and name not in defined
                and not self._is_defined(tenant, name)
            ):
                self._segments.delete(tenant, shards, name)
        if due := self._due(defined, tenant, counting):
            try:
                self._build(tenant, due)
            except LostError:
                return
            except AwayError as error:
                # No fault of any segment's: nobody is to be told to mend a query.
                self._ask_from_ms = self._now_ms() + RETRY_S * 1_000
                self._log.warning("queries of segments wait", error=str(error)[:MAX_ERROR_CHARS])
        if defined:
            self._with_some.add(tenant)
        else:
            self._with_some.discard(tenant)

    def _is_defined(self, tenant: str, name: str) -> bool:
        """Look once more: the view may be older than the generation."""
        self._definitions.refresh()
        return name in self._definitions.of(tenant)

    def _due(
        self, defined: Mapping[str, LiveSegment], tenant: str, counting: Mapping[str, Generation]
    ) -> list[LiveSegment]:
        now_ms, notes = self._now_ms(), self._work.notes(tenant) if defined else {}
        asks = now_ms >= self._ask_from_ms
        return [
            one
            for name, one in defined.items()
            if one.kind in self._kinds
            and (asks or one.matches is not None)
            and _is_due(one, counting.get(name), notes.get(name), now_ms)
        ]

    def _build(self, tenant: str, due: Sequence[LiveSegment]) -> None:
        if rules := [one for one in due if one.matches is not None]:
            self._attempt(tenant, RULES, rules, partial(self._builder.build_rules, rules=rules))
        for one in due:
            if one.matches is None:
                build = partial(self._builder.build_query, segment=one)
                self._attempt(tenant, one.name, [one], build)

    def _attempt(
        self,
        tenant: str,
        lease: str,
        segments: Sequence[LiveSegment],
        build: Callable[..., int],
    ) -> None:
        with self._leased(tenant, lease) as go_on:
            began_ms, error = self._now_ms(), ""
            kind = "query" if lease else "rule"
            try:
                users = build(tenant, self._tenants[tenant].shards, keep_on=go_on)
            except QueryError as failure:
                error, users = str(failure)[:MAX_ERROR_CHARS], 0
            took_ms = self._now_ms() - began_ms
            before = self._work.notes(tenant)
            self._work.note(
                tenant,
                {
                    one.name: Note(
                        one.version, began_ms, took_ms, error,
                        _since(before.get(one.name)) if error else began_ms,
                    )
                    for one in segments
                },
            )  # fmt: skip
            metrics.SEGMENT_BUILDS.labels(kind, "failed" if error else "built").inc(len(segments))
            metrics.SEGMENT_BUILD_SECONDS.labels(kind).observe(took_ms / 1_000)
            told = {
                "tenant": tenant,
                "segments": [one.name for one in segments][:20],
                "users": users,
                "took_ms": took_ms,
            }
            if error and self._tells:
                self._log.warning("segment not built", error=error, **told)
            elif self._tells:
                self._log.info("segments built", **told)

    @contextmanager
    def _leased(self, tenant: str, what: str) -> Iterator[Callable[[], None]]:
        """Hold a lease; gives what renews it between steps. Raises LostError."""
        held_s, ttl_s = monotonic(), LEASE_S if what == RULES else QUERY_LEASE_S

        def hold() -> None:
            if not self._work.hold(tenant, what, self._owner, ttl_s=ttl_s):
                raise LostError(f"{what or 'rules'}: another process builds it now")

        def go_on() -> None:
            nonlocal held_s
            if self._stopped():
                raise LostError("the process is to end")
            if monotonic() - held_s > ttl_s / 3:
                hold()
                held_s = monotonic()

        hold()
        try:
            yield go_on
        finally:
            self._work.release(tenant, what, self._owner)


def _since(note: Note | None) -> int:
    return 0 if note is None else note.since_ms


def _is_due(one: LiveSegment, counting: Generation | None, note: Note | None, now_ms: int) -> bool:
    known = note if note is not None and note.version == one.version else None
    if known is not None and known.error:
        return now_ms - known.at_ms >= min(RETRY_S, one.body.every) * 1_000
    is_built = (
        counting is not None
        and counting.version == one.version
        and (one.matches is None or counting.generation == one.generation)
    )
    if not is_built or known is None:
        return True
    if one.matches is not None and not one.body.has_ages:
        return False
    return now_ms - known.at_ms >= one.body.every * 1_000


class Keeper(Protocol):
    """Does again and again what is due."""

    def turn(self) -> None:
        """Do all that is due now."""
        ...


class KeeperThread:
    """Turns a keeper in a thread until it is closed. A failure is logged and tried again.

    ended: set when it is to end. what: names it in the log. passing: errors that time mends.
    """

    def __init__(
        self,
        keeper: Keeper,
        ended: threading.Event,
        *,
        what: str = "segments",
        passing: tuple[type[Exception], ...] = (),
        turn_s: float = TURN_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._keeper = keeper
        self._what = what
        self._passing: tuple[type[Exception], ...] = (StateError, *passing)
        self._turn_s, self._retry_s = turn_s, retry_s
        self._ended = ended
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; a step that is under way is waited for, but not for long."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._ended.wait(self._turn_s):
            try:
                self._keeper.turn()
            except self._passing as error:
                self._log.warning(f"{self._what} wait", error=str(error)[:MAX_ERROR_CHARS])
            except Exception:  # noqa: BLE001 - a defect here must not end the upkeep of all the others
                self._log.exception(f"{self._what} not kept")
                self._ended.wait(self._retry_s)
