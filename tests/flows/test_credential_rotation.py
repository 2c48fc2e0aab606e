"""deliver takes up a new credential while it runs: the provider knows the new key alone."""

import asyncio
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from flow_harness import Runner, Stores

from flows.clock import wall_ms
from sandbox.apns import ApnsSimulator
from sandbox.tls import CA_FILE, make_tls
from schemas import metrics
from schemas.credentials import SealedCredential
from schemas.definitions import Definition, Kind
from schemas.outcomes import Reason, Status
from schemas.pipeline import Content, Delivery, Outcome, Platform, Priority
from schemas.stream import Record
from schemas.topics import DELIVERIES, OUTCOMES
from sinks.sealing import KeyRing
from state.definitions import RedisDefinitions
from state.redis_client import RedisClient

MASTER = bytes(range(32))
APP = {
    "platform": "apns",
    "team_id": "TEAM000001",
    "key_id": "KEY0000001",
    "topic": "com.a",
    "private_key": {"sealed": True},
}


def new_key() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private.decode(), public.decode()


class Apns:
    """A simulator in a thread of its own, that knows one key."""

    def __init__(self, public: str, directory: Path) -> None:
        tls, _ca = make_tls(directory)
        self.simulator = ApnsSimulator(
            {"KEY0000001": ("TEAM000001", public)}, {"TEAM000001": {"com.a"}}
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self.simulator.start(tls=tls), self._loop)
        self.settings = {
            "apns_production_url": f"https://127.0.0.1:{started.result(10)}",
            "ca_file": directory / CA_FILE,
        }

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.simulator.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class World:
    """Stores with a tenant whose app has a sealed key."""

    def __init__(self, stores: Stores, directory: Path) -> None:
        self.stores = stores
        self.old, _ = new_key()
        self.new, public = new_key()
        self.apns = Apns(public, directory)
        self._client = RedisClient(stores.redis_url)
        self.settings = stores.settings(
            providers=self.apns.settings,
            security={"master_key": b64encode(MASTER).decode()},
        )
        path = self.settings.tenants_dir / "acme.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "apps": {"ios": APP}}))

    def set(self, secret: str) -> None:
        """Set the credential, as the registry does with what the API puts."""
        body = SealedCredential(
            platform=Platform.APNS,
            envelope=KeyRing([MASTER]).seal(secret.encode(), tenant="acme", app="ios"),
            fingerprint="SHA256:x",
            set_at=datetime.now(UTC),
            set_by="key:k1",
        )
        raw = body.model_dump_json().encode()
        one = Definition(Kind.CREDENTIAL, "acme", "ios", 1, raw, wall_ms())
        RedisDefinitions(self._client).apply([one])

    def send(self, number: int) -> None:
        now = wall_ms()
        one = Delivery(
            delivery_id=f"6f1c9d5e-0d0b-4f6d-9f3e-{number:012x}",
            message_id=f"m{number}",
            tenant="acme",
            app="ios",
            user_id="u",
            device_id="d",
            platform=Platform.APNS,
            priority=Priority.HIGH,
            category="transactional",
            type="t",
            token=f"{number:064x}",
            content=msgspec.msgpack.encode(Content(title="t", body="b")),
            accepted_at_ms=now,
            created_at_ms=now,
            registered_at_ms=1,
        )
        topic = DELIVERIES[Platform.APNS, Priority.HIGH]
        self.stores.put([Record(topic, b"u", msgspec.msgpack.encode(one))])

    def changes(self) -> float:
        found: Any = metrics.CREDENTIALS_CHANGED.labels("acme", "ios")
        return float(found._value.get())

    def close(self) -> None:
        self._client.close()
        self.apns.stop()


@pytest.fixture
def world(stores: Stores, tmp_path: Path) -> Iterator[World]:
    """Give the stores, and APNs."""
    made = World(stores, tmp_path / "apns")
    yield made
    made.close()


def test_the_next_message_goes_out_with_the_new_key(world: World) -> None:
    """One run, no restart: refused with the old key, sent with the new one."""
    world.set(world.old)
    world.send(1)
    simulator, before = world.apns.simulator, world.changes()
    steps = iter(
        [
            (lambda: sum(simulator.rejected.values()) == 1, lambda: world.set(world.new)),
            (lambda: world.changes() > before, lambda: world.send(2)),
            (lambda: simulator.accepted == 1, lambda: None),
        ]
    )
    step = next(steps, None)

    def done() -> bool:
        nonlocal step
        if step is not None and step[0]():
            step[1]()
            step = next(steps, None)
        return step is None

    Runner(world.settings, "deliver", Platform.APNS).run(until=done)
    found = {one.message_id: (one.status, one.reason) for one in outcomes(world)}
    assert found == {
        "m1": (Status.REJECTED, Reason.BAD_CREDENTIALS),
        "m2": (Status.SENT, Reason.ACCEPTED),
    }


def outcomes(world: World) -> list[Outcome]:
    found: list[Outcome] = world.stores.decoded(OUTCOMES, Outcome)
    return found
