"""What people do with campaigns, on stores in memory."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from api.campaign_view import estimate_lines, standing_lines, standing_of
from api.campaigns import CampaignError, Campaigns, Estimate
from api.publishing import ConflictError, DefinitionWriter
from operators.campaigns import encode_run
from operators.define import Define
from operators.registration import decode_registrations
from operators.slices import PLACES
from schemas.campaigns import ControlState, Phase, Run
from schemas.definitions import Kind
from schemas.events import decode_event
from schemas.pipeline import Platform
from schemas.stream import Record, Source
from schemas.topics import CAMPAIGNS, DEFINITIONS, EVENTS
from state.memory import MemoryDefinitions, MemoryProfiles, MemorySegments
from state.profiles import Device, Profile
from state.progress import MemoryProgress
from tests.unit.operators.builders import NOW_MS, FakeMessage, tenant

MESSAGE = {
    "type": "promo",
    "category": "news",
    "audience": {"segment": "buyers"},
    "content": {"title": "Sale"},
}
SAID = {"id": "spring", "message": MESSAGE}


class Kafka:
    """Keeps records, and does the registry's work on definitions at once."""

    def __init__(self, definitions: MemoryDefinitions) -> None:
        self.records: list[Record] = []
        self._define = Define(definitions)

    def put(self, records: Sequence[Record]) -> None:
        for record in records:
            self.records.append(record)
            if record.topic == DEFINITIONS:
                where = Source(DEFINITIONS, 0, len(self.records))
                message: Any = FakeMessage(record.value, where, record.key, NOW_MS)
                changes, letters = decode_registrations([message], NOW_MS)
                assert not letters
                self._define(changes)

    def on(self, topic: str) -> list[Record]:
        return [record for record in self.records if record.topic == topic]


class Figures:
    """What ClickHouse would say."""

    speed: float | None = None

    def users_per_s(self, _tenant: str, *, least: int) -> float | None:
        assert least
        return self.speed


class Bench:
    def __init__(self, **of_tenant: Any) -> None:
        self.definitions = MemoryDefinitions()
        self.kafka: Any = Kafka(self.definitions)
        self.segments = MemorySegments()
        self.profiles = MemoryProfiles()
        self.progress = MemoryProgress()
        self.figures: Any = Figures()
        self.tenant = tenant(**of_tenant)
        self.campaigns = Campaigns(
            self.tenant,
            definitions=self.definitions,
            segments=self.segments,
            profiles=self.profiles,
            progress=self.progress,
            publisher=self.kafka,
            writer=DefinitionWriter(self.kafka, self.definitions),
            now_ms=lambda: NOW_MS,
        )
        self.segments.add("acme", 4, "buyers", [f"u{n}" for n in range(10)])

    def control(self) -> ControlState:
        found = self.campaigns.standing("spring").control
        assert found is not None
        return found.state

    def ticked(self, **changes: Any) -> Run:
        run = msgspec.structs.replace(self.progress.runs("acme", "spring")[0], **changes)
        self.progress.save([run])
        return run


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.campaigns.put(SAID)
    return made


def refused(call: Callable[..., object], *args: Any) -> str:
    with pytest.raises(CampaignError) as caught:
        call(*args)
    return str(caught.value)


def test_a_campaign_is_defined_in_versions(bench: Bench) -> None:
    assert bench.campaigns.put({**SAID, "users_per_minute": 60})[1] == 2
    found, definition = bench.campaigns.get("spring")
    assert (found.users_per_minute, definition.version) == (60, 2)
    assert bench.campaigns.names() == ["spring"]
    with pytest.raises(ConflictError, match="is at version 2 by now, not 1"):
        bench.campaigns.put(SAID, over=1)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"id": "x"}, "message: is missing"),
        ({**SAID, "tenant": "other"}, "tenant: is 'other', and this is 'acme'"),
        ({"id": "x", "message": {**MESSAGE, "category": "nope"}},
         "message.category: there is no 'nope', use ads, alerts, news"),
    ],
)  # fmt: skip
def test_what_is_wrong_says_which_field(bench: Bench, said: Any, why: str) -> None:
    assert why in refused(bench.campaigns.put, said)


def test_start_puts_its_first_tick_on_the_topic(bench: Bench) -> None:
    """After its control, without which no run goes on."""
    run = bench.campaigns.start("spring")
    (record,) = bench.kafka.on(CAMPAIGNS)
    assert record == Record(CAMPAIGNS, b"acme/spring", encode_run(run))
    assert (run.due_ms, run.campaign) == (NOW_MS, "spring")
    assert bench.control() is ControlState.RUNNING
    assert [r.topic for r in bench.kafka.records[-2:]] == [DEFINITIONS, CAMPAIGNS]
    assert "is under way" in refused(bench.campaigns.start, "spring")
    assert "is under way" in refused(bench.campaigns.remove, "spring")


def test_what_cannot_start_says_why(bench: Bench) -> None:
    assert "there is no campaign 'nope'" in refused(bench.campaigns.start, "nope")
    bench.segments.delete("acme", 4, "buyers")
    assert "there is no segment buyers" in refused(bench.campaigns.start, "spring")
    over = {"cron": "0 9 * * *", "until": "2020-01-01T00:00:00Z"}
    bench.campaigns.put(
        {**SAID, "schedule": over, "message": {**MESSAGE, "audience": {"everyone": True}}}
    )
    assert "schedule.until: is over" in refused(bench.campaigns.start, "spring")


