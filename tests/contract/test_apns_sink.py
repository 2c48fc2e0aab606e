"""The APNs sink against the strict simulator, over TLS and HTTP/2."""

import asyncio
import csv
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.apns import ApnsSimulator, dead_token, scenario_token
from sandbox.apns_scenarios import CLOSE, GOAWAY, GOAWAY_ERROR, HANG, RESET, SLOW, UNLISTED
from sandbox.http_server import Request, Response
from sandbox.tls import make_tls
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, Content, Delivery, Platform, Priority
from sinks.apns import ApnsSink
from sinks.apns_reasons import verdict
from sinks.credentials import ApnsCredential, Credentials
from sinks.port import Sink

NOW_S = 1_800_000_000.0
DIED_AT_MS = 1_799_000_000_000
FACTS = Path(__file__).parents[1] / "data" / "apns_reasons.csv"

with FACTS.open(encoding="utf-8", newline="") as file:
    ROWS = [row for row in csv.DictReader(file) if row["reason"]]

counter = itertools.count(1)


def make_key() -> tuple[str, bytes]:
    """Make a P-256 key: private PKCS#8 PEM and public PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    return private_pem.decode(), public_pem


class Recorder(ApnsSimulator):
    """The simulator, remembering what it was asked."""

    seen: list[Request]

    def handle(self, request: Request) -> Response:
        self.seen.append(request)
        return super().handle(request)


class World:
    """A simulator and a sink that talks to it, with one clock."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        private_a, public_a = make_key()
        private_b, public_b = make_key()
        self.simulator = Recorder(
            {"KEYA": ("TEAMA", public_a), "KEYB": ("TEAMB", public_b)},
            {"TEAMA": {"com.a", "com.a2"}, "TEAMB": {"com.b"}},
            lambda: self.now_s,
            slow_s=0.05,
            ids_kept=100,
        )
        self.simulator.seen = []
        self.credentials = Credentials(
            {
                ("t", "a"): ApnsCredential("TEAMA", "KEYA", private_a, "com.a"),
                ("t", "a2"): ApnsCredential("TEAMA", "KEYA", private_a, "com.a2"),
                ("t", "b"): ApnsCredential("TEAMB", "KEYB", private_b, "com.b"),
                ("t", "wrong-topic"): ApnsCredential("TEAMA", "KEYA", private_a, "com.other"),
                ("t", "wrong-team"): ApnsCredential("TEAMB", "KEYA", private_a, "com.b"),
                ("t", "wrong-key"): ApnsCredential("TEAMA", "KEYA", private_b, "com.a"),
                ("t", "no-key"): ApnsCredential("TEAMA", "KEYA", "nonsense", "com.a"),
            },
        )
        self.sink: ApnsSink

    async def start(self) -> None:
        tls, ca_pem = make_tls()
        port = await self.simulator.start(tls=tls)
        self.sink = ApnsSink(
            credentials=self.credentials,
            now=lambda: self.now_s,
            production_url=f"https://127.0.0.1:{port}",
            sandbox_url="https://127.0.0.1:1",
            ca_pem=ca_pem,
            connections=2,
            request_timeout_s=1.0,
        )
        await self.sink.open()

    async def stop(self) -> None:
        await self.sink.close()
        await self.simulator.stop()

    async def send(self, token: str = "", **changes: Any) -> Answer:
        number = next(counter)
        fields: dict[str, Any] = {
            "delivery_id": f"6f1c9d5e-0d0b-4f6d-9f3e-{number:012x}",
            "message_id": "m",
            "tenant": "t",
            "app": "a",
            "user_id": "u",
            "device_id": "d",
            "platform": Platform.APNS,
            "priority": Priority.NORMAL,
            "category": "c",
            "type": "x",
            "token": token or f"{number:064x}",
            "content": msgspec.msgpack.encode(Content(title="t", body="b")),
            "accepted_at_ms": 1,
            "created_at_ms": 1,
            "registered_at_ms": 1,
        }
        return await self.sink.send(Delivery(**fields | changes))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Start a simulator and a sink."""
    made = World()
    await made.start()
    yield made
    await made.stop()


async def test_accepted(world: World) -> None:
    """A sent delivery is SENT, with its own id as apns-id and all headers in place."""
    sink: Sink = world.sink
    assert sink.platform is Platform.APNS
    delivery_id = "6F1C9D5E-0d0b-4f6d-9f3e-2f4cf6f6a111".lower()
    answer = await world.send(
        delivery_id=delivery_id,
        collapse_key="score",
        expires_at_ms=1_900_000_000_000,
    )
    assert answer == Answer(Status.SENT, Reason.ACCEPTED, 200, provider_id=delivery_id)
    headers = world.simulator.seen[-1].headers
    assert headers["apns-topic"] == "com.a"
    assert headers["apns-collapse-id"] == "score"
    assert headers["apns-expiration"] == "1900000000"
    assert (world.simulator.accepted, list(world.simulator.accepted_ids)) == (1, [delivery_id])


@pytest.mark.parametrize("row", ROWS, ids=[row["reason"] for row in ROWS])
async def test_every_refusal(world: World, row: dict[str, str]) -> None:
    """Each row of Apple's table arrives over the wire as its verdict, with Apple's own word."""
    reason, status = row["reason"], int(row["status"])
    answer = await world.send(scenario_token(reason, 1))
    expected = verdict(status, reason)
    assert (answer.status, answer.reason) == (expected.status, expected.reason)
    assert (answer.provider_status, answer.provider_reason) == (status, reason)
    assert answer.token_action is expected.token_action
    assert bool(answer.token_invalid_at_ms) == (status == 410)
    if reason == "ExpiredProviderToken":  # the token is fresh: no new one for 20 minutes
        assert answer.retry_after_s == 1200.0
    else:
        assert answer.retry_after_s == expected.retry_after_s
    assert world.simulator.rejected == {reason: 1}
    assert (await world.send()).status is Status.SENT


async def test_dead_token_and_its_time(world: World) -> None:
    """A 410 deletes the token as of Apple's time; a device registered later survives."""
    before = await world.send(dead_token(1, DIED_AT_MS), registered_at_ms=DIED_AT_MS)
    assert (before.token_action, before.token_invalid_at_ms) == (TokenAction.DELETE, DIED_AT_MS)
    after = await world.send(dead_token(1, DIED_AT_MS), registered_at_ms=DIED_AT_MS + 1)
    assert (after.status, after.reason) == (Status.FAILED, Reason.TOKEN_UNREGISTERED)
    assert (after.token_action, after.token_invalid_at_ms) == (TokenAction.KEEP, DIED_AT_MS)


