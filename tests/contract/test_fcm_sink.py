import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from sandbox.fcm import (
    Account,
    FcmSimulator,
    dead_token,
    live_token,
    make_service_account,
    scenario_token,
)
from sandbox.fcm_answers import ACCEPTING, SCENARIOS
from sandbox.tls import make_tls
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, Content, Delivery, Platform, Priority
from sinks.credentials import Credentials, FcmCredential
from sinks.fcm import FcmSink

PROJECT = "acme-shop"


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


class Stage:
    """A simulator and the sinks opened against it."""

    def __init__(self, service_account: dict[str, Any], public_key_pem: str) -> None:
        self.clock = Clock()
        self.service_account = service_account
        account = Account.of(service_account, public_key_pem)
        other = Account("else@where", "other-project", public_key_pem)
        self.simulator = FcmSimulator([account, other], now=self.clock)
        self.base_url = ""
        self.ca_pem: bytes | None = None
        self.sinks: list[FcmSink] = []

    async def start(self, *, tls: bool = False) -> None:
        context, self.ca_pem = make_tls() if tls else (None, None)
        port = await self.simulator.start(tls=context)
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    async def sink(self, *, project: str = PROJECT, **options: Any) -> FcmSink:
        account = self.service_account | {"token_uri": f"{self.base_url}/token"}
        account |= options.pop("account", {})
        credential = FcmCredential(project_id=project, service_account=account)
        sink = FcmSink(
            credentials=Credentials({("acme", "shop"): credential}),
            now=self.clock,
            base_url=options.pop("base_url", self.base_url),
            ca_pem=self.ca_pem,
            connections=options.pop("connections", 1),
            **options,
        )
        await sink.open()
        self.sinks.append(sink)
        return sink

    async def stop(self) -> None:
        for sink in self.sinks:
            await sink.close()
        await self.simulator.stop()


@pytest.fixture(scope="module")
def keys() -> tuple[dict[str, Any], str]:
    return make_service_account(PROJECT, "set by the stage")


@pytest.fixture
async def stage(keys: tuple[dict[str, Any], str]) -> AsyncIterator[Stage]:
    made = Stage(*keys)
    await made.start()
    yield made
    await made.stop()


def delivery(token: str, content: Content | None = None, app: str = "shop") -> Delivery:
    return Delivery(
        delivery_id="0b0e7a3e-6f0e-5d5e-9d5c-1f3a3c3f4b5d",
        message_id="m-1",
        tenant="acme",
        app=app,
        user_id="u-1",
        device_id="d-1",
        platform=Platform.FCM,
        priority=Priority.HIGH,
        category="orders",
        type="order_shipped",
        token=token,
        content=msgspec.msgpack.encode(content or Content("Shipped", "It is on its way")),
        accepted_at_ms=0,
        created_at_ms=0,
        registered_at_ms=0,
    )


def summary(answer: Answer) -> tuple[Status, Reason, TokenAction, int]:
    return answer.status, answer.reason, answer.token_action, answer.provider_status


