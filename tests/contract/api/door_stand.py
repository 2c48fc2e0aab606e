"""The API in this process: on a Valkey, with the registry's own steps behind the outbox.

Tests in this folder ask for `door`, `app`, `outbox`, `redis` and `as_caller`.
ClickHouse starts when a test first asks `door.clickhouse` for a client.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.auth.access import Access, UnauthenticatedError
from api.auth.limits import Verdict
from api.auth.signing import Signer
from api.publishing import PublishError
from api.web.app import create_app
from api.web.applied import Applied
from api.web.audit import Deed
from api.web.door import Door
from api.web.outbox import NotTakenError
from flows.config import SecretReader
from flows.list_upload import ListUpload
from operators.define import Define
from operators.profile_writer import WriteProfiles
from operators.registration import decode_registrations
from operators.segment_lists import WriteLists
from schemas import topics
from schemas.access import Principal, Role, priorities_of, scopes_of
from schemas.settings import load_settings
from schemas.stream import Record, Source
from schemas.tenant import Tenant
from sinks.sealing import KeyRing
from state.definitions import RedisDefinitions
from state.profiles import RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.tokens import RedisTokens
from state.uploads import RedisUploads
from tests.contract.api.clickhouse_stand import LazyClickHouse
from tests.unit.operators.builders import FakeMessage

NOW_MS = 1_796_000_000_000  # 2026-11-30
SECRET = b"s" * 32
CATEGORIES = {"news": {}, "alerts": {"quiet_hours": "ignore"}}
APPS = {
    "ios": {
        "platform": "apns",
        "team_id": "TEAM000001",
        "key_id": "KEY0000001",
        "topic": "com.example.app",
        "private_key": {"env": "IOS_KEY"},
    },
    "ipad": {
        "platform": "apns",
        "team_id": "TEAM000001",
        "key_id": "KEY0000001",
        "topic": "com.example.pad",
        "private_key": {"sealed": True},
    },
    "web": {
        "platform": "webpush",
        "subject": "mailto:ops@example.com",
        "private_key": {"env": "WEB_KEY"},
    },
}
LINKS = {"link_hosts": ["shop.example.com", "*.example.org"]}
TENANTS = {
    name: Tenant.model_validate(
        {"name": name, "shards": 4, "categories": CATEGORIES, "apps": APPS, "links": LINKS}
    )
    for name in ("acme", "rival")
}


_DOCUMENT: dict[str, Any] = {}


class AppliedOutbox:
    """Keeps what was put, applies it as the registry does, or refuses it.

    Its `put_now` also stands in for the blocking publisher.
    """

    def __init__(self, redis: RedisClient) -> None:
        self.records: list[Record] = []
        self.refuses = False
        self.applies = True
        self._offset = 0
        definitions = RedisDefinitions(redis)
        self._define = Define(definitions)
        self._lists = WriteLists(
            TENANTS, segments=RedisSegments(redis), uploads=RedisUploads(redis)
        )
        self._profiles = WriteProfiles(
            TENANTS,
            profiles=RedisProfiles(redis),
            tokens=RedisTokens(redis),
            segments=RedisSegments(redis),
        )

    async def put(self, records: Sequence[Record]) -> None:
        if self.refuses:
            raise NotTakenError("no broker")
        self.put_now(records)

    def put_now(self, records: Sequence[Record]) -> None:
        self.records += records
        if self.applies:
            for record in records:
                if record.topic in topics.REGISTRY:
                    self._apply(record)

    def _apply(self, record: Record) -> None:
        self._offset += 1
        message: Any = FakeMessage(
            record.value, Source(record.topic, 0, self._offset), record.key, NOW_MS + self._offset
        )
        changes, letters = decode_registrations([message], NOW_MS)
        assert not letters, letters
        self._profiles(self._lists(self._define(changes)))

    def list_upload(self, tenant: str, segment: str, upload: str) -> ListUpload:
        """Begin an upload, as Door.list_upload does."""

        def make(_settings: dict[str, Any]) -> Any:
            return BlockingProducer(self)

        return ListUpload({}, tenant=tenant, segment=segment, upload=upload, make_producer=make)

    def of(self, topic: str) -> list[Record]:
        """Give what was put on a topic."""
        return [record for record in self.records if record.topic == topic]

    async def ping(self) -> None:
        if self.refuses:
            raise NotTakenError("no broker")

    def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


class BlockingOutbox:
    """Stands in for Publisher."""

    def __init__(self, outbox: AppliedOutbox) -> None:
        self._outbox = outbox

    def put(self, records: Sequence[Record]) -> None:
        if self._outbox.refuses:
            raise PublishError("no broker")
        self._outbox.put_now(records)


class BlockingProducer:
    """Stands in for Kafka's producer: what it is given is applied before `produce` returns."""

    def __init__(self, outbox: AppliedOutbox) -> None:
        self._outbox = outbox

    def produce(
        self, topic: str, value: bytes | None, key: bytes, on_delivery: Callable[..., None]
    ) -> None:
        if self._outbox.refuses:
            on_delivery(NoBroker(), None)
        else:
            self._outbox.put_now([Record(topic, key, value)])

    def poll(self, _timeout_s: float) -> int:
        return 0

    def flush(self, _timeout_s: float) -> int:
        return 0