def test_pause_resume_cancel_and_start_again(bench: Bench) -> None:
    assert "was never started" in refused(bench.campaigns.pause, "spring")
    first = bench.campaigns.start("spring")
    bench.campaigns.pause("spring")
    assert bench.control() is ControlState.PAUSED
    assert bench.campaigns.resume("spring") == ""
    assert bench.control() is ControlState.RUNNING
    bench.campaigns.cancel("spring")
    assert bench.control() is ControlState.CANCELLED
    assert "is over" in refused(bench.campaigns.resume, "spring")
    bench.ticked(phase=Phase.CANCELLED)
    assert bench.campaigns.start("spring").start_id != first.start_id


def test_resume_overrules_a_gate_of_one_step(bench: Bench) -> None:
    bench.campaigns.start("spring")
    run = bench.ticked(phase=Phase.STOPPED, step=1, note="6.0 % of deliveries failed")
    assert bench.campaigns.resume("spring") == "6.0 % of deliveries failed"
    control = bench.campaigns.standing("spring").control
    assert control is not None
    assert control.waived == f"{run.run_id}/1"


def test_what_is_over_may_be_removed(bench: Bench) -> None:
    bench.campaigns.start("spring")
    bench.ticked(phase=Phase.FINISHED)
    bench.campaigns.remove("spring")
    assert bench.campaigns.names() == []
    assert bench.definitions.get(Kind.CAMPAIGN, "acme", "spring") is None


def test_a_test_send_is_an_urgent_event_outside_the_campaign(bench: Bench) -> None:
    campaign, _ = bench.campaigns.get("spring")
    message_id = bench.campaigns.test_send(campaign, ["u1", "u2"])
    (record,) = bench.kafka.on(EVENTS["high"])
    event = decode_event(record.value)
    assert (event.id, event.campaign_id) == (message_id, None)
    assert event.audience.users == ("u1", "u2")  # type: ignore[union-attr]
    assert "users" in refused(bench.campaigns.test_send, campaign, [])


def _profile(platforms: Sequence[Platform], user: str, _old: Profile | None) -> Profile:
    devices = tuple(Device(f"d{n}", p, "app", "t", 1) for n, p in enumerate(platforms))
    return Profile(user, 0, devices=devices)


def test_an_estimate_counts_users_and_samples_devices(bench: Bench) -> None:
    both, none = [Platform.FCM, Platform.APNS], list[Platform]()
    change = {f"u{n}": partial(_profile, both if n < 8 else none, f"u{n}") for n in range(10)}
    bench.profiles.update_many("acme", 4, change)
    found = bench.campaigns.estimate(bench.campaigns.get("spring")[0], bench.figures)
    assert found == Estimate(10, 10, 1.6, {"apns": 0.5, "fcm": 0.5}, None, "", 0.0, None)
    assert "unknown" in estimate_lines(found)[-1]


@pytest.mark.parametrize(
    ("throttle", "rate", "speed", "expected"),
    [
        (None, None, 5.0, (5.0, "earlier campaigns", 2.0)),
        (60, None, 5.0, (1.0, "users_per_minute", 10.0)),
        (600, 4.0, 5.0, (2.0, "the tenant's rate", 5.0)),
        (60, None, None, (1.0, "users_per_minute", 10.0)),
    ],
)
def test_the_slowest_limit_decides_how_long_it_takes(
    throttle: int | None, rate: float | None, speed: float | None, expected: tuple[Any, ...]
) -> None:
    bench = Bench(rates={"per_second": rate})
    both = [Platform.FCM, Platform.APNS]
    change = {f"u{n}": partial(_profile, both, f"u{n}") for n in range(10)}
    bench.profiles.update_many("acme", 4, change)
    bench.campaigns.put({**SAID, "users_per_minute": throttle})
    bench.figures.speed = speed
    found = bench.campaigns.estimate(bench.campaigns.get("spring")[0], bench.figures)
    assert (found.users_per_s, found.limited_by, found.seconds) == expected


def test_holds_of_a_ramp_are_part_of_the_time(bench: Bench) -> None:
    steps = [{"percent": 1, "hold_s": 60}, {"percent": 10, "hold_s": "2m"}]
    bench.campaigns.put({**SAID, "users_per_minute": 60, "ramp": {"steps": steps}})
    found = bench.campaigns.estimate(bench.campaigns.get("spring")[0], bench.figures)
    assert (found.hold_s, found.seconds) == (180.0, 190.0)
    assert "3 min 10 s" in estimate_lines(found)[-1]


def test_where_a_campaign_stands(bench: Bench) -> None:
    assert standing_lines(bench.campaigns.standing("spring"), bench.tenant) == [
        "spring: never started (version 1)"
    ]
    bench.campaigns.start("spring")
    assert "scheduled, due" in standing_lines(bench.campaigns.standing("spring"), bench.tenant)[0]
    bench.ticked(phase=Phase.RUNNING, cursor=PLACES, users=10, started_ms=NOW_MS)
    standing = bench.campaigns.standing("spring")
    (run,) = standing_of(standing, bench.tenant)["runs"]
    assert (run["phase"], run["released_percent"], run["users"]) == ("running", 25.0, 10)
    assert "25 % released, 0 of 10 users" in standing_lines(standing, bench.tenant)[0]
