"""A backtest from its log to its table: what was, and what would be."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from flows.backtest import ROUTED, Asked, Simulation, asked_of
from flows.backtest_state import CachedProfiles, SeededCaps
from flows.event_log import EventLog
from schemas.stream import Message
from schemas.tenant import Tenant
from sinks.outcome_counts import Decided, OutcomeCounts

BATCH = 1_000
EVENTS_LIMIT = 200_000
NOTES = (
    "profiles, segments and templates are those of now, not those of then",
    "caps begin with what ClickHouse says each user was sent before; daily quotas begin at 0",
    "repeats of events from before --from are not known as duplicates",
    "rates, hooks, pauses, cancellations and the providers' answers are not simulated",
)


class Row(msgspec.Struct, frozen=True):
    """One kind of decision. was: recorded. today: run again under the rules of now, if asked for.

    difference: would - was.
    """

    category: str
    status: str
    reason: str
    was: int
    would: int
    difference: int
    today: int | None = None


class Compared(msgspec.Struct, kw_only=True):
    """The table. from_ms, to_ms: of policy's clock. events: run again; others: of other tenants.

    held: what would still wait at the end. is_cut: there were more events than were to be read,
    so that the period ends at to_ms. unreadable: records that say not whose they are.
    """

    tenant: str
    from_ms: int
    to_ms: int
    events: int = 0
    others: int = 0
    unreadable: int = 0
    held: int = 0
    is_cut: bool = False
    is_whole: bool = False
    events_per_s: float = 0.0
    rows: list[Row] = []
    notes: Sequence[str] = NOTES


class Backtest:
    """Runs a tenant's events of a period again, and compares with what was recorded.

    simulations: `would`, and `today` if that is asked for. counts: of the recorded outcomes from a
    time to another. Memory: see EventLog and the state; and 8 bytes and more an event, to ask about
    each once.
    """

    def __init__(
        self,
        log: EventLog,
        tenant: Tenant,
        simulations: Mapping[str, Simulation],
        *,
        profiles: CachedProfiles,
        caps: Sequence[SeededCaps],
        counts: Callable[[int], OutcomeCounts],
        business_ms: Callable[[int], int],
        limit: int = EVENTS_LIMIT,
    ) -> None:
        self._log = log
        self._tenant = tenant
        self._simulations = simulations
        self._profiles = profiles
        self._caps = caps
        self._counts = counts
        self._business_ms = business_ms
        self._limit = limit

    def run(self, wall_from_ms: int, wall_to_ms: int) -> Iterator[Compared]:
        """Give how far it is after each batch, and the table last.

        The times are Kafka's. Raises KafkaException, StalledError, StateError, ClickHouseError.
        """
        began_s = time.monotonic()
        to_ms = self._business_ms(wall_to_ms)
        told = Compared(
            tenant=self._tenant.name, from_ms=self._business_ms(wall_from_ms), to_ms=to_ms
        )
        ids: set[str] = set()
        topics = sorted(ROUTED)
        for messages in self._log.between(topics, wall_from_ms, wall_to_ms, batch=BATCH):
            chosen = self._chosen(messages, told)
            if told.events + len(chosen) > self._limit:
                first_left_out = chosen[self._limit - told.events][0]
                del chosen[self._limit - told.events :]
                told.is_cut = True
                told.to_ms = self._business_ms(first_left_out.timestamp()[1])
            self._take(chosen)
            ids.update(asked.id for _, asked in chosen)
            told.events += len(chosen)
            told.events_per_s = round(told.events / max(1e-9, time.monotonic() - began_s), 1)
            yield told
            if told.is_cut:
                break
        for simulation in self._simulations.values():
            simulation.run_until(told.to_ms - 1)
        told.held = self._simulations["would"].held
        told.rows = self._rows(self._recorded(sorted(ids), told.to_ms))
        told.events_per_s = round(told.events / max(1e-9, time.monotonic() - began_s), 1)
        told.is_whole = True
        yield told

    def _chosen(self, messages: Sequence[Message], told: Compared) -> list[tuple[Message, Asked]]:
        chosen = []
        for message in messages:
            asked = asked_of(message)
            if asked is None:
                told.unreadable += message.topic().startswith("events.")
            elif asked.tenant == self._tenant.name:
                chosen.append((message, asked))
            else:
                told.others += 1
        return chosen

    def _take(self, chosen: Sequence[tuple[Message, Asked]]) -> None:
        """Run events; what they need of listed users is asked for at once."""
        name, shards = self._tenant.name, self._tenant.shards
        users = list(dict.fromkeys(user for _, asked in chosen for user in asked.users()))
        self._profiles.get_many(name, shards, users)
        for caps in self._caps:
            caps.seed(name, shards, users)
        for message, _ in chosen:
            for simulation in self._simulations.values():
                simulation.take(message)

    def _recorded(self, ids: Sequence[str], to_ms: int) -> Counter[Decided]:
        counts = self._counts(to_ms)
        found: Counter[Decided] = Counter()
        for start in range(0, len(ids), BATCH):
            found += counts.of_messages(ids[start : start + BATCH])
        return found

    def _rows(self, was: Counter[Decided]) -> list[Row]:
        would = self._simulations["would"].decided
        today = self._simulations["today"].decided if "today" in self._simulations else None
        keys = sorted({*was, *would, *(today or ())})
        return [
            Row(
                category=key[0],
                status=key[1],
                reason=key[2],
                was=was[key],
                would=would[key],
                difference=would[key] - was[key],
                today=None if today is None else today[key],
            )
            for key in keys
        ]
