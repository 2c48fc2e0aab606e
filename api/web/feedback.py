"""POST /v1/feedback: what apps and producers report about messages."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.web.door import Door, door_of
from api.web.guard import may, own_device, own_user
from api.web.items import read_item, told
from api.web.outbox import NotTakenError
from api.web.problems import ProblemBody, ProblemError, faulty
from api.web.routing import DoorRoute, deed_of
from operators.feedback import outcome_id_of
from schemas import metrics
from schemas.access import Principal, Scope
from schemas.feedback import MAX_AGE_S, MAX_AHEAD_S, Feedback, FeedbackReport, FeedbackReports
from schemas.fields import epoch_ms
from schemas.stream import Record
from schemas.topics import FEEDBACK

AT_ONCE = 100
"""Reports that are worked without a look at other requests."""

router = APIRouter(prefix="/v1", tags=["feedback"], route_class=DoorRoute)


class ReportResult(BaseModel):
    """What became of one report: its id, the same for a repeat, or its problem."""

    id: str | None = None
    problem: ProblemBody | None = None


class FeedbackResults(BaseModel):
    """What became of reports, in their order."""

    accepted: int
    rejected: int
    results: list[ReportResult]


@router.post(
    "/feedback",
    status_code=202,
    openapi_extra={"x-audit": "sums"},
    response_model_exclude_none=True,
)
async def post_feedback(
    request: Request,
    caller: Annotated[Principal, may(Scope.FEEDBACK_WRITE)],
    reports: FeedbackReports,
) -> FeedbackResults:
    """Take up to 1,000 reports; 202 once Kafka has acknowledged those that are right.

    Each is answered by itself, in order: with its id, or its problem. A credential that is bound to
    a user or device reports for these alone, and may leave them out. A report that is sent again
    has the same id and counts once.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller).name
    results: list[ReportResult] = []
    items: Sequence[object] = reports.items
    for start in range(0, len(items), AT_ONCE):
        results += await _some(door, caller, tenant, items[start : start + AT_ONCE])
    taken = sum(one.problem is None for one in results)
    if taken:
        metrics.API_FEEDBACK.labels(tenant, "taken").inc(taken)
    if taken < len(results):
        metrics.API_FEEDBACK.labels(tenant, "rejected").inc(len(results) - taken)
    deed = deed_of(request, "/v1/feedback", 202)
    if deed is not None:
        door.audit.count(deed, taken)
    return FeedbackResults(accepted=taken, rejected=len(results) - taken, results=results)


async def _some(
    door: Door, caller: Principal, tenant: str, items: Sequence[object]
) -> list[ReportResult]:
    results: list[ReportResult] = []
    records: list[Record] = []
    for item in items:
        try:
            said = _checked(door, caller, tenant, item)
        except ProblemError as problem:
            results.append(ReportResult(problem=told(problem)))
        else:
            records.append(record_of(said))
            results.append(ReportResult(id=outcome_id_of(said)))
    try:
        await door.outbox.put(records)
    except NotTakenError as error:
        lost = told(
            ProblemError(
                503, f"Kafka did not acknowledge it: {error}; repeat it", code="not_acknowledged"
            )
        )
        return [one if one.problem else ReportResult(problem=lost) for one in results]
    await asyncio.sleep(0)
    return results


def _checked(door: Door, caller: Principal, tenant: str, item: object) -> Feedback:
    """Give a report as it goes to Kafka. Raises ProblemError."""
    said = read_item(FeedbackReport, item, code="bad_report")
    user_id = said.user_id or caller.user_id
    if not user_id:
        raise faulty("user_id: is missing, add it", code="bad_report")
    own_user(caller, user_id)
    device_id = said.device_id or caller.device_id or None
    if device_id is not None:
        own_device(caller, device_id)
    age_ms = door.now_ms() - epoch_ms(said.occurred_at)
    if age_ms > MAX_AGE_S * 1_000:
        fix = f"is more than {MAX_AGE_S // 86_400} days ago, drop such reports"
        raise faulty(f"occurred_at: {fix}", code="too_old")
    if age_ms < -MAX_AHEAD_S * 1_000:
        fix = f"is more than {MAX_AHEAD_S} s ahead, set the clock"
        raise faulty(f"occurred_at: {fix}", code="in_the_future")
    return Feedback(
        tenant=tenant,
        message_id=said.message_id,
        delivery_id=said.delivery_id,
        user_id=user_id,
        device_id=device_id,
        kind=said.kind,
        occurred_at=said.occurred_at,
        campaign_id=said.campaign_id,
        detail=said.detail,
    )


def record_of(said: Feedback) -> Record:
    """Give a report's record: those of a user are on one partition, in order."""
    return Record(FEEDBACK, said.user_id.encode(), said.model_dump_json(exclude_none=True).encode())
