"""The APNs simulator's faithfulness: a client nobody here wrote, and each of its checks."""

import ssl
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.apns import ApnsSimulator, dead_token, scenario_token
from sandbox.apns_scenarios import SCENARIOS, read_scenario
from sandbox.http_types import Connection, Request, Response
from sandbox.tls import make_tls

NOW_S = 1_800_000_000
TOKEN = "ab" * 32


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


PRIVATE_PEM, PUBLIC_PEM = make_key()
OTHER_PEM, OTHER_PUBLIC_PEM = make_key()


@pytest.fixture
async def aioapns_client() -> AsyncIterator[tuple[APNs, ApnsSimulator]]:
    """Point aioapns, with its own TLS, HTTP/2 and JWT code, at a simulator on the wall clock."""
    simulator = ApnsSimulator({"KEY": ("TEAM", PUBLIC_PEM)}, {"TEAM": {"com.x"}})
    tls, ca_pem = make_tls()
    port = await simulator.start(tls=tls)
    context = ssl.create_default_context(cadata=ca_pem.decode())
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=PRIVATE_PEM,
        key_id="KEY",
        team_id="TEAM",
        topic="com.x",
        ssl_context=context,
        max_connection_attempts=1,
    )

    class Local(APNsTLSClientProtocol):
        APNS_SERVER = "localhost"
        APNS_PORT = port

    client.pool.protocol_class = Local
    yield client, simulator
    client.pool.close()
    await simulator.stop()


async def test_aioapns_is_accepted(aioapns_client: tuple[APNs, ApnsSimulator]) -> None:
    """A client built for Apple's servers sends to the simulator unchanged."""
    client, simulator = aioapns_client
    for push_type in (None, PushType.ALERT):
        notification = NotificationRequest(
            device_token=TOKEN,
            message={"aps": {"alert": "hello"}},
            push_type=push_type,
            time_to_live=60,
            collapse_key="k",
        )
        answer = await client.send_notification(notification)
        assert (answer.is_successful, answer.status) == (True, "200")
        assert answer.notification_id == notification.notification_id
    assert (simulator.accepted, simulator.requests) == (2, 2)


async def test_aioapns_is_refused(aioapns_client: tuple[APNs, ApnsSimulator]) -> None:
    """It reads the simulator's refusals as Apple's: status, reason and timestamp."""
    client, _ = aioapns_client
    message = {"aps": {"alert": "hello"}}
    gone = await client.send_notification(
        NotificationRequest(device_token=dead_token(1, 1_700_000_000_123), message=message),
    )
    assert (gone.status, gone.description, gone.timestamp) == (
        "410",
        "Unregistered",
        1_700_000_000_123,
    )
    bad = await client.send_notification(
        NotificationRequest(device_token="x" * 64, message=message)
    )
    assert (bad.status, bad.description) == ("400", "BadDeviceToken")
    topic = await client.send_notification(
        NotificationRequest(device_token=TOKEN, message=message, apns_topic="com.other"),
    )
    assert (topic.status, topic.description) == ("400", "TopicDisallowed")


