"""The composition root: settings in, a flow with all its clients out. Nothing connects here.

What only some flows need is imported where it is used, so that a process loads no client of
another flow: that halves the time to start.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from bytewax.dataflow import Dataflow

from flows.checkpoint import Checkpoint
from flows.clock import Clock, business_clock, business_time
from flows.config import load_tenants
from flows.kafka import KafkaSource
from flows.lanes import LanePlan, Lanes
from flows.observe import Observer
from flows.readiness import ANSWER_S, KafkaPing
from flows.timer_wheel import Wheel
from flows.transaction import KafkaTransaction
from flows.waits import Waits
from operators.encode import Encode
from schemas.campaigns import Control, control_of
from schemas.definitions import Kind
from schemas.pipeline import Platform, Priority, Timer
from schemas.settings import Settings
from schemas.stream import Record
from schemas.tenant import Tenant
from state.definitions import RedisDefinitions, Watched
from state.patience import Patience
from state.redis_client import RedisClient

LONGEST_TRANSACTION_S = 60.0
MAX_BATCH = 100_000


@dataclass
class Process:
    """A flow ready to run, with what must be started before it and closed after it.

    pings: by store that the flow needs. patience.end() comes before anything is closed.
    """

    name: str
    flow: Dataflow
    epoch: timedelta
    checkpoint: Checkpoint
    health_beats: list[Callable[[int], None]]
    patience: Patience
    waits: Waits
    pings: Mapping[str, Callable[[], None]]
    start: list[Callable[[], None]] = field(default_factory=list)
    close: list[Callable[[], None]] = field(default_factory=list)


class Composer:
    """What all flows of a process are made from.

    stopped: asked by sources and by who waits for a store; True ends the flow. label: what metrics
    of waits call it.
    """

    def __init__(self, settings: Settings, stopped: Callable[[], bool], label: str = "") -> None:
        self.settings = settings
        self.stopped = stopped
        self.waits = Waits(label)
        self.patience = Patience(stopped=stopped, watch=self.waits)
        self.now_ms: Clock = business_clock(settings.clock)
        self.business_ms = business_time(settings.clock)
        self.tenants: Mapping[str, Tenant] = load_tenants(settings.tenants_dir)
        self.wheel = wheel_of(settings)
        self._beats: list[Callable[[int], None]] = [lambda _count: self.patience.renew()]
        self._pings: dict[str, Callable[[], None]] = {}
        self._close: list[Callable[[], None]] = []
        kafka = KafkaPing(self.kafka())
        self.needs("kafka", kafka.ask, kafka.close)

    def needs(self, store: str, ping: Callable[[], None], *close: Callable[[], None]) -> None:
        """Note that the flow needs a store. ping: raises when it does not answer."""
        self.waits.needs(store)
        self._pings[store] = ping
        self._close += close

    @cached_property
    def redis(self) -> RedisClient:
        """Give the client, which waits while Redis cannot serve. Who asks for it needs Redis."""
        settings = self.settings.redis
        make = partial(RedisClient, settings.url, cluster=settings.cluster)
        client = make(
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            retries=settings.retries,
            max_connections=settings.max_connections,
            patience=self.patience,
        )
        asked = make(timeout_s=ANSWER_S / 2, connect_timeout_s=ANSWER_S / 2, retries=0)
        self.needs("redis", asked.ping, asked.close, client.close)
        return client

    @cached_property
    def redis_now(self) -> RedisClient:
        """Give a client that waits for nothing, for what can do without Redis for a while."""
        settings = self.settings.redis
        client = RedisClient(
            settings.url,
            cluster=settings.cluster,
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            retries=0,
            max_connections=2,
        )
        self._close.append(client.close)
        return client

    @cached_property
    def controls(self) -> Watched[Control]:
        """Give the view of what people have paused and cancelled."""
        definitions = RedisDefinitions(self.redis)
        return Watched(definitions, Kind.CONTROL, self.tenants, control_of)

    def kafka(self) -> dict[str, Any]:
        """Give the librdkafka options that every client needs."""
        return dict(self.settings.kafka.client_options())

    def group(self, name: str) -> str:
        """Give a consumer group's full name."""
        return f"{self.settings.kafka.group_prefix}.{name}"

    def lanes_by_priority(
        self,
        name: str,
        topics_of: Mapping[str, Callable[[Priority], str]],
        batch_sizes: Mapping[str, int],
    ) -> Lanes:
        """Make lanes for each priority served, most urgent first.

        topics_of, batch_sizes: by the suffix of the lane's consumer group, "" for none.
        """
        served = [p for p in Priority if p in self.settings.flow.priorities]
        plans = [
            LanePlan(
                self.group(f"{name}{suffix}.{priority}"),
                [topic_of(priority)],
                rank,
                min(batch_sizes.get(suffix, MAX_BATCH), self.settings.flow.batch_size),
            )
            for rank, priority in enumerate(served)
            for suffix, topic_of in topics_of.items()
        ]
        return self._lanes(plans)

    def one_lane(self, name: str, topics: Sequence[str], **more: Any) -> Lanes:
        """Make one lane over all topics of a flow."""
        plan = LanePlan(self.group(name), topics, 0, self.settings.flow.batch_size)
        return self._lanes([plan], **more)

    def _lanes(self, plans: Sequence[LanePlan], **more: Any) -> Lanes:
        instance = self.settings.kafka.instance
        return Lanes(plans, self.kafka(), instance=instance, patience=self.patience, **more)

    def transactional(self, name: str, lanes: Lanes) -> Checkpoint:
        """Make a checkpoint that commits in Kafka transactions."""
        served = "-".join(self.settings.flow.priorities)
        kafka = self.settings.kafka
        transactional_id = f"{kafka.transactional_id_prefix}.{name}.{served}.{kafka.instance}"
        committer = KafkaTransaction(
            lanes, self.kafka(), transactional_id=transactional_id, patience=self.patience
        )
        return Checkpoint(name, lanes, committer)

    def source(self, checkpoint: Checkpoint, **more: Any) -> KafkaSource:
        """Make the source of a flow."""
        return KafkaSource(
            checkpoint, now_ms=self.now_ms, stopped=self.stopped, heartbeat=self.beat, **more
        )

    def beat(self, count: int) -> None:
        """Tell the health check that the flow turned and read ``count`` records."""
        for beat in self._beats:
            beat(count)

    def encode(self, name: str, dead_letters: str) -> Encode:
        """Make the encoder of a flow, watched for metrics and logs."""
        return Encode(dead_letters=dead_letters, timer=self.on_wheel, watch=Observer(name))

    def on_wheel(self, timer: Timer) -> Record:
        """Put a timer on its slot of the wheel as it stands now."""
        return self.wheel.record(timer, self.now_ms())

    def process(self, name: str, flow: Dataflow, checkpoint: Checkpoint) -> Process:
        """Wrap a flow up."""
        return Process(
            name=name,
            flow=flow,
            epoch=timedelta(milliseconds=self.settings.flow.checkpoint_ms),
            checkpoint=checkpoint,
            health_beats=self._beats,
            patience=self.patience,
            waits=self.waits,
            pings=self._pings,
            close=[checkpoint.lanes.close, *self._close],
        )


