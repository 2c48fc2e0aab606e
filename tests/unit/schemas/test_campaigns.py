"""Campaigns as people write them: what is refused says which field and what to do."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.campaigns import Campaign, campaign_of_run, run_id_of, start_of
from schemas.decode import explain, faults

MESSAGE = {
    "type": "promo",
    "category": "news",
    "audience": {"segment": "buyers & eu"},
    "content": {"title": "Sale"},
}


def campaign(**more: Any) -> Campaign:
    return Campaign.model_validate({"id": "c", "tenant": "acme", "message": MESSAGE, **more})


def refusal(**more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        campaign(**more)
    return explain(faults(Campaign, caught.value))


def test_a_campaign_is_an_event_of_low_priority_under_its_own_name() -> None:
    event = campaign().event("c:s:1")
    assert (event.id, event.campaign_id, event.tenant) == ("c:s:1", "c", "acme")
    assert event.priority == "low"
    assert campaign(message={**MESSAGE, "priority": "normal"}).event("x").priority == "normal"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"message": {**MESSAGE, "id": "x"}}, "message.id: the campaign decides this, remove it"),
        ({"message": {**MESSAGE, "send_at": 1}}, "message.send_at"),
        ({"message": {**MESSAGE, "priority": "high"}}, "a campaign is normal or low"),
        ({"message": {**MESSAGE, "audience": {"users": ["u"]}}}, "upload a list as a segment"),
        ({"message": {**MESSAGE, "audience": {"segment": "a &"}}}, "message: audience.segment"),
        ({"message": {**MESSAGE, "content": None}}, "give exactly one of content and template"),
        ({"message": {**MESSAGE, "type": object()}}, "use JSON values only"),
        ({"schedule": {"cron": "0 9 * * mon", "at": "2026-01-05T08:00:00Z"}}, "only one of at"),
        ({"schedule": {"cron": "61 9 * * *"}}, "schedule.cron"),
        ({"schedule": {"cron": "0 0 31 2 *"}}, "schedule.cron: Bad day-of-month"),
        ({"schedule": {"until": "2026-01-05T08:00:00Z"}}, "until: belongs to cron"),
        ({"schedule": {"local_at": "2026-02-30T09:00"}}, "schedule.local_at: there is no such day"),
        ({"schedule": {"local_at": "2026-02-03T09:00"}, "users_per_minute": 5}, "go with neither"),
        ({"ramp": {"steps": [{"percent": 10}, {"percent": 1}]}}, "more than the one before"),
        ({"ramp": {"steps": []}}, "ramp.steps"),
        ({"users_per_minute": 0}, "users_per_minute"),
    ],
)
def test_what_is_refused_says_why(more: dict[str, Any], said: str) -> None:
    assert said in refusal(**more)


def test_a_ramp_ends_with_everybody() -> None:
    ramp = campaign(ramp={"steps": [{"percent": 1}, {"percent": 10}]}).ramp
    assert ramp is not None
    assert ramp.percents == (1, 10, 100)
    whole = campaign(ramp={"steps": [{"percent": 1}, {"percent": 100}]}).ramp
    assert whole is not None
    assert whole.percents == (1, 100)


def test_a_run_tells_the_start_that_it_came_of() -> None:
    """Also of a campaign with colons in its name; other messages tell none."""
    assert start_of(run_id_of("a:b", "s1", 17)) == "s1"
    assert campaign_of_run(run_id_of("a:b", "s1", 17)) == "a:b"
    assert start_of("a:b:c") == campaign_of_run("a:b:c") == ""
    assert start_of("m-1") == ""
