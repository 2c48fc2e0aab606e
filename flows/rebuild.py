"""Fills an emptied Redis from the registry's topics, while everything is running.

docs/decisions/0006-registry.md says why these topics suffice. The live flow goes on meanwhile; it
applies what comes after the ends that are read here, and both compare the same times. Only
tombstones compare none: one that the live flow applied may be followed by an older registration
read here. So what came in during a round is read in the next one, in order, until that holds
nothing of the users and tokens of the round before.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from flows.compose import Composer
from flows.compose_segments import watched_segments
from flows.registry_log import Part, RegistryLog
from operators.define import Define
from operators.profile_writer import WriteProfiles
from operators.registration import Change, Registration, decode_registrations
from operators.replayed import is_overtaken, is_tombstone
from operators.segment_lists import ListChange, PartCleared, PutUp, TakenDown, WriteLists
from schemas.definitions import Definition
from schemas.segment_lists import ListPart
from schemas.settings import Settings
from schemas.stream import Message
from schemas.tenant import Tenant, shards_of
from schemas.topics import DEFINITIONS, DEVICES, PREFERENCES, SEGMENTS, TOKEN_DEATHS, USERS
from state.definitions import RedisDefinitions, Removed
from state.profiles import Profile, Profiles, RedisProfiles
from state.redis_segments import RedisSegments
from state.tokens import RedisTokens
from state.uploads import RedisUploads

PHASES: Sequence[tuple[str, Sequence[str]]] = (
    # First: what profiles mean for a segment is defined here.
    ("definitions", (DEFINITIONS,)),
    ("lists", (SEGMENTS,)),
    # In the order in which Kafka took them: a user's tombstone ends the devices before it.
    ("registrations", (USERS, DEVICES, PREFERENCES)),
    # Last: a death removes a registration that is there, and spares a newer one by its time.
    ("dead tokens", (TOKEN_DEATHS,)),
)
TOPICS = tuple(topic for _, topics in PHASES for topic in topics)
BATCH = 5_000
CATCHING_UP = "catching up"
SMALL_ROUND = 20_000
"""Records of a round that are held to see whom it touches."""

Touched = set[tuple[str, ...]]
"""Users, and tokens: whoever claims one takes it from another user."""


class Progress(NamedTuple):
    """How far a rebuild is.

    phase: what is read now. records: read so far. done, total: offsets passed and to pass; in
    compacted topics many have no record any more. unreadable: records that are none; the live
    flow put them on dead.registry in its time.
    """

    phase: str
    records: int
    done: int
    total: int
    unreadable: int
    elapsed_s: float

    @property
    def records_per_s(self) -> float:
        """On average since the start."""
        return self.records / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float:
        """How long the rest takes at the pace so far."""
        return self.elapsed_s * (self.total - self.done) / self.done if self.done else 0.0


class Log(Protocol):
    """The registry's topics, as RegistryLog gives them."""

    at: dict[Part, int]

    def ends(self) -> dict[Part, int]:
        """See RegistryLog."""
        ...

    def read(
        self, topics: Sequence[str], ends: Mapping[Part, int], *, batch: int
    ) -> Iterator[list[Message]]:
        """See RegistryLog."""
        ...


