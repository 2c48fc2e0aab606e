"""What a provider simulator does once it is told to misbehave."""

import json
from typing import Any

import pytest

from sandbox.http_types import Action, Connection, Request, Response
from sandbox.misbehave import BEHAVE_PATH, SEEN_PATH, Misbehaving
from schemas.outcomes import Reason, Status
from schemas.pipeline import Platform
from sinks.apns_reasons import verdict
from sinks.fcm_errors import classify as fcm_meaning
from sinks.webpush_status import Vendor
from sinks.webpush_status import classify as webpush_meaning

FCM_PATH = "/v1/projects/p/messages:send"
ACCEPTED = Response(200, {"x": "y"}, b"{}", goaway_debug=b"kept")


class World:
    """A simulator that accepts everything, unless told; its clock is moved by hand."""

    def __init__(self, platform: Platform = Platform.APNS) -> None:
        self.now_s = 100.0
        self.answer = ACCEPTED
        self.reached: list[Request] = []
        self.handle = Misbehaving(platform, lambda: self.now_s).around(self._answer)

    def _answer(self, request: Request) -> Response:
        self.reached.append(request)
        return self.answer

    def behave(self, **behaviour: Any) -> dict[str, int]:
        response = self.handle(request(BEHAVE_PATH, json.dumps(behaviour).encode()))
        assert response.status == 200
        counted: dict[str, int] = json.loads(response.body)
        return counted

    def post(self, path: str = "/3/device/aa", body: bytes = b"", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.handle(request(path, body, headers=named))

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.handle(request(SEEN_PATH, method="GET")).body)
        return found


def request(
    path: str, body: bytes = b"", *, method: str = "POST", headers: dict[str, str] | None = None
) -> Request:
    return Request(method, path, headers or {}, body, "2", Connection("2"))


def test_untold_it_answers_by_itself() -> None:
    """Without a behaviour every answer is the simulator's own, and nothing is remembered."""
    world = World()
    assert world.post() is ACCEPTED
    assert world.seen() == {"times": {}, "marks": {}}


def _reason(platform: Platform, answer: Response) -> Reason:
    """Read an answer as the platform's sink does."""
    if platform is Platform.APNS:
        return verdict(answer.status, json.loads(answer.body)["reason"]).reason
    if platform is Platform.FCM:
        return fcm_meaning(answer.status, answer.body).reason
    return webpush_meaning(
        Vendor.MOZILLA, answer.status, answer.headers, answer.body, requested_at_s=0
    ).reason


@pytest.mark.parametrize("platform", Platform)
def test_down_is_an_outage_to_the_sink(platform: Platform) -> None:
    """Each platform's sink reads the refusal as its provider's outage; nothing gets through."""
    world = World(platform)
    world.behave(down=True)
    assert _reason(platform, world.post(FCM_PATH)) is Reason.PROVIDER_UNAVAILABLE
    assert not world.reached
    assert world.behave() == {"refused": 1, "most_under_way": 0}
    assert world.post() is ACCEPTED


def test_hanging_takes_requests_and_answers_none() -> None:
    """The request stays open and reaches nobody."""
    world = World()
    world.behave(hang=True)
    assert world.post().action is Action.HANG
    assert not world.reached


@pytest.mark.parametrize("behaviour", [{"down": True}, {"hang": True}, {"most_per_s": 1}])
def test_what_is_no_send_goes_through(behaviour: dict[str, Any]) -> None:
    """Counters and access tokens are answered whatever becomes of messages."""
    world = World(Platform.FCM)
    world.behave(**behaviour)
    world.handle(request("/sandbox/stats", method="GET"))
    for _ in range(3):
        assert world.post("/token") is ACCEPTED
    assert len(world.reached) == 4


@pytest.mark.parametrize(
    ("platform", "reason"),
    [
        (Platform.APNS, Reason.DEVICE_THROTTLED),  # APNs knows no limit but a device's
        (Platform.FCM, Reason.THROTTLED),
        (Platform.WEBPUSH, Reason.THROTTLED),
    ],
)
def test_a_rate_is_kept_within_each_second(platform: Platform, reason: Reason) -> None:
    """What is over it is throttled, as the sink reads it, and the next second begins anew."""
    world = World(platform)
    world.behave(most_per_s=2)
    for second in (100.0, 101.5):
        world.now_s = second
        answers = [world.post() for _ in range(5)]
        assert answers[:2] == [ACCEPTED, ACCEPTED]
        assert {_reason(platform, one) for one in answers[2:]} == {reason}
    assert len(world.reached) == 4
    assert world.behave()["refused"] == 6
    assert world.behave()["refused"] == 0


def test_answers_slow_down_beyond_the_knee() -> None:
    """Up to the knee each takes answer_s, beyond it in proportion to those under way."""
    world = World()
    world.behave(answer_s=0.5, knee=2)
    first = [world.post() for _ in range(4)]
    assert [one.delay_s for one in first] == [0.5, 0.5, 0.75, 1.0]
    world.now_s += 0.6  # the first two have ended
    assert world.post().delay_s == 0.75
    world.now_s += 10
    assert world.post().delay_s == 0.5
    assert world.behave()["most_under_way"] == 4


def test_a_slow_answer_is_otherwise_the_simulators() -> None:
    """Only the time is changed."""
    world = World()
    world.behave(answer_s=0.5)
    answer = world.post()
    assert (answer.status, answer.headers, answer.body) == (200, {"x": "y"}, b"{}")
    assert answer.goaway_debug == b"kept"


@pytest.mark.parametrize(
    ("platform", "path", "mark", "body"),
    [
        (Platform.APNS, "/3/device/aa", {"apns_id": "m"}, b""),
        (Platform.WEBPUSH, "/push/aa", {"topic": "m"}, b""),
        (
            Platform.FCM,
            FCM_PATH,
            {},
            b'{"message": {"token": "aa", "android": {"collapseKey": "m"}}}',
        ),
        (
            Platform.FCM,
            FCM_PATH,
            {},
            b'{"message": {"token": "aa", "android": {"collapse_key": "m"}}}',
        ),
    ],
)
def test_it_remembers_what_was_accepted(
    platform: Platform, path: str, mark: dict[str, str], body: bytes
) -> None:
    """How often each device got a message, and by which id it can tell a repeat; no refusals."""
    world = World(platform)
    world.behave(remember=True)
    device = "aa" if platform is Platform.FCM else path
    world.post(path, body, **mark)
    assert world.seen() == {"times": {device: 1}, "marks": {}}
    world.post(path, body, **mark)
    assert world.seen() == {"times": {device: 2}, "marks": {device: ["m"]}}
    world.answer = Response(400)
    world.post(path, body, **mark)
    world.answer = Response(200, action=Action.RESET)
    world.post(path, body, **mark)
    world.behave(down=True, remember=True)
    world.post(path, body, **mark)
    assert world.seen()["times"] == {device: 2}


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b'{"asleep": true}'])
def test_an_unknown_behaviour_is_refused_with_those_there_are(body: bytes) -> None:
    """The answer names the fields, and the behaviour stays as it was."""
    world = World()
    world.behave(hang=True)
    refused = world.handle(request(BEHAVE_PATH, body))
    assert refused.status == 400
    assert "most_per_s" in json.loads(refused.body)["error"]
    assert world.post().action is Action.HANG


def test_statuses_of_outages_are_retried() -> None:
    """The chaos suites rely on it: a storm's refusals come back as RETRY."""
    world = World(Platform.FCM)
    world.behave(down=True)
    answer = world.post(FCM_PATH)
    assert fcm_meaning(answer.status, answer.body).status is Status.RETRY
