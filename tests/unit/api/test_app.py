"""The HTTP door."""

import httpx
import pytest
from confluent_kafka import KafkaError, KafkaException

from api.app import create_app
from schemas.events import MAX_EVENT_BYTES, decode_event

EVENT = {
    "tenant": "acme",
    "type": "t",
    "category": "c",
    "priority": "critical",
    "audience": {"users": ["u1"]},
    "content": {"title": "Hi"},
}


class MemoryOutbox:
    """Keeps what was put, or refuses it."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, bytes]] = []
        self.failure: Exception | None = None

    async def put(self, topic: str, key: bytes, value: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.records.append((topic, key, value))

    async def run(self) -> None:
        """Nothing to serve."""


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


async def _post(outbox: MemoryOutbox, content: bytes | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(outbox))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        if content is None:
            return await client.post("/v1/events", json=EVENT)
        return await client.post("/v1/events", content=content)


async def test_an_event_is_put_on_its_priority_and_its_id_given_back(outbox: MemoryOutbox) -> None:
    """202 comes with the id that is on Kafka."""
    answer = await _post(outbox)
    assert answer.status_code == 202
    ((topic, key, value),) = outbox.records
    assert topic == "events.critical"
    assert decode_event(value).id == key.decode() == answer.json()["id"]


async def test_a_bad_event_is_a_problem_that_names_the_field(outbox: MemoryOutbox) -> None:
    """422 names each field; nothing is put."""
    answer = await _post(outbox, b'{"tenant": "acme"}')
    assert answer.status_code == 422
    assert "category" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert not outbox.records


async def test_a_body_over_the_limit_is_refused(outbox: MemoryOutbox) -> None:
    """413, without reading it whole into an event."""
    answer = await _post(outbox, b" " * (MAX_EVENT_BYTES + 1))
    assert answer.status_code == 413


async def test_what_kafka_does_not_take_is_503(outbox: MemoryOutbox) -> None:
    """No acknowledgement, no 202."""
    outbox.failure = KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
    answer = await _post(outbox)
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_acknowledged"
