"""Which dead letters a command line means: its options, checked, as a question to the topics."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from api.cli import CommandError
from api.times import time_ms
from operators.dead_letters import STAGES, Wanted
from schemas.stream import Source

Stage = Literal["route", "registry", "outcomes", "timers", "campaigns", "apns", "fcm", "webpush"]


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """The filters of all commands; all of those given must hold."""

    stage: Annotated[
        tuple[Stage, ...], Parameter(help="what could not handle it; may be repeated")
    ] = ()
    id: Annotated[
        tuple[str, ...], Parameter(help="a letter's id, such as dead.fcm/0/12; may be repeated")
    ] = ()
    tenant: Annotated[str, Parameter(help="of this tenant")] = ""
    reason: Annotated[str, Parameter(help="part of the error, such as throttled")] = ""
    since: Annotated[str, Parameter(help="2h (ago), or a time such as 2026-02-02T08:00:00Z")] = ""
    until: Annotated[str, Parameter(help="as --since; what came then or later is left out")] = ""

    def wanted(self, now_ms: int) -> Wanted:
        """Check the options. Raises CommandError."""
        return Wanted(
            stages=self.stage,
            ids=frozenset(map(source_of, self.id)),
            tenant=self.tenant,
            text=self.reason,
            since_ms=time_ms("--since", self.since, now_ms),
            until_ms=time_ms("--until", self.until, now_ms),
        )

    def is_everything(self) -> bool:
        """Tell whether no filter was given."""
        return self == Which()


def source_of(text: str) -> Source:
    """Read a letter's id. Raises CommandError."""
    topic, partition, offset = (*text.rsplit("/", 2), "", "")[:3]
    if topic not in STAGES.values() or not (partition.isdecimal() and offset.isdecimal()):
        raise CommandError(f"{text!r} is no letter's id: `clarion dlq ls` gives them")
    return Source(topic, int(partition), int(offset))
