"""The demo's campaign: to every passenger, a tenth of them first."""

from datetime import UTC, datetime
from typing import Any

from operators.campaigns import encode_run, run_key
from operators.recall import campaign_control
from sandbox.passengers import MARKETING, TENANT
from schemas.campaigns import Campaign, Control, ControlState, Phase, Run, run_id_of
from schemas.definitions import DefinitionRecord, Kind
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import CAMPAIGNS, DEFINITIONS
from state.progress import RedisProgress
from state.redis_client import RedisClient

ID = "fly-more"
START = "demo"
HOUR_MS = 3_600_000


def campaign() -> Campaign:
    """Give it, with an hour's look at the first tenth.

    It has no pace: that counts in ticks, and the demo's clock runs thousands of times faster.
    """
    return Campaign.model_validate(
        {
            "id": ID,
            "tenant": TENANT,
            "message": {
                "type": "fly_more",
                "category": MARKETING,
                "audience": {"everyone": True},
                "content": {
                    "title": "Where to next?",
                    "body": "Seats to fifty cities, from today.",
                    "locales": {"de": {"title": "Wohin als Nächstes?"}},
                },
            },
            "ramp": {
                "steps": [{"percent": 10, "hold_s": "1h"}],
                # A tenth of this airline's tokens is dead.
                "gates": {"failure_percent": 50},
            },
        }
    )


def records(due_ms: int) -> list[Record]:
    """Give what starts it: its definition, its control and its first tick."""
    made = campaign()
    now = datetime.fromtimestamp(due_ms / 1_000, UTC)
    body = made.model_dump(mode="json", exclude_none=True)
    control = Control(state=ControlState.RUNNING, start_id=START).model_dump(mode="json")
    definitions = [
        DefinitionRecord(kind=kind, tenant=TENANT, name=name, updated_at=now, body=said)
        for kind, name, said in (
            (Kind.CAMPAIGN, ID, body),
            (Kind.CONTROL, campaign_control(ID), control),
        )
    ]
    spec = made.model_dump_json(exclude_none=True).encode()
    run = Run(run_id_of(ID, START, due_ms), TENANT, ID, START, spec, due_ms)
    return [
        *(Record(DEFINITIONS, one.key, one.to_json()) for one in definitions),
        Record(CAMPAIGNS, run_key(run), encode_run(run)),
    ]


class Watch:
    """Looks how far it is."""

    def __init__(self, settings: Settings) -> None:
        self._client = RedisClient(settings.redis.url)
        self._progress = RedisProgress(self._client)

    def is_over(self) -> bool:
        """Tell whether all its users are through route."""
        runs = self._progress.runs(TENANT, ID)
        return bool(runs) and runs[0].phase is Phase.FINISHED

    def figures(self) -> dict[str, Any]:
        """Give how it went, in business time."""
        run = self._progress.runs(TENANT, ID)[0]
        return {
            "id": ID,
            "phase": run.phase.value,
            "users": run.users,
            "users_routed": self._progress.tally(TENANT, run.run_id).users,
            "ticks": run.tick,
            "hours": round((run.last_ms - run.started_ms) / HOUR_MS, 1),
        }

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