EXPECTED = {
    "UNREGISTERED": (Status.FAILED, Reason.TOKEN_UNREGISTERED, TokenAction.DELETE, 404),
    "INVALID_TOKEN": (Status.FAILED, Reason.TOKEN_INVALID, TokenAction.SUSPECT, 400),
    "INVALID_TOKEN_FIELD": (Status.FAILED, Reason.TOKEN_INVALID, TokenAction.SUSPECT, 400),
    "INVALID_FIELD": (Status.REJECTED, Reason.BAD_REQUEST, TokenAction.KEEP, 400),
    "INVALID_ARGUMENT": (Status.REJECTED, Reason.BAD_REQUEST, TokenAction.KEEP, 400),
    "TOO_BIG": (Status.REJECTED, Reason.PAYLOAD_TOO_LARGE, TokenAction.KEEP, 400),
    "THIRD_PARTY_AUTH_ERROR": (Status.REJECTED, Reason.BAD_CREDENTIALS, TokenAction.KEEP, 401),
    "APNS_AUTH_ERROR": (Status.REJECTED, Reason.BAD_CREDENTIALS, TokenAction.KEEP, 401),
    "UNAUTHENTICATED": (Status.RETRY, Reason.CREDENTIAL_EXPIRED, TokenAction.KEEP, 401),
    "SENDER_ID_MISMATCH": (Status.FAILED, Reason.TOKEN_WRONG_APP, TokenAction.SUSPECT, 403),
    "PERMISSION_DENIED": (Status.REJECTED, Reason.BAD_CONFIG, TokenAction.KEEP, 403),
    "NOT_FOUND": (Status.REJECTED, Reason.BAD_CONFIG, TokenAction.KEEP, 404),
    "QUOTA_EXCEEDED": (Status.RETRY, Reason.THROTTLED, TokenAction.KEEP, 429),
    "QUOTA_EXCEEDED_RETRY_AFTER": (Status.RETRY, Reason.THROTTLED, TokenAction.KEEP, 429),
    "INTERNAL": (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, TokenAction.KEEP, 500),
    "UNAVAILABLE": (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, TokenAction.KEEP, 503),
    "UNAVAILABLE_RETRY_AFTER": (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, TokenAction.KEEP, 503),
    "BAD_GATEWAY": (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, TokenAction.KEEP, 502),
    "DEADLINE_EXCEEDED": (Status.UNKNOWN, Reason.PROVIDER_TIMEOUT, TokenAction.KEEP, 504),
    "UNSPECIFIED_ERROR": (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, TokenAction.KEEP, 503),
    "UNLISTED": (Status.REJECTED, Reason.UNLISTED, TokenAction.KEEP, 409),
    "RESET": (Status.UNKNOWN, Reason.CONNECTION_LOST, TokenAction.KEEP, 0),
    "CLOSE": (Status.UNKNOWN, Reason.CONNECTION_LOST, TokenAction.KEEP, 0),
    "HANG": (Status.UNKNOWN, Reason.PROVIDER_TIMEOUT, TokenAction.KEEP, 0),
    "LIVE": (Status.SENT, Reason.ACCEPTED, TokenAction.KEEP, 200),
    "SLOW": (Status.SENT, Reason.ACCEPTED, TokenAction.KEEP, 200),
    "GOAWAY": (Status.SENT, Reason.ACCEPTED, TokenAction.KEEP, 200),
    "UNAVAILABLE_ONCE": (Status.RETRY, Reason.PROVIDER_UNAVAILABLE, TokenAction.KEEP, 503),
}


def test_every_scenario_is_expected_to_end_somehow() -> None:
    """No scenario of the simulator goes untested."""
    assert set(EXPECTED) == set(SCENARIOS) | ACCEPTING


@pytest.mark.parametrize("scenario", EXPECTED)
async def test_every_scenario(stage: Stage, scenario: str) -> None:
    """The sink says of each of FCM's answers what the table says, and the next send works."""
    sink = await stage.sink(request_timeout_s=1.0 if scenario == "HANG" else 5.0)
    answer = await sink.send(delivery(scenario_token(scenario, 1)))
    assert summary(answer) == EXPECTED[scenario]
    assert (await sink.send(delivery(live_token(1)))).status is Status.SENT


@pytest.mark.parametrize(
    ("scenario", "wait_s"),
    [
        ("QUOTA_EXCEEDED", 60.0),
        ("QUOTA_EXCEEDED_RETRY_AFTER", 7.0),
        ("UNAVAILABLE", 10.0),
        ("UNAVAILABLE_RETRY_AFTER", 3.0),
    ],
)
async def test_waits(stage: Stage, scenario: str, wait_s: float) -> None:
    """Retry-After when FCM sends it, else the wait that its documentation names."""
    answer = await (await stage.sink()).send(delivery(scenario_token(scenario, 1)))
    assert answer.retry_after_s == wait_s


@pytest.mark.parametrize("tls", [False, True])
async def test_a_send_over_http2(keys: tuple[dict[str, Any], str], *, tls: bool) -> None:
    """Token endpoint and FCM are reached with and without TLS under a private authority."""
    stage = Stage(*keys)
    await stage.start(tls=tls)
    try:
        content = Content("Shipped", "On its way", url="https://e.x/o", data={"order": "7"})
        answer = await (await stage.sink()).send(delivery(live_token(1), content))
        assert answer.status is Status.SENT
        assert answer.provider_id.startswith(f"projects/{PROJECT}/messages/")
        assert stage.simulator.messages[0]["data"] == {"order": "7", "url": "https://e.x/o"}
        assert stage.simulator.messages[0]["token"] == live_token(1)
    finally:
        await stage.stop()


