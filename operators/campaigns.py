"""Ticks of campaigns' runs to chunks of their audience, and to the next ticks."""

from collections.abc import Callable, Mapping

import msgspec
from pydantic import ValidationError

from operators.campaign_run import OVER, Figures, Seen, Ticked, tick
from operators.campaign_times import next_due_ms
from operators.decode import notice_of
from operators.find_template import FindTemplate, pins_of
from operators.recall import campaign_control
from operators.work import Decided, Draft, Work, outbound_chunk
from schemas import segments as algebra
from schemas.campaigns import Campaign, Control, Phase, Run, Schedule, control_of, run_id_of
from schemas.decode import explain, faults
from schemas.definitions import Kind
from schemas.events import Event
from schemas.fields import epoch_ms
from schemas.outcomes import Reason, Status
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import Chunk, DeadLetter, Notice, Timer
from schemas.stream import Message, Source
from schemas.tenant import Tenant
from schemas.topics import CAMPAIGNS
from state.definitions import Definitions
from state.progress import Progress
from state.segments import Segments

FigureOf = Callable[[Run, Campaign], Figures | None]
"""Measures a run; None while it cannot be measured."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Run).decode


class BadRunError(ValueError):
    """A tick cannot go on; the message says why."""


class TickCampaigns:
    """Takes every run that ticks one step on.

    A tick is a record, and so is what it leaves: in one transaction a slice of the audience goes to
    route and the run, moved on, to the timers. What it reads from stores is looked at, never
    written, but for a copy of the run for people to see.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        definitions: Definitions,
        segments: Segments,
        progress: Progress,
        figures: FigureOf,
        wall_ms: Callable[[], int],
        stopped: Callable[[Run], None] = lambda _run: None,
        templates: FindTemplate | None = None,
    ) -> None:
        self._tenants = tenants
        self._definitions = definitions
        self._segments = segments
        self._progress = progress
        self._figures = figures
        self._wall_ms = wall_ms
        self._stopped = stopped
        self._templates = templates or FindTemplate()

    def __call__(self, messages: list[Message], now_ms: int) -> Decided:
        """Make a few round trips for each run that ticks, which one under way does in seconds."""
        outs: list[object] = []
        runs: list[Run] = []
        for message in messages:
            source = Source(message.topic(), message.partition(), message.offset())
            raw, key = message.value() or b"", message.key() or b""
            try:
                run = _decode(raw)
                runs += self._tick(run, source, now_ms, outs)
            except UNREADABLE as error:
                why = fault_of(error)
            except (BadRunError, algebra.BadSegmentError) as error:
                why = str(error)
            else:
                continue
            outs.append(DeadLetter(*source, error=why, raw=raw, at_ms=now_ms, key=key))
        if runs:
            self._progress.save(runs)
        return [], outs

    def _tick(self, run: Run, source: Source, now_ms: int, outs: list[object]) -> list[Run]:
        tenant = self._tenants.get(run.tenant)
        if tenant is None:
            raise BadRunError(f"no tenant is called {run.tenant!r}: add it, then replay this")
        campaign = campaign_of(run.spec)
        event = campaign.event(run.run_id)
        category = tenant.categories.get(event.category)
        if category is None:
            raise BadRunError(f"message.category: the tenant has no {event.category!r}")
        made = self._notice(event, campaign.schedule, category.default_ttl_s, now_ms)
        notice = self._templates.pinned(made, tenant, run.templates)
        done = tick(
            msgspec.structs.replace(run, templates=pins_of(notice)),
            campaign,
            self._control(run),
            Seen(
                users=lambda: self._count(tenant, notice.expression),
                figures=lambda: self._figures(run, campaign),
                is_drained=lambda n: self._progress.tally(run.tenant, run.run_id).is_drained(n),
            ),
            shards=tenant.shards,
            now_ms=now_ms,
        )
        runs = [done.run]
        outs += self._released(done, notice)
        if done.next_ms:
            outs.append(timer_of(done.run, done.next_ms))
        if run.users < 0 <= done.run.users:  # it has begun: the next one is due in its time
            runs += _next_run(run, campaign, now_ms)
            outs += [timer_of(later, later.due_ms) for later in runs[1:]]
        if done.run.phase is Phase.CANCELLED:
            # One for all users that were not released yet: nobody has looked them up.
            rest = Work(Draft(notice, tenant, category), source)
            outs.append(rest.decide(now_ms, Status.SUPPRESSED, Reason.CANCELLED))
        if done.run.phase is Phase.STOPPED and run.phase is not Phase.STOPPED:
            self._stopped(done.run)
        return runs

    def _control(self, run: Run) -> Control | None:
        found = self._definitions.get(Kind.CONTROL, run.tenant, campaign_control(run.campaign))
        if found is None:
            return None
        try:
            return control_of(found)
        except ValidationError:
            return None

    def _count(self, tenant: Tenant, expression: str) -> int:
        return self._segments.count(tenant.name, tenant.shards, algebra.parse(expression))

    def _notice(self, event: Event, schedule: Schedule, default_ttl_s: int, now_ms: int) -> Notice:
        made = notice_of(
            event,
            priority=event.priority,
            # Latency counts from the release of each slice, and so does a time to live.
            accepted_at_ms=self._wall_ms(),
            taken_at_ms=now_ms,
            default_ttl_s=default_ttl_s,
        )
        return msgspec.structs.replace(
            made,
            local_at=schedule.local_at or "",
            best_from_ms=epoch_ms(schedule.best_hour_from),
            default_hour=schedule.default_hour if schedule.best_hour_from else "",
        )

    def _released(self, done: Ticked, notice: Notice) -> list[object]:
        if not done.pieces:
            return []
        encoded = _encode(notice)
        return [
            outbound_chunk(notice, Chunk(encoded, shard=p.shard, low=p.low, high=p.high))
            for p in done.pieces
        ]


def campaign_of(spec: bytes) -> Campaign:
    """Read a campaign. Raises BadRunError."""
    try:
        return Campaign.model_validate_json(spec)
    except ValidationError as error:
        raise BadRunError(explain(faults(Campaign, error))) from None


def timer_of(run: Run, due_ms: int) -> Timer:
    """Make the timer of a run's next tick."""
    return Timer(f"{run.run_id}/{run.tick}", due_ms, CAMPAIGNS, run_key(run), encode_run(run))


def encode_run(run: Run) -> bytes:
    """Encode a tick as it goes to Kafka."""
    return _encode(run)


def run_key(run: Run) -> bytes:
    """Give the record key: a campaign's ticks stay in order."""
    return f"{run.tenant}/{run.campaign}".encode()


def _next_run(run: Run, campaign: Campaign, now_ms: int) -> list[Run]:
    """Give the run after this one, if the campaign recurs; what was missed is left out."""
    due_ms = next_due_ms(campaign.schedule, max(run.due_ms, now_ms))
    if not due_ms:
        return []
    run_id = run_id_of(run.campaign, run.start_id, due_ms)
    return [Run(run_id, run.tenant, run.campaign, run.start_id, run.spec, due_ms)]


def is_over(run: Run) -> bool:
    """Tell whether a run has come to its end."""
    return run.phase in OVER