async def test_410_without_time_only_suspects(world: World) -> None:
    """Without Apple's timestamp no token is deleted."""
    answer = await world.send(dead_token(1, 0))
    assert (answer.token_action, answer.token_invalid_at_ms) == (TokenAction.SUSPECT, 0)


async def test_unlisted_reason_is_kept(world: World) -> None:
    """A reason nobody lists is rejected with its text."""
    answer = await world.send(scenario_token(UNLISTED, 1))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.UNLISTED)
    assert answer.provider_reason == UNLISTED


async def test_body_that_is_no_json_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's page is no refusal of the message; what it says is cut to 200 characters."""
    page = Response(502, body=b"<html>" + b"x" * 500)
    monkeypatch.setattr(world.simulator, "_play", lambda *_: page)
    answer = await world.send(scenario_token(SLOW, 1))
    assert (answer.status, answer.reason) == (Status.RETRY, Reason.PROVIDER_UNAVAILABLE)
    assert answer.provider_reason == "<html>" + "x" * 194


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        (RESET, Reason.CONNECTION_LOST),
        (CLOSE, Reason.CONNECTION_LOST),
        (HANG, Reason.PROVIDER_TIMEOUT),
    ],
)
async def test_lost_after_sending_is_unknown(world: World, scenario: str, reason: Reason) -> None:
    """No answer after the request left is UNKNOWN, and the next delivery goes through."""
    answer = await world.send(scenario_token(scenario, 1))
    assert (answer.status, answer.reason) == (Status.UNKNOWN, reason)
    assert (answer.provider_status, answer.retry_after_s) == (0, None)
    assert (await world.send()).status is Status.SENT


@pytest.mark.parametrize("scenario", [GOAWAY, GOAWAY_ERROR, SLOW])
async def test_trouble_with_an_answer_is_sent(world: World, scenario: str) -> None:
    """An acceptance stands, however the connection goes on; later deliveries reconnect."""
    for seed in range(3):
        assert (await world.send(scenario_token(scenario, seed))).status is Status.SENT
    assert (await world.send()).status is Status.SENT
    assert world.simulator.accepted == 4


async def test_nobody_listens_is_retried(world: World) -> None:
    """A refused connection is RETRY: nothing left."""
    answer = await world.send(environment="sandbox")
    assert (answer.status, answer.reason) == (Status.RETRY, Reason.NOT_CONNECTED)
    assert "refused" in answer.provider_reason


async def test_many_at_once(world: World) -> None:
    """Deliveries sent together, good and bad, each get their own answer."""
    tokens = [dead_token(n, DIED_AT_MS) if n % 3 == 0 else "" for n in range(90)]
    answers = await asyncio.gather(*(world.send(token) for token in tokens))
    for token, answer in zip(tokens, answers, strict=True):
        assert answer.status is (Status.FAILED if token else Status.SENT)
    assert (world.simulator.accepted, world.simulator.requests) == (60, 90)
    assert len({request.connection for request in world.simulator.seen}) == 2