async def test_a_dead_token_died_when_it_was_asked(stage: Stage) -> None:
    """token_invalid_at_ms is the time of the request, as FCM gives none."""
    answer = await (await stage.sink()).send(delivery(dead_token(1)))
    assert answer.token_invalid_at_ms == int(stage.clock.now_s * 1000)


async def test_many_sends_share_one_access_token(stage: Stage) -> None:
    """The token is minted once, however many wait for it."""
    sink = await stage.sink()
    answers = await asyncio.gather(*(sink.send(delivery(live_token(i))) for i in range(100)))
    assert {answer.status for answer in answers} == {Status.SENT}
    assert len({answer.provider_id for answer in answers}) == 100
    assert stage.simulator.oauth.minted == 1


async def test_the_access_token_is_renewed_before_it_expires(stage: Stage) -> None:
    """In its last five minutes it still serves while the next is minted behind it."""
    sink = await stage.sink()
    await sink.send(delivery(live_token(1)))
    stage.clock.now_s += 3400
    assert (await sink.send(delivery(live_token(2)))).status is Status.SENT
    [access] = sink._tokens.values()
    if access._renewal is not None:
        await access._renewal
    assert stage.simulator.oauth.minted == 2
    stage.clock.now_s += 250  # the first one has expired
    assert (await sink.send(delivery(live_token(3)))).status is Status.SENT
    assert stage.simulator.oauth.minted == 2


async def test_an_expired_access_token_is_replaced_before_sending(stage: Stage) -> None:
    """After a long silence the next send waits for a new token instead of failing."""
    sink = await stage.sink()
    await sink.send(delivery(live_token(1)))
    stage.clock.now_s += 3620
    assert (await sink.send(delivery(live_token(2)))).status is Status.SENT


async def test_a_revoked_access_token_is_replaced_after_one_401(stage: Stage) -> None:
    """The sends that met the 401 are retried, the next goes through."""
    sink = await stage.sink()
    await sink.send(delivery(live_token(1)))
    stage.simulator.oauth.revoke_all()
    met = await asyncio.gather(*(sink.send(delivery(live_token(i))) for i in range(5)))
    assert {(a.status, a.reason) for a in met} == {(Status.RETRY, Reason.CREDENTIAL_EXPIRED)}
    assert (await sink.send(delivery(live_token(9)))).status is Status.SENT
    assert stage.simulator.oauth.minted == 2


async def test_a_second_401_is_a_bad_credential_and_mints_no_storm(stage: Stage) -> None:
    """A new token refused at once means that the credential is refused; a minute later we ask."""
    sink = await stage.sink()
    refused = delivery(scenario_token("UNAUTHENTICATED", 1))
    assert (await sink.send(refused)).reason is Reason.CREDENTIAL_EXPIRED
    for _ in range(5):
        answer = await sink.send(refused)
        assert (answer.status, answer.reason) == (Status.REJECTED, Reason.BAD_CREDENTIALS)
    assert stage.simulator.oauth.minted == 2
    stage.clock.now_s += 61
    await sink.send(refused)
    assert (await sink.send(delivery(live_token(1)))).status is Status.SENT
    assert stage.simulator.oauth.minted == 3


@pytest.mark.parametrize(
    "account",
    [
        {"client_email": "nobody@acme-shop.iam.gserviceaccount.com"},
        {"private_key": "not a key"},
        {"private_key": None},
    ],
)
async def test_a_bad_service_account_is_rejected(stage: Stage, account: dict[str, Any]) -> None:
    """invalid_grant or an unreadable key is our configuration, not FCM's weather."""
    sink = await stage.sink(account=account)
    answer = await sink.send(delivery(live_token(1)))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.BAD_CREDENTIALS)
    assert answer.provider_reason
    assert stage.simulator.requests == 0


