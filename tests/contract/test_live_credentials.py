"""Credentials that change while a flow runs, with a simulator that takes only the newest key."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from structlog.testing import capture_logs

from flows.config import SecretReader
from flows.live_credentials import REREAD_ROUNDS, LiveCredentials
from sandbox.apns import ApnsSimulator
from sandbox.tls import make_tls
from schemas.credentials import SealedCredential
from schemas.definitions import Definition, Kind
from schemas.outcomes import Reason, Status
from schemas.pipeline import Content, Delivery, Platform, Priority
from schemas.tenant import Tenant
from sinks.apns import ApnsSink
from sinks.credentials import ApnsCredential, FcmCredential, UnknownAppError
from sinks.sealing import KeyRing
from state.definitions import Removed
from state.errors import StateUnavailableError
from state.memory import MemoryDefinitions

NOW_S = 1_796_000_000.0
MASTER = bytes(range(32))
FCM_URL = "https://fcm.googleapis.com"


def new_key() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private.decode(), public.decode()


def tenant(**apps: Any) -> Tenant:
    return Tenant.model_validate({"name": "acme", "categories": {"news": {}}, "apps": apps})


def ios(secret: dict[str, Any]) -> dict[str, Any]:
    return {
        "platform": "apns",
        "team_id": "TEAM000001",
        "key_id": "KEY0000001",
        "topic": "com.a",
        "private_key": secret,
    }


class Definitions(MemoryDefinitions):
    """In memory, and away when told so."""

    away = False

    def marks(self, kind: Kind, tenants: Any) -> list[str]:
        if self.away:
            raise StateUnavailableError("GET", "redis:6379", OSError("no answer"))
        return super().marks(kind, tenants)


class World:
    """Live credentials of an app, an APNs that knows one key, and a sink between them."""

    def __init__(self) -> None:
        self.definitions = Definitions()
        self.ring = KeyRing([MASTER])
        self.at_ms = 1
        self.live = self.make(tenant(ios=ios({"sealed": True})))

    def make(self, one: Tenant, **more: Any) -> LiveCredentials:
        given = {"ring": self.ring, "reader": SecretReader(environ={}), **more}
        platform = given.pop("platform", Platform.APNS)
        return LiveCredentials(
            {"acme": one}, platform, definitions=self.definitions, fcm_url=FCM_URL, **given
        )

    def put(self, secret: str, *, app: str = "ios", tenant: str = "acme") -> None:
        """Put a definition. tenant: for whom it is sealed, acme's it is in any case."""
        body = SealedCredential(
            platform=Platform.APNS,
            envelope=self.ring.seal(secret.encode(), tenant=tenant, app=app),
            fingerprint="SHA256:x",
            set_at=datetime(2026, 11, 30, tzinfo=UTC),
            set_by="key:k1",
        )
        self.at_ms += 1
        raw = body.model_dump_json().encode()
        self.definitions.apply([Definition(Kind.CREDENTIAL, "acme", app, 1, raw, self.at_ms)])

    def held(self) -> str:
        return self.live.credentials.get("acme", "ios", ApnsCredential).private_key_pem


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.live.stop()


async def simulator(public: str) -> tuple[ApnsSimulator, str, bytes]:
    made = ApnsSimulator(
        {"KEY0000001": ("TEAM000001", public)}, {"TEAM000001": {"com.a"}}, lambda: NOW_S
    )
    tls, ca_pem = make_tls()
    return made, f"https://127.0.0.1:{await made.start(tls=tls)}", ca_pem


def delivery() -> Delivery:
    return Delivery(
        delivery_id="6f1c9d5e-0d0b-4f6d-9f3e-000000000001",
        message_id="m",
        tenant="acme",
        app="ios",
        user_id="u",
        device_id="d",
        platform=Platform.APNS,
        priority=Priority.NORMAL,
        category="news",
        type="x",
        token="a" * 64,
        content=msgspec.msgpack.encode(Content(title="t", body="b")),
        accepted_at_ms=1,
        created_at_ms=1,
        registered_at_ms=1,
    )


async def test_the_next_request_is_signed_with_the_new_key(world: World) -> None:
    """The provider takes only the new key: refused before the change, sent after it."""
    old, _ = new_key()
    new, public = new_key()
    world.put(old)
    world.live.turn()
    provider, url, ca_pem = await simulator(public)
    sink = ApnsSink(
        credentials=world.live.credentials, now=lambda: NOW_S, production_url=url, ca_pem=ca_pem
    )
    await sink.open()
    before = await sink.send(delivery())
    assert (before.status, before.reason) == (Status.REJECTED, Reason.BAD_CREDENTIALS)
    world.put(new)
    world.live.turn()
    assert [(await sink.send(delivery())).status for _ in range(3)] == [Status.SENT] * 3
    await sink.close()
    await provider.stop()