async def test_token_is_signed_once_for_all(world: World) -> None:
    """All deliveries of one key carry one token until 50 minutes have passed."""

    async def tokens_used() -> set[str]:
        world.simulator.seen.clear()
        await asyncio.gather(*(world.send(app=app) for app in ("a", "a2") for _ in range(10)))
        return {request.headers["authorization"] for request in world.simulator.seen}

    first = await tokens_used()
    world.now_s += 2999
    assert await tokens_used() == first
    assert len(first) == 1
    world.now_s += 1
    second = await tokens_used()
    assert len(second) == 1
    assert second != first


async def test_expired_token_is_replaced(world: World) -> None:
    """ExpiredProviderToken means an attempt at once with a new token, which is accepted."""
    assert (await world.send()).status is Status.SENT
    world.now_s += 1500
    refused = await world.send(scenario_token("ExpiredProviderToken", 1))
    assert (refused.status, refused.reason) == (Status.RETRY, Reason.CREDENTIAL_EXPIRED)
    assert refused.retry_after_s == 0.0
    assert (await world.send()).status is Status.SENT
    assert len({request.headers["authorization"] for request in world.simulator.seen}) == 2


async def test_keys_never_share_a_connection(world: World) -> None:
    """Two teams' deliveries are all accepted: each key has connections of its own."""
    answers = await asyncio.gather(*(world.send(app=app) for app in "ab" * 10))
    assert {answer.status for answer in answers} == {Status.SENT}
    keys_on: dict[object, set[str]] = {}
    for request in world.simulator.seen:
        keys_on.setdefault(request.connection, set()).add(request.headers["authorization"])
    assert all(len(keys) == 1 for keys in keys_on.values())
    assert len(keys_on) == 4


@pytest.mark.parametrize(
    ("app", "reason", "word"),
    [
        ("wrong-topic", Reason.BAD_CONFIG, "TopicDisallowed"),
        ("wrong-team", Reason.BAD_CREDENTIALS, "InvalidProviderToken"),
        ("wrong-key", Reason.BAD_CREDENTIALS, "InvalidProviderToken"),
    ],
)
async def test_wrong_configuration(world: World, app: str, reason: Reason, word: str) -> None:
    """A wrong topic, team or key is rejected as such; no device token is touched."""
    answer = await world.send(app=app)
    assert (answer.status, answer.reason) == (Status.REJECTED, reason)
    assert (answer.provider_reason, answer.token_action) == (word, TokenAction.KEEP)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"app": "missing"}, Reason.UNKNOWN_APP),
        ({"tenant": "missing"}, Reason.UNKNOWN_APP),
        ({"app": "no-key"}, Reason.BAD_CREDENTIALS),
        ({"environment": "moon"}, Reason.BAD_CONFIG),
        ({"delivery_id": "a\r\nb: c"}, Reason.BAD_REQUEST),
        ({"content": b"\xff"}, Reason.BAD_REQUEST),
        (
            {"content": msgspec.msgpack.encode(Content(body="x" * 5000))},
            Reason.PAYLOAD_TOO_LARGE,
        ),
    ],
)
async def test_rejected_without_a_request(
    world: World,
    changes: dict[str, Any],
    reason: Reason,
) -> None:
    """What Clarion itself finds wrong costs no request and says why."""
    answer = await world.send(**changes)
    assert (answer.status, answer.reason) == (Status.REJECTED, reason)
    assert answer.provider_reason
    assert world.simulator.requests == 0


@pytest.mark.parametrize("token", ["zz" * 32, "ab", "../../sandbox/stats", "a b?c#d", "ü" * 40])
async def test_malformed_tokens_stay_in_their_place(world: World, token: str) -> None:
    """A malformed token is BadDeviceToken to Apple and can reach no other path."""
    answer = await world.send(token)
    assert (answer.reason, answer.token_action) == (Reason.TOKEN_INVALID, TokenAction.SUSPECT)
    (request,) = world.simulator.seen
    assert request.path.startswith("/3/device/")
    assert request.path.count("/") == 3


@pytest.mark.parametrize(
    "push_type",
    [
        "alert",
        "background",
        "voip",
        "complication",
        "fileprovider",
        "mdm",
        "liveactivity",
        "location",
        "pushtotalk",
        "widgets",
        "controls",
    ],
)
async def test_every_push_type_is_accepted(world: World, push_type: str) -> None:
    """What the payload builder makes of each push type passes the simulator's checks."""
    content = Content(title="t", override={"push_type": push_type})
    for priority in Priority:
        answer = await world.send(content=msgspec.msgpack.encode(content), priority=priority)
        assert answer.status is Status.SENT, answer


async def test_closed_sink_answers(world: World) -> None:
    """After close() a delivery is RETRY: it certainly did not leave."""
    await world.send()
    await world.sink.close()
    answer = await world.send()
    assert (answer.status, answer.reason) == (Status.RETRY, Reason.NOT_CONNECTED)