async def test_a_token_endpoint_out_of_order_is_left_alone_for_a_while(stage: Stage) -> None:
    """Sends are retried, the endpoint is asked once, and works again after the pause."""
    sink = await stage.sink()
    stage.simulator.oauth.status = 503
    first = await sink.send(delivery(live_token(1)))
    assert (first.status, first.reason) == (Status.RETRY, Reason.NOT_CONNECTED)
    assert first.retry_after_s == 5.0
    stage.simulator.oauth.status = 200
    assert (await sink.send(delivery(live_token(1)))).status is Status.RETRY
    stage.clock.now_s += 5
    assert (await sink.send(delivery(live_token(1)))).status is Status.SENT


async def test_an_unreachable_token_endpoint_is_retried(stage: Stage) -> None:
    """Nothing left for FCM, so nothing can be lost or doubled."""
    sink = await stage.sink(account={"token_uri": "http://127.0.0.1:1/token"})
    answer = await sink.send(delivery(live_token(1)))
    assert (answer.status, answer.reason) == (Status.RETRY, Reason.NOT_CONNECTED)


async def test_an_unreachable_fcm_is_retried(stage: Stage) -> None:
    """A connection that never came about is NOT_CONNECTED."""
    sink = await stage.sink(base_url="http://127.0.0.1:1")
    answer = await sink.send(delivery(live_token(1)))
    assert (answer.status, answer.reason) == (Status.RETRY, Reason.NOT_CONNECTED)


@pytest.mark.parametrize("project", ["other-project", "no-such-project"])
async def test_a_wrong_project_never_touches_the_token(stage: Stage, project: str) -> None:
    """403 and 404 without FCM's own code are configuration."""
    answer = await (await stage.sink(project=project)).send(delivery(live_token(1)))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.BAD_CONFIG)
    assert answer.token_action is TokenAction.KEEP


async def test_an_unknown_app_is_rejected(stage: Stage) -> None:
    """Without credentials nothing is sent, and the answer names the app."""
    answer = await (await stage.sink()).send(delivery(live_token(1), app="no-such-app"))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.UNKNOWN_APP)
    assert "no-such-app" in answer.provider_reason


async def test_validate_only_delivers_nothing(stage: Stage) -> None:
    """FCM answers as if it had sent; its counters say that it did not."""
    sink = await stage.sink(validate_only=True)
    assert (await sink.send(delivery(live_token(1)))).status is Status.SENT
    assert (await sink.send(delivery(dead_token(1)))).reason is Reason.TOKEN_UNREGISTERED
    assert stage.simulator.accepted == 0


async def test_a_wrong_content_costs_no_request(stage: Stage) -> None:
    """What FCM would refuse is refused before it leaves."""
    sink = await stage.sink()
    answer = await sink.send(delivery(live_token(1), Content("T", data={"from": "x"})))
    assert answer.status is Status.REJECTED
    assert stage.simulator.requests == 0


async def test_a_full_override_passes_the_strict_schema(stage: Stage) -> None:
    """What our own check lets through, the simulator's independent check accepts too."""
    override = {
        "android": {
            "ttl": "3.5s",
            "priority": "high",
            "direct_boot_ok": True,
            "notification": {
                "channel_id": "orders",
                "vibrate_timings": ["0.5s", "1s"],
                "notification_count": 3,
                "event_time": "2026-01-31T08:00:00Z",
                "light_settings": {
                    "color": {"red": 1, "green": 0.5},
                    "light_on_duration": "1s",
                    "light_off_duration": "1s",
                },
            },
        },
        "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"badge": 1}}},
        "webpush": {"notification": {"actions": [{"action": "a", "title": "A"}]}},
        "fcm_options": {"analytics_label": "spring"},
    }
    content = Content("T", "B", "https://e.x/i.png", "https://e.x", {"a": "b"}, override)
    answer = await (await stage.sink()).send(delivery(live_token(1), content))
    assert answer.status is Status.SENT


async def test_the_counters_are_on_http(stage: Stage) -> None:
    """GET /sandbox/stats counts accepted, requested and rejected by scenario."""
    sink = await stage.sink()
    for token in (live_token(1), dead_token(1), dead_token(2)):
        await sink.send(delivery(token))
    async with httpx.AsyncClient(trust_env=False) as client:
        stats = json.loads((await client.get(f"{stage.base_url}/sandbox/stats")).content)
    assert stats == {"accepted": 1, "requests": 3, "rejected": {"UNREGISTERED": 2}}
