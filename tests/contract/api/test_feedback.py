"""POST /v1/feedback."""

from typing import Any

import msgspec
import pytest

from api.web.door import Door
from operators.feedback import ReadOutcomes
from schemas.moments import exact_moment, moment
from schemas.pipeline import Outcome
from schemas.topics import FEEDBACK
from state.dedup import RedisDedup
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller, MemoryTrail
from tests.contract.api.examples_feedback import REPORT
from tests.unit.operators.builders import messages

DAY_MS = 86_400_000


def report(**changes: Any) -> dict[str, Any]:
    """Make a report; None leaves a field out."""
    return {name: value for name, value in {**REPORT, **changes}.items() if value is not None}


def outcomes(door: Door, outbox: AppliedOutbox) -> list[Outcome]:
    """Give what the outcomes flow makes of all that was reported."""
    records = messages(FEEDBACK, *(one.value for one in outbox.of(FEEDBACK)), at_ms=NOW_MS)
    rows, letters = ReadOutcomes(RedisDedup(door.redis))(records, NOW_MS)
    assert not letters
    return [msgspec.msgpack.decode(row[3], type=Outcome) for row in rows]


@pytest.mark.parametrize("kind", ["delivered", "opened", "clicked", "dismissed"])
async def test_a_report_becomes_an_outcome_of_the_callers_tenant(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox, kind: str
) -> None:
    """Under the id that was answered, on its user's partition."""
    item = report(kind=kind, device_id="d1", delivery_id="x", campaign_id="spring", detail="buy")
    answer = await as_caller("producer").post("/v1/feedback", json={"items": [item]})
    assert answer.status_code == 202
    (found,) = outcomes(door, outbox)
    assert answer.json()["results"] == [{"id": found.outcome_id}]
    assert (found.tenant, found.message_id, found.user_id, found.status) == (
        "acme", "m-1", "u1", kind,
    )  # fmt: skip
    assert (found.device_id, found.delivery_id, found.campaign_id) == ("d1", "x", "spring")
    assert found.occurred_at_ms == NOW_MS - 5_000
    assert outbox.of(FEEDBACK)[0].key == b"u1"


async def test_a_repeated_report_counts_once(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Twice in a request, in two requests, by the app and by the producer: one outcome."""
    items = {"items": [report(), report()]}
    first = await as_caller("producer").post("/v1/feedback", json=items)
    again = await as_caller("device", user="u1").post("/v1/feedback", json=items)
    ids = {one["id"] for answer in (first, again) for one in answer.json()["results"]}
    assert len(ids) == 1
    assert len(outbox.of(FEEDBACK)) == 4
    assert len(outcomes(door, outbox)) == 1


async def test_each_report_is_answered_by_itself(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """In order; bad ones keep no good ones back, and name field and fix."""
    items = [
        report(),
        report(kind="eaten"),
        report(user_id=None),
        report(occured_at="x"),
        "no object",
        report(detail="a\x00b"),
        report(tenant="rival"),
        report(message_id="m-2"),
    ]
    answer = await as_caller("producer").post("/v1/feedback", json={"items": items})
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 6)
    assert ["problem" in one for one in body["results"]] == [False, *[True] * 6, False]
    faults = [one["problem"]["errors"] for one in body["results"][1:4]]
    assert [one[0]["field"] for one in faults] == ["kind", "user_id", "occured_at"]
    assert "did you mean 'occurred_at'" in faults[2][0]["fix"]
    assert len(outbox.of(FEEDBACK)) == 2


@pytest.mark.parametrize(
    ("said_ms", "code"),
    [
        (NOW_MS - 7 * DAY_MS, ""),
        (NOW_MS - 7 * DAY_MS - 1, "too_old"),
        (NOW_MS + 60_000, ""),
        (NOW_MS + 60_001, "in_the_future"),
    ],
)
async def test_it_happened_within_seven_days_and_a_minute_of_skew(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox, said_ms: int, code: str
) -> None:
    """Older and later is refused; what is a little ahead is set to when Kafka took it."""
    item = report(occurred_at=exact_moment(said_ms))
    answer = await as_caller("producer").post("/v1/feedback", json={"items": [item]})
    (result,) = answer.json()["results"]
    assert result.get("problem", {}).get("code", "") == code
    assert [one.occurred_at_ms for one in outcomes(door, outbox)] == (
        [] if code else [min(said_ms, NOW_MS)]
    )


async def test_an_app_reports_for_its_own_user_and_device(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """Which it may leave out; others look absent, whether they are there or not."""
    items = [
        report(user_id=None, message_id="m-1"),
        report(user_id="u1", device_id="d1", message_id="m-2"),
        report(user_id="u2"),
        report(user_id="u1", device_id="d2"),
    ]
    app = as_caller("device", user="u1", device="d1")
    body = (await app.post("/v1/feedback", json={"items": items})).json()
    assert [one.get("problem", {}).get("status") for one in body["results"]] == [
        None, None, 404, 404,
    ]  # fmt: skip
    found = outcomes(door, outbox)
    assert {(one.user_id, one.device_id) for one in found} == {("u1", "d1")}
    assert [one.message_id for one in found] == ["m-1", "m-2"]


@pytest.mark.parametrize(
    "body", [{"items": []}, {"items": [REPORT] * 1_001}, {"items": {}}, {}, [REPORT]]
)
async def test_a_batch_has_one_to_a_thousand_reports(
    as_caller: AsCaller, outbox: AppliedOutbox, body: Any
) -> None:
    """422 as a whole otherwise."""
    answer = await as_caller("producer").post("/v1/feedback", json=body)
    assert answer.status_code == 422
    assert not outbox.records


async def test_a_thousand_reports_go_in_at_once(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """All of them acknowledged; the audit log counts them together."""
    items = [report(user_id=f"u{n}") for n in range(1_000)]
    answer = await as_caller("producer").post("/v1/feedback", json={"items": items})
    assert (answer.json()["accepted"], len(outbox.of(FEEDBACK))) == (1_000, 1_000)


async def test_the_audit_log_has_a_sum(as_caller: AsCaller, door: Door) -> None:
    """Not an entry a request: there are too many."""
    await as_caller("producer").post("/v1/feedback", json={"items": [report(), report(kind="x")]})
    trail: Any = door.audit
    assert isinstance(trail, MemoryTrail)
    ((deed, items),) = trail.counted
    assert (deed.action, items, trail.deeds) == ("POST /v1/feedback", 1, [])


async def test_what_kafka_does_not_take_is_told_for_each(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Those that were wrong keep their own problem."""
    outbox.refuses = True
    items = [report(), report(kind="eaten")]
    body = (await as_caller("producer").post("/v1/feedback", json={"items": items})).json()
    assert [one["problem"]["status"] for one in body["results"]] == [503, 422]


@pytest.mark.parametrize("role", ["marketer", "analyst", "operator"])
async def test_who_sees_no_devices_reports_nothing(as_caller: AsCaller, role: str) -> None:
    """403 without the scope."""
    answer = await as_caller(role).post("/v1/feedback", json={"items": [report()]})
    assert answer.status_code == 403


async def test_times_have_an_offset(as_caller: AsCaller) -> None:
    """A time without one is a fault that says how to write it."""
    item = report(occurred_at=moment(NOW_MS)[:-1])
    body = (await as_caller("producer").post("/v1/feedback", json={"items": [item]})).json()
    assert "RFC 3339" in body["results"][0]["problem"]["detail"]
