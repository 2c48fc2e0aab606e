"""The Python client against the API."""

import socket
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.client import ApiError, Client, Event, Retry, UnreachableError
from api.client.events import line_of
from schemas.events import Event as WireEvent
from schemas.events import decode_event
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


def transport_of(client: Any) -> Any:
    return client._http._transport


async def test_an_event_is_sent_and_its_id_given_back(app: FastAPI, outbox: AppliedOutbox) -> None:
    """A dict, an Event and the wire model are the same to it."""
    async with async_client(app) as client:
        events = [
            {**EVENT, "id": "a"},
            Event(**EVENT, id="b"),
            WireEvent.model_validate({**EVENT, "tenant": "acme", "id": "c"}),
        ]
        assert [await client.events.send(one) for one in events] == ["a", "b", "c"]
    assert [decode_event(record.value).id for record in outbox.records] == ["a", "b", "c"]


def test_the_clients_event_has_the_fields_of_the_wire() -> None:
    """A field that events gain is one of the client's too."""
    assert set(Event.__struct_fields__) == set(WireEvent.model_fields)


def test_the_blocking_client_does_the_same(app: FastAPI, outbox: AppliedOutbox) -> None:
    """Over a real connection, from a thread."""
    with on_port(app) as url, Client(url, KEY) as client:
        assert client.events.send({**EVENT, "id": "a"}) == "a"
        results = client.events.send_many([{**EVENT, "id": "b"}, {"type": "t"}])
    assert [one.ok for one in results] == [True, False]
    assert results[1].problem is not None
    assert results[1].problem.code == "bad_event"
    assert kept(outbox) == ["a", "b"]


@pytest.mark.parametrize("fault", ["503", "429", "502", "cut", "refused"])
async def test_one_failure_neither_loses_nor_doubles_an_event(
    app: FastAPI, outbox: AppliedOutbox, fault: str
) -> None:
    """It is sent again with the same idempotency key: to the pipeline all are one event."""
    async with async_client(app, fault, fault) as client:
        event_id = await client.events.send(EVENT)
    requests = transport_of(client).requests
    assert len(requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    assert kept(outbox) == [event_id]


@pytest.mark.parametrize("fault", ["503", "429", "502", "cut", "refused"])
def test_the_blocking_client_repeats_likewise(
    app: FastAPI, outbox: AppliedOutbox, fault: str
) -> None:
    """The same steps, driven by a thread."""
    with on_port(app) as url, sync_client(url, fault) as client:
        results = client.events.send_many([{**EVENT, "id": str(n)} for n in range(20)])
    assert [one.id for one in results] == [str(n) for n in range(20)] == kept(outbox)


def test_a_connection_that_is_really_cut_is_an_unreachable_api() -> None:
    """The server reads the request and hangs up; each attempt is another connection."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                taken.append(connection.recv(65_536))
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        retry = Retry(attempts=3, base_s=0.0)
        with Client(url, KEY, retry=retry) as client, pytest.raises(UnreachableError):
            client.events.send(EVENT)
        thread.join(timeout=10)
    assert len(taken) == 3


async def test_what_is_not_acknowledged_is_sent_again_alone(
    app: FastAPI, outbox: AppliedOutbox
) -> None:
    """Items of a batch that Kafka refused go into another request, under their own keys."""
    taken = outbox.put
    refusals = [True, False]

    async def put(records: Any) -> None:
        outbox.refuses = refusals.pop(0) if refusals else False
        await taken(records)

    outbox.put = put  # type: ignore[method-assign]
    events = [{**EVENT, "id": str(n)} for n in range(700)]
    async with async_client(app) as client:
        results = await client.events.send_many(events)
    assert all(one.ok for one in results)
    assert [one.id for one in results] == [str(n) for n in range(700)]
    assert sorted(kept(outbox), key=int) == [str(n) for n in range(700)]
    assert len(transport_of(client).requests) == 2


async def test_a_problem_is_an_exception_with_its_code_and_fields(app: FastAPI) -> None:
    """Programs look at code and errors, people at the text."""
    async with async_client(app) as client:
        with pytest.raises(ApiError) as caught:
            await client.events.send({"type": "t"})
    assert caught.value.status == 422
    assert caught.value.code == "bad_event"
    assert ("category", "is missing, add it") in [(e.field, e.fix) for e in caught.value.errors]


async def test_failure_that_lasts_is_told_after_the_last_attempt(app: FastAPI) -> None:
    """503 to the end is an ApiError, no connection an UnreachableError; each after all attempts."""
    async with async_client(app, *["503"] * 9) as client:
        with pytest.raises(ApiError, match="503 unavailable"):
            await client.events.send(EVENT)
        assert len(transport_of(client).requests) == AT_ONCE.attempts
    async with async_client(app, *["refused"] * 9) as client:
        with pytest.raises(UnreachableError, match="POST /v1/events: refused"):
            await client.events.send(EVENT)


async def test_a_proxys_page_is_a_problem_too(app: FastAPI) -> None:
    """An answer that is no problem document keeps its status and shows its beginning."""
    async with async_client(app, *["502"] * 9) as client:
        with pytest.raises(ApiError, match="bad gateway") as caught:
            await client.events.send(EVENT)
    assert caught.value.status == 502


def test_an_event_keeps_what_makes_it_one() -> None:
    """Its own key, or else its id, or else a new one: a batch that is cut anew repeats them."""
    made = decode_event(line_of({**EVENT, "tenant": "a"}))
    assert made.idempotency_key == made.id
    known = decode_event(line_of({**EVENT, "tenant": "a", "id": "i", "idempotency_key": "k"}))
    assert (known.id, known.idempotency_key) == ("i", "k")


def test_importing_the_client_loads_none_of_the_services_clients() -> None:
    """An app that sends needs neither Kafka's, Redis' nor ClickHouse's library."""
    code = (
        "import sys, api.client; heavy = {'confluent_kafka', 'redis', 'clickhouse_connect',"
        " 'pydantic', 'fastapi', 'bytewax', 'schemas'} & set(sys.modules); sys.exit(str(heavy) "
        "if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_address_without_a_scheme_is_refused() -> None:
    """Before anything is sent, and with the fix."""
    with pytest.raises(ValueError, match="write http:// or https://"):
        Client("push.example.com", KEY)


def test_the_key_is_asked_for_each_request() -> None:
    """Tokens that run out can be renewed by whoever gives them."""
    keys = iter(["one", "two"])
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(202, json={"id": "x"})

    with Client("http://x", lambda: next(keys), transport=httpx.MockTransport(answer)) as client:
        client.events.send(EVENT)
        client.events.send(EVENT)
    assert seen == ["Bearer one", "Bearer two"]