class NoBroker:
    """Stands in for KafkaError."""

    def str(self) -> str:
        return "no broker"


class MemoryTrail:
    """Keeps deeds in memory."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []
        self.counted: list[tuple[Deed, int]] = []

    async def keep(self, deed: Deed) -> None:
        self.deeds.append(deed)

    def count(self, deed: Deed, items: int) -> None:
        self.counted.append((deed, items))

    def used(self, principal: Principal, address: str, user_agent: str) -> None:
        """Keep no uses."""

    def refused(self, address: str) -> None:
        """Keep no refusals."""

    def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


class NoLimits:
    """Everybody may."""

    def take(self, principal: Principal, cost: int) -> Verdict | None:
        del principal, cost
        return Verdict({})

    async def lease(self, principal: Principal, cost: int) -> Verdict:
        return self.take(principal, cost) or Verdict({})

    async def take_events(self, principal: Principal, count: int) -> Verdict:
        del principal, count
        return Verdict({})


class TestProver:
    """Believes `Bearer test:<tenant>:<role>[:<user>[:<device>]]`; the role "none" may nothing."""

    __test__ = False

    def prove(self, credential: str) -> Principal | None:
        kind, *parts = credential.split(":")
        if kind != "test":
            return None
        tenant, role, *bound = parts
        if tenant not in TENANTS:
            raise UnauthenticatedError("no such tenant")
        user, device, *_ = [*bound, "", ""]
        roles = [] if role == "none" else [Role(role)]
        return Principal(
            tenant,
            "key",
            f"k-{role}",
            scopes_of(roles),
            priorities_of(roles),
            user_id=user,
            device_id=device,
        )


@pytest.fixture
def redis(redis_url: str) -> Iterator[RedisClient]:
    """Give an empty store."""
    client = RedisClient(redis_url)
    client.run("FLUSHALL")
    yield client
    client.close()


@pytest.fixture
def outbox(redis: RedisClient) -> AppliedOutbox:
    """Give the outbox whose registry records take effect at once."""
    return AppliedOutbox(redis)


@pytest.fixture
def door(redis: RedisClient, outbox: AppliedOutbox, clickhouse: LazyClickHouse) -> Door:
    """Give a door to two tenants, acme and rival."""
    publisher: Any = BlockingOutbox(outbox)
    return Door(
        settings=load_settings(),
        tenants=TENANTS,
        redis=redis,
        applied=Applied(RedisProfiles(redis)),
        definitions=RedisDefinitions(redis),
        outbox=outbox,
        publisher=lambda: publisher,
        clickhouse=clickhouse.client,
        list_upload=outbox.list_upload,
        access=Access([TestProver()], lambda: NOW_MS),
        limits=NoLimits(),
        signer=Signer([SECRET]),
        seals=KeyRing([SECRET]),
        secrets=SecretReader(),
        audit=MemoryTrail(),
        now_ms=lambda: NOW_MS,
        wall_ms=lambda: NOW_MS,
    )


@pytest.fixture
def app(door: Door) -> FastAPI:
    """Give the application. Its OpenAPI document is the same for all: it is made once."""
    made = create_app(door)
    document = made.openapi
    made.openapi = lambda: _DOCUMENT or _DOCUMENT.update(document()) or _DOCUMENT  # type: ignore[method-assign]
    return made


AsCaller = Callable[..., httpx.AsyncClient]


@pytest.fixture
def as_caller(app: FastAPI) -> AsCaller:
    """Give what makes clients: `as_caller("admin")`, `as_caller("device", user="u1")`."""

    def make(
        role: str = "", *, tenant: str = "acme", user: str = "", device: str = ""
    ) -> httpx.AsyncClient:
        credential = ":".join(part for part in ("test", tenant, role, user, device) if part)
        headers = {"Authorization": f"Bearer {credential}"} if role else {}
        # Errors of the application itself come out, instead of a 500.
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    return make
