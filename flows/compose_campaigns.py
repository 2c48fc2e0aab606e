"""Composes campaigns, the flow that releases audiences, and what route and deliver know of them."""

import msgspec
import structlog

from flows import campaigns
from flows.clock import wall_ms
from flows.compose import Composer, Process
from flows.compose_stores import clickhouse_of
from flows.kafka import KafkaSink
from flows.template_view import templates_of
from operators.campaign_run import Figures
from operators.campaigns import TickCampaigns
from operators.find_template import FindTemplate
from schemas import metrics, topics
from schemas.campaigns import Campaign, Run
from sinks.campaign_figures import ASK_TIMEOUT_S, CampaignFigures
from sinks.clickhouse import connect
from state.definitions import RedisDefinitions
from state.progress import RedisProgress
from state.redis_segments import RedisSegments


def make_campaigns(composer: Composer) -> Process:
    """Make the flow from ticks to chunks."""
    lanes = composer.one_lane("campaigns", [topics.CAMPAIGNS])
    checkpoint = composer.transactional("campaigns", lanes)
    redis = composer.redis
    definitions = RedisDefinitions(redis)
    where = msgspec.structs.replace(
        clickhouse_of(composer.settings), connect_timeout_s=2, request_timeout_s=ASK_TIMEOUT_S
    )
    asked = CampaignFigures(lambda: connect(where))

    def figures(run: Run, campaign: Campaign) -> Figures | None:
        found = asked.of(run, campaign)
        return None if found is None else Figures(*found)

    parts = campaigns.CampaignsParts(
        source=composer.source(checkpoint),
        tick=TickCampaigns(
            composer.tenants,
            definitions=definitions,
            segments=RedisSegments(redis),
            progress=RedisProgress(redis),
            figures=figures,
            wall_ms=wall_ms,
            stopped=_tell,
            templates=FindTemplate(templates_of(definitions, composer.tenants)),
        ),
        encode=composer.encode("campaigns", topics.DEAD_CAMPAIGNS),
        sink=KafkaSink(checkpoint),
    )
    process = composer.process("campaigns", campaigns.build(parts), checkpoint)
    process.close.append(asked.close)
    return process


def _tell(run: Run) -> None:
    """Alert: a campaign stopped itself."""
    metrics.CAMPAIGNS_STOPPED.labels(run.tenant).inc()
    structlog.get_logger().error(
        "campaign stopped itself", tenant=run.tenant, run=run.run_id, step=run.step, why=run.note
    )