class Asker:
    """Asks the simulator's handler directly, on one connection at a set time."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self.simulator = ApnsSimulator(
            {"KEY": ("TEAM", PUBLIC_PEM), "KEY2": ("TEAM", OTHER_PUBLIC_PEM)},
            {"TEAM": {"com.x"}},
            lambda: self.now_s,
        )
        self.connection = Connection("2")

    def bearer(self, **changes: Any) -> str:
        options: dict[str, Any] = {
            "iss": "TEAM",
            "iat": self.now_s,
            "kid": "KEY",
            "key": PRIVATE_PEM,
        }
        options |= changes
        claims = {name: options[name] for name in ("iss", "iat") if options[name] is not None}
        token = jwt.encode(
            claims,
            options["key"],
            algorithm=options.get("alg", "ES256"),
            headers={"kid": options["kid"]},
        )
        return f"bearer {token}"

    def ask(
        self,
        *,
        path: str = f"/3/device/{TOKEN}",
        method: str = "POST",
        body: bytes = b'{"aps":{}}',
        duplicates: frozenset[str] = frozenset(),
        version: str = "2",
        **changes: str | None,
    ) -> Response:
        """Ask with good headers except for these changes (_ for -, None: left out)."""
        headers: dict[str, str | None] = {
            "authorization": "",
            "apns-topic": "com.x",
            "apns-push-type": "alert",
            "apns-id": str(uuid.UUID(int=7)),
        }
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        if headers["authorization"] == "":
            headers["authorization"] = self.bearer()
        kept = {name: value for name, value in headers.items() if value is not None}
        return self.simulator.handle(
            Request(method, path, kept, body, version, self.connection, duplicates),
        )

    def reason(self, **changes: Any) -> str:
        """Ask, and give the reason of the refusal, or nothing."""
        response = self.ask(**changes)
        return str(msgspec.json.decode(response.body)["reason"]) if response.body else ""


@pytest.fixture
def asker() -> Asker:
    return Asker()


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"method": "GET"}, 405, "MethodNotAllowed"),
        ({"path": "/4/device/x"}, 404, "BadPath"),
        ({"path": "/3/device/"}, 400, "MissingDeviceToken"),
        ({"path": "/3/device/" + "a" * 63}, 400, "BadDeviceToken"),
        ({"path": "/3/device/" + "a" * 201}, 400, "BadDeviceToken"),
        ({"path": "/3/device/" + "g" * 64}, 400, "BadDeviceToken"),
        ({"duplicates": frozenset({"apns-id"})}, 400, "DuplicateHeaders"),
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"authorization": "bearer x.y.z"}, 403, "InvalidProviderToken"),
        ({"authorization": "basic abc"}, 403, "InvalidProviderToken"),
        ({"apns_topic": None}, 400, "MissingTopic"),
        ({"apns_topic": "com.y"}, 400, "TopicDisallowed"),
        ({"apns_topic": "com x"}, 400, "BadTopic"),
        ({"apns_push_type": "voip"}, 400, "BadTopic"),
        ({"apns_topic": "com.x.voip"}, 400, "TopicDisallowed"),
        ({"apns_push_type": "email"}, 400, "InvalidPushType"),
        ({"apns_id": "7"}, 400, "BadMessageId"),
        ({"apns_collapse_id": "x" * 65}, 400, "BadCollapseId"),
        ({"apns_priority": "7"}, 400, "BadPriority"),
        ({"apns_push_type": "background", "apns_priority": "10"}, 400, "BadPriority"),
        ({"apns_expiration": "-1"}, 400, "BadExpirationDate"),
        ({"apns_expiration": "tomorrow"}, 400, "BadExpirationDate"),
        ({"body": b""}, 400, "PayloadEmpty"),
        ({"body": b'{"aps":{"x":"' + b"x" * 4096 + b'"}}'}, 413, "PayloadTooLarge"),
        ({"body": b"{"}, 400, "BadRequestPayload"),
        ({"body": b"[]"}, 400, "BadRequestPayload"),
        ({"body": b'{"apps":{}}'}, 400, "BadRequestPayload"),
    ],
)
def test_each_check(asker: Asker, changes: dict[str, Any], status: int, reason: str) -> None:
    """A request wrong in one thing is refused for that thing, and counted."""
    response = asker.ask(**changes)
    assert (response.status, msgspec.json.decode(response.body)) == (status, {"reason": reason})
    assert asker.simulator.rejected == {reason: 1}
    assert asker.simulator.accepted == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"apns_push_type": None},
        {"apns_push_type": "voip", "apns_topic": "com.x.voip", "body": b'{"aps":{}}' + b" " * 5000},
        {"apns_push_type": "background", "apns_priority": "5"},
        {"apns_push_type": "mdm", "body": b'{"mdm":"x"}'},
        {"apns_collapse_id": "x" * 64, "apns_priority": "1", "apns_expiration": "0"},
        {"path": "/3/device/" + "AB" * 100},
    ],
)
def test_what_is_accepted(asker: Asker, changes: dict[str, Any]) -> None:
    """Good requests are accepted with their apns-id and an empty body."""
    response = asker.ask(**changes)
    assert (response.status, response.body) == (200, b"")
    assert response.headers["apns-id"] == str(uuid.UUID(int=7))


def test_apns_id_is_made_when_omitted(asker: Asker) -> None:
    """Without an apns-id the answer carries a new one."""
    made = asker.ask(apns_id=None).headers["apns-id"]
    assert str(uuid.UUID(made)) == made


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kid": "NOKEY"}, "InvalidProviderToken"),
        ({"iss": "OTHER"}, "InvalidProviderToken"),
        ({"iss": None}, "InvalidProviderToken"),
        ({"iat": None}, "InvalidProviderToken"),
        ({"iat": NOW_S + 1000}, "InvalidProviderToken"),
        ({"iat": NOW_S - 3601}, "ExpiredProviderToken"),
        ({"key": OTHER_PEM}, "InvalidProviderToken"),
        ({"key": "x" * 40, "alg": "HS256"}, "InvalidProviderToken"),
        ({"iat": NOW_S - 3600}, ""),
    ],
)
def test_provider_tokens(asker: Asker, changes: dict[str, Any], reason: str) -> None:
    """Signature, algorithm, key, team and age of the token are all checked."""
    assert asker.reason(authorization=asker.bearer(**changes)) == reason


def test_token_expires_on_its_connection(asker: Asker) -> None:
    """A token that was good an hour ago no longer is, remembered or not."""
    token = asker.bearer()
    assert asker.reason(authorization=token) == ""
    asker.now_s += 3601
    assert asker.reason(authorization=token) == "ExpiredProviderToken"


def test_one_key_a_connection(asker: Asker) -> None:
    """Another key on a connection is unrelated; on a new one it is good."""
    assert asker.reason() == ""
    other = asker.bearer(kid="KEY2", key=OTHER_PEM)
    assert asker.reason(authorization=other) == "UnrelatedKeyIdInToken"
    asker.connection = Connection("2")
    assert asker.reason(authorization=other) == ""


def test_too_many_token_updates(asker: Asker) -> None:
    """A second token within 20 minutes is refused; after that it is taken."""
    assert asker.reason() == ""
    asker.now_s += 1199
    second = asker.bearer()
    assert asker.reason(authorization=second) == "TooManyProviderTokenUpdates"
    asker.now_s += 1
    assert asker.reason(authorization=second) == ""


def test_http1_is_cut(asker: Asker) -> None:
    """Apple speaks HTTP/2 only."""
    assert asker.ask(version="1.1").action.value == "close"


def test_scenario_tokens_read_back() -> None:
    """Scenario tokens look like device tokens, differ by seed and say what they ask for."""
    for name in SCENARIOS:
        first, second = scenario_token(name, 1), scenario_token(name, 2)
        assert len({first, second}) == 2
        assert len(first) == 64
        found = read_scenario(first.upper())
        assert found is not None
        assert found.name == name
    assert read_scenario(TOKEN) is None
    good = scenario_token("Unregistered", 1)
    assert read_scenario(good[:-1] + ("1" if good[-1] == "0" else "0")) is None
    assert read_scenario(good[:-1] + "x") is None
    with pytest.raises(ValueError, match="NoSuchReason"):
        scenario_token("NoSuchReason", 1)


async def test_stats() -> None:
    """GET /sandbox/stats counts what came, also over HTTP/1.1."""
    simulator = ApnsSimulator({}, {})
    port = await simulator.start()
    async with httpx.AsyncClient(http2=True, http1=False) as client:
        refused = await client.post(f"http://127.0.0.1:{port}/3/device/{TOKEN}", content=b"{}")
    assert refused.json() == {"reason": "MissingProviderToken"}
    async with httpx.AsyncClient() as client:
        stats = await client.get(f"http://127.0.0.1:{port}/sandbox/stats")
    assert stats.json() == {"accepted": 0, "requests": 1, "rejected": {"MissingProviderToken": 1}}
    await simulator.stop()