@pytest.mark.parametrize("fault", ["another tenant's", "damaged", "no key"])
def test_what_does_not_open_leaves_the_one_before_in_use(world: World, fault: str) -> None:
    """Told once in the log, without the secret; mended by the next good one."""
    good, _ = new_key()
    world.put(good)
    world.live.turn()
    with capture_logs() as logs:
        if fault == "another tenant's":
            world.put(new_key()[0], tenant="rival")
        elif fault == "damaged":
            world.at_ms += 1
            bad = Definition(Kind.CREDENTIAL, "acme", "ios", 1, b"{}", world.at_ms)
            world.definitions.apply([bad])
        else:
            world.put("geheim")
        for _ in range(3):
            world.live.turn()
    assert world.held() == good
    assert len([one for one in logs if one["log_level"] == "error"]) == 1
    assert "geheim" not in str(logs)
    better, _ = new_key()
    world.put(better)
    world.live.turn()
    assert world.held() == better


def test_without_the_master_key_the_app_cannot_send(world: World) -> None:
    """Nothing is guessed: the app has no credential, and the log says why."""
    world.put(new_key()[0])
    live = world.make(tenant(ios=ios({"sealed": True})), ring=None)
    with capture_logs() as logs:
        live.turn()
    with pytest.raises(UnknownAppError):
        live.credentials.get("acme", "ios", ApnsCredential)
    assert "no master key" in logs[0]["why"]


def test_removed_is_not_used_any_more(world: World) -> None:
    """Who removes a credential means it."""
    world.put(new_key()[0])
    world.live.turn()
    world.definitions.apply([Removed(Kind.CREDENTIAL, "acme", "ios", world.at_ms + 1)])
    world.live.turn()
    with pytest.raises(UnknownAppError):
        world.held()


def test_an_absent_store_changes_nothing(world: World) -> None:
    """What was read before stays in use."""
    good, _ = new_key()
    world.put(good)
    world.live.turn()
    world.definitions.away = True
    world.live.turn()
    assert world.held() == good


def test_a_credential_is_the_same_object_until_it_changes(world: World) -> None:
    """Sinks keep connections and tokens as long."""
    world.put(new_key()[0])
    world.live.turn()
    first = world.live.credentials.get("acme", "ios", ApnsCredential)
    for _ in range(REREAD_ROUNDS + 1):
        world.live.turn()
    assert world.live.credentials.get("acme", "ios", ApnsCredential) is first


def test_a_file_is_read_again(world: World, tmp_path: Path) -> None:
    """And one that is damaged leaves the key before in use."""
    path = tmp_path / "key.p8"
    first, second = new_key()[0], new_key()[0]
    path.write_text(first)
    world.live = world.make(tenant(ios=ios({"file": str(path)})))
    world.live.start(lambda: None)
    world.live.stop()  # its turns are taken here
    for content, used in ((second, second), ("half a k", second), (first, first)):
        path.write_text(content)
        for _ in range(REREAD_ROUNDS):
            world.live.turn()
        assert world.held() == used


def test_a_flow_reads_the_secrets_of_its_own_platform_alone(world: World) -> None:
    """A process that was broken into has only those."""
    droid = {"platform": "fcm", "project_id": "my-app", "service_account": {"env": "NONE"}}
    both = tenant(ios=ios({"env": "KEY"}), droid=droid)
    reader = SecretReader(environ={"KEY": new_key()[0]})
    world.live = world.make(both, reader=reader)
    world.live.start(lambda: None)
    assert list(world.live.credentials.all()) == [("acme", "ios")]


def test_a_sealed_service_account_may_not_name_another_token_server(world: World) -> None:
    """Whoever can write definitions must not choose whom deliver calls."""
    key = rsa.generate_private_key(65_537, 2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@b", "private_key": pem, "token_uri": f"{FCM_URL}/token"}
    app = {"platform": "fcm", "project_id": "my-app", "service_account": {"sealed": True}}
    live = world.make(tenant(ios=app), platform=Platform.FCM)
    world.put(json.dumps(account))
    live.turn()
    assert live.credentials.get("acme", "ios", FcmCredential).project_id == "my-app"
    world.put(json.dumps({**account, "token_uri": "https://169.254.169.254/"}))
    live.turn()
    held = live.credentials.get("acme", "ios", FcmCredential)
    assert held.service_account["token_uri"] == f"{FCM_URL}/token"