def build_process(
    settings: Settings,
    stopped: Callable[[], bool],
    name: str,
    platform: Platform | None = None,
) -> Process:
    """Build a flow by name; deliver also takes its platform. Raises ValueError."""
    if (name == "deliver") != (platform is not None):
        raise ValueError("deliver takes a platform (apns, fcm or webpush), the others none")
    composer = Composer(settings, stopped, name if platform is None else f"{name}.{platform}")
    if name in {"route", "timers"}:
        from flows import compose_route as parts  # noqa: PLC0415 - see the module's docstring

        make = {"route": parts.make_route, "timers": parts.make_timers}[name]
        return make(composer)
    if name == "outcomes":
        from flows.compose_stores import make_outcomes  # noqa: PLC0415 - see the module's docstring

        return make_outcomes(composer)
    if name == "registry":
        from flows.compose_registry import make_registry  # noqa: PLC0415 - as above

        return make_registry(composer)
    if name == "campaigns":
        from flows.compose_campaigns import make_campaigns  # noqa: PLC0415 - see the module's docstring

        return make_campaigns(composer)
    if platform is None:
        known = "route, deliver, timers, campaigns, outcomes, registry"
        raise ValueError(f"no flow {name!r}: choose from {known}")
    from flows.compose_deliver import make_deliver  # noqa: PLC0415 - see the module's docstring

    return make_deliver(composer, platform)


def wheel_of(settings: Settings) -> Wheel:
    """Give the timer wheel's shape; open slots behind now cover the longest transaction."""
    speed = settings.clock.speed if settings.clock is not None else 1.0
    slot_ms = int(settings.timers.slot_s * 1_000)
    grace = -(-int(LONGEST_TRANSACTION_S * 1_000 * speed) // slot_ms)
    slots = settings.timers.slots
    return Wheel(slots, slot_ms, min(grace, (slots - slots // 4) // 4))
