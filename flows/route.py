"""route: from events to deliveries."""

# events, chunks ─ decode ─ dedup ─ hooks ─ digests ─ schedule ─ recall ─ audience ─ profiles ─ local time ─ admit ─ gather ─ caps and fan-out ─ channel caps ─ quota ─ pace ─► deliveries
#                     └───────┴────────┴─────────┴────────┴──────────┴──────────┴─────────┴─────────────┴───────────┴────► outcomes, timers, chunks, dead letters

from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from operators.steps import Apply, Step, apply, fork, to_process
from schemas.stream import Batch


@dataclass(frozen=True, kw_only=True)
class RouteSteps:
    """What happens to a batch, in the order of the graph; flows/route_steps.py makes them."""

    decode: Step
    dedup: Step
    hooks: Step
    digests: Step
    schedule: Step
    recall: Step
    audience: Step
    profiles: Step
    local_time: Step
    admit: Step
    gather: Step
    ask_caps: Step
    fan_out: Step
    caps: Step
    channel_caps: Step
    quota: Step
    deliveries: Apply
    pace: Step


@dataclass(frozen=True, kw_only=True)
class RouteParts(RouteSteps):
    """What route is built from; flows/compose_route.py fills it in."""

    source: Source[Batch]
    encode: Apply
    sink: Sink[Any]


def build(parts: RouteParts) -> Dataflow:
    """Draw the graph."""
    flow = Dataflow("route")
    records = op.input("events", flow, parts.source)
    # Batch[Message]
    works = fork("decode", records, parts.decode)
    # Batch[Work], beside it Batch[DeadLetter | Outcome]
    fresh = fork("dedup", works.oks, parts.dedup)
    hooked = fork("hooks", fresh.oks, parts.hooks)
    told = fork("digests", hooked.oks, parts.digests)
    due = fork("schedule", told.oks, parts.schedule)
    # beside it Batch[Timer | Outcome]
    wanted = fork("recall", due.oks, parts.recall)
    listed = fork("audience", wanted.oks, parts.audience)
    # beside it Batch[Chunk | Outcome]
    known = fork("profiles", listed.oks, parts.profiles)
    now = fork("local_time", known.oks, parts.local_time)
    admitted = fork("admit", now.oks, parts.admit)
    gathered = fork("gather", admitted.oks, parts.gather)
    # beside it Batch[Timer | Outcome]
    asked = fork("ask_caps", gathered.oks, parts.ask_caps)
    addressed = fork("fan_out", asked.oks, parts.fan_out)
    allowed = fork("caps", addressed.oks, parts.caps)
    open_to = fork("channel_caps", allowed.oks, parts.channel_caps)
    within = fork("quota", open_to.oks, parts.quota)
    deliveries = apply("deliveries", within.oks, parts.deliveries)
    # Batch[Delivery]
    paced = fork("pace", deliveries, parts.pace)
    decided = op.merge(
        "decided",
        paced.oks,
        works.outs,
        fresh.outs,
        hooked.outs,
        told.outs,
        due.outs,
        wanted.outs,
        listed.outs,
        known.outs,
        now.outs,
        admitted.outs,
        gathered.outs,
        asked.outs,
        addressed.outs,
        allowed.outs,
        open_to.outs,
        within.outs,
        paced.outs,
    )
    encoded = apply("encode", decided, parts.encode)
    # Batch[Record]
    op.output("kafka", to_process("process", encoded), parts.sink)
    return flow
