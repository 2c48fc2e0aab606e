"""The batching producers against the API, through failures."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.client import (
    ApiError,
    AsyncClient,
    AsyncProducer,
    Batching,
    Client,
    ClosedError,
    FullError,
    NotDeliveredError,
    Producer,
)
from tests.contract.api.client_stand import (
    AT_ONCE,
    EVENT,
    KEY,
    async_client,
    kept,
    on_port,
    sync_client,
)
from tests.contract.api.door_stand import AppliedOutbox

FAULTS = ["503", "cut", "", "refused", "429", "502", "cut", ""]
SMALL = Batching(items=7, linger_s=0.001)


def events(count: int) -> list[dict[str, Any]]:
    return [{**EVENT, "id": str(n)} for n in range(count)]


def test_nothing_is_lost_or_doubled_through_failures(app: FastAPI, outbox: AppliedOutbox) -> None:
    """Every future has its event's id, and the pipeline sees each event once, in order."""
    with (
        on_port(app) as url,
        sync_client(url, *FAULTS) as client,
        Producer(client, batching=SMALL, retry=AT_ONCE) as producer,
    ):
        futures = [producer.send(one) for one in events(100)]
        assert producer.flush(timeout_s=60)
        assert [future.result(0).id for future in futures] == [str(n) for n in range(100)]
    assert kept(outbox) == [str(n) for n in range(100)]


async def test_nor_with_asyncio(app: FastAPI, outbox: AppliedOutbox) -> None:
    """The same, in the event loop."""
    async with (
        async_client(app, *FAULTS) as client,
        AsyncProducer(client, batching=SMALL, retry=AT_ONCE) as producer,
    ):
        futures = [await producer.send(one) for one in events(100)]
        results = await asyncio.gather(*futures)
    assert [one.id for one in results] == [str(n) for n in range(100)] == kept(outbox)


async def test_events_go_many_a_request(app: FastAPI) -> None:
    """As many as batching.items."""
    async with async_client(app) as client:
        many = Batching(items=50, linger_s=60)
        async with AsyncProducer(client, batching=many) as producer:
            for one in events(100):
                await producer.send(one)
        requests = client._http._transport.requests  # type: ignore[attr-defined]
    assert len(requests) == 2


async def test_a_faulty_event_has_its_problem_and_keeps_nothing_back(app: FastAPI) -> None:
    """The callback sees the event itself, with its outcome."""
    seen: list[tuple[Any, Any]] = []
    async with async_client(app) as client:
        producer = AsyncProducer(client, on_outcome=lambda *one: seen.append(one))
        good = await producer.send(EVENT)
        bad = await producer.send({"type": "t"})
        await producer.close()
    assert (await good).ok
    problem = (await bad).problem
    assert problem is not None
    assert problem.code == "bad_event"
    assert [event for event, _ in seen] == [EVENT, {"type": "t"}]


async def test_a_callback_that_fails_stops_nothing(app: FastAPI, outbox: AppliedOutbox) -> None:
    """It is logged."""

    def fail(*_: Any) -> None:
        raise RuntimeError("mine")

    async with (
        async_client(app) as client,
        AsyncProducer(client, batching=SMALL, on_outcome=fail) as producer,
    ):
        for one in events(20):
            await producer.send(one)
    assert len(kept(outbox)) == 20


def held(release: threading.Event) -> httpx.MockTransport:
    """Answer when released."""

    def answer(request: httpx.Request) -> httpx.Response:
        release.wait(30)
        lines = request.content.split(b"\n")
        return httpx.Response(202, json={"results": [{"id": "x"} for _ in lines]})

    return httpx.MockTransport(answer)


def test_a_full_queue_raises_or_waits_as_asked() -> None:
    """At once, or after timeout_s; when there is room again, sending goes on."""
    release = threading.Event()
    tight = Batching(queue_items=3, linger_s=0.0)
    with Client("http://x", KEY, transport=held(release)) as client:
        eager = Producer(client, batching=tight, when_full="raise")
        patient = Producer(client, batching=tight)
        futures = [one.send(EVENT) for one in (eager, patient) for _ in range(3)]
        with pytest.raises(FullError):
            eager.send(EVENT)
        with pytest.raises(FullError):
            patient.send(EVENT, timeout_s=0.01)
        release.set()
        futures += [patient.send(EVENT), patient.send(EVENT)]
        eager.close()
        patient.close()
    assert all(future.result(0).ok for future in futures)


async def test_asyncios_full_queue_raises_or_waits_as_asked(app: FastAPI) -> None:
    """The same in the event loop."""
    tight = Batching(queue_items=2, linger_s=60.0)
    async with async_client(app) as client:
        producer = AsyncProducer(client, batching=tight, when_full="raise")
        await producer.send(EVENT)
        await producer.send(EVENT)
        with pytest.raises(FullError):
            await producer.send(EVENT)
        await producer.close()
        patient = AsyncProducer(client, batching=tight)
        await patient.send(EVENT)
        await patient.send(EVENT)
        with pytest.raises(FullError):
            await patient.send(EVENT, timeout_s=0.0)
        await patient.flush()
        await patient.send(EVENT, timeout_s=0.0)
        await patient.close()


def test_close_gives_up_what_is_left_and_says_so() -> None:
    """After its timeout every future has an answer; nothing more is taken."""
    release = threading.Event()
    with Client("http://x", KEY, transport=held(release)) as client:
        producer = Producer(client, batching=SMALL)
        futures = [producer.send(one) for one in events(20)]
        producer.close(timeout_s=0.0)
        for future in futures:
            assert isinstance(future.exception(0), NotDeliveredError)
        with pytest.raises(ClosedError):
            producer.send(EVENT)
        release.set()
        producer._thread.join(30)
        assert not producer._thread.is_alive()


async def test_an_event_loop_that_ends_leaves_no_future_without_an_answer() -> None:
    """Also when nobody closed the producer."""

    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with AsyncClient("http://x", KEY, transport=httpx.MockTransport(never)) as client:
        producer = AsyncProducer(client, batching=Batching(linger_s=0.0))
        future = await producer.send(EVENT)
        assert producer._task is not None
        producer._task.cancel()
        await asyncio.wait([producer._task])
        with pytest.raises(NotDeliveredError):
            await future
        with pytest.raises(ClosedError):
            await producer.send(EVENT)


async def test_a_credential_that_does_not_hold_is_told_to_every_event(app: FastAPI) -> None:
    """Sending again would not help."""
    client = async_client(app)
    client._key = "nobody"
    async with client, AsyncProducer(client, batching=SMALL) as producer:
        future = await producer.send(EVENT)
        with pytest.raises(ApiError) as caught:
            await future
    assert caught.value.status == 401