class Rebuild:
    """Applies the whole log to the shared state. Writes nothing to Kafka or ClickHouse.

    Ended half-way it may be started again, and run any number of times, also when nothing was
    lost. Memory: one batch, what RegistryLog holds, and while it catches up at most SMALL_ROUND
    records. run() raises StateError, KafkaException and StalledError.
    """

    def __init__(
        self,
        log: Log,
        tenants: Mapping[str, Tenant],
        *,
        define: Callable[[list[Any]], list[Change]],
        write: Callable[[list[Any]], object],
        profiles: Profiles,
        batch: int = BATCH,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._tenants = tenants
        self._define = define
        self._write = write
        self._profiles = profiles
        self._batch = batch
        self._monotonic = monotonic
        self._started_s = monotonic()
        self._first = dict(log.at)
        self._counts: Counter[str] = Counter()

    def run(self) -> Iterator[Progress]:
        """Do it; give the progress after each batch, and at the end."""
        ends = self._log.ends()
        for phase, changes in self._read(ends):
            self._apply(changes)
            yield self._progress(phase, ends)
        met: Touched | None = None  # None: too many to tell
        while True:
            ends = self._log.ends()
            size = sum(end - self._log.at[part] for part, end in ends.items())
            if size > SMALL_ROUND:
                met = None
                for _, changes in self._read(ends):
                    self._apply(changes)
                    yield self._progress(CATCHING_UP, ends)
                continue
            held = [changes for _, changes in self._read(ends)]
            touched = {what for changes in held for change in changes for what in _touched(change)}
            if not size or (met is not None and met.isdisjoint(touched)):
                yield self._progress("done", ends)
                return
            for changes in held:
                self._apply(changes)
            met = touched
            yield self._progress(CATCHING_UP, ends)

    def _read(self, ends: Mapping[Part, int]) -> Iterator[tuple[str, list[Any]]]:
        for phase, topics in PHASES:
            for messages in self._log.read(topics, ends, batch=self._batch):
                yield phase, self._decoded(messages)

    def _decoded(self, messages: list[Message]) -> list[Any]:
        changes, letters = decode_registrations(messages, 0)
        self._counts["records"] += len(messages)
        self._counts["unreadable"] += len(letters)
        return changes

    def _apply(self, changes: list[Any]) -> None:
        self._write([*self._without_overtaken(self._define(changes))])

    def _without_overtaken(self, changes: list[Change]) -> Iterator[Change]:
        """Leave out tombstones that Redis is past; those after other changes of their user stay."""
        stored = self._stored({(c.tenant, c.user_id) for c in changes if is_tombstone(c)})
        for change in changes:
            key = (change.tenant, change.user_id)
            if key not in stored:
                yield change
            elif not is_tombstone(change):
                del stored[key]
                yield change
            elif not is_overtaken(change, stored[key]):
                yield change

    def _stored(self, users: set[tuple[str, str]]) -> dict[tuple[str, str], Profile | None]:
        by_tenant: defaultdict[str, list[str]] = defaultdict(list)
        for tenant, user_id in users:
            by_tenant[tenant].append(user_id)
        return {
            (tenant, user_id): profile
            for tenant, found in by_tenant.items()
            for user_id, profile in zip(found, self._read_many(tenant, found), strict=True)
        }

    def _read_many(self, tenant: str, users: list[str]) -> list[Profile | None]:
        return self._profiles.get_many(tenant, shards_of(self._tenants, tenant), users)

    def _progress(self, phase: str, ends: Mapping[Part, int]) -> Progress:
        first, at, counts = self._first, self._log.at, self._counts
        return Progress(
            phase,
            counts["records"],
            sum(at[part] - first[part] for part in first),
            sum(ends[part] - first[part] for part in first),
            counts["unreadable"],
            self._monotonic() - self._started_s,
        )


def _touched(change: Change | Definition | Removed | ListChange) -> Iterator[tuple[str, ...]]:
    if isinstance(change, (Definition, Removed)):
        return  # these compare times, whichever comes first
    if isinstance(change, (ListPart, PutUp, TakenDown, PartCleared)):
        of = change.head if isinstance(change, PutUp) else change
        yield of.tenant, "list", of.segment
        return
    yield change.tenant, change.user_id
    if isinstance(change, Registration):
        yield change.tenant, "token", change.device.token


def rebuild(settings: Settings, *, batch: int = BATCH) -> Iterator[Progress]:
    """Rebuild with the clients that the settings name; see Rebuild."""
    composer = Composer(settings, lambda: False)
    log = RegistryLog(composer.kafka(), group=composer.group("registry.rebuild"))
    profiles = RedisProfiles(composer.redis)
    write = WriteProfiles(
        composer.tenants,
        profiles=profiles,
        tokens=RedisTokens(composer.redis),
        segments=RedisSegments(composer.redis),
        rules=watched_segments(composer),
        now_ms=composer.now_ms,
    )
    define = Define(RedisDefinitions(composer.redis))
    write_lists = WriteLists(
        composer.tenants,
        segments=RedisSegments(composer.redis),
        uploads=RedisUploads(composer.redis),
    )
    try:
        log.open(TOPICS)
        try:
            yield from Rebuild(
                log,
                composer.tenants,
                define=lambda changes: write_lists(define(changes)),
                write=write,
                profiles=profiles,
                batch=batch,
            ).run()
        finally:
            log.close()
    finally:
        composer.redis.close()
