"""`clarion events`: send and check events."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from api.client import Client

app = App(name="events", help="Send and check events.", help_format="plaintext")

PRODUCE_TIMEOUT_S = 15.0
REMOTE_ITEMS = 1_000
MAX_SHOWN = 20
"""Faults of a file that are shown; the rest are counted."""

Api = Annotated[
    str | None,
    Parameter(
        help="go through the HTTP API at this URL, unless --bootstrap is given",
        env_var="CLARION_API",
    ),
]
Key = Annotated[str | None, Parameter(help="an API key for it", env_var="CLARION_KEY")]


@app.command
def send(
    *,
    tenant: Annotated[str, Parameter(help="needed without --api")] = "",
    category: str,
    title: str = "",
    body: str = "",
    user: Annotated[list[str], Parameter(help="a recipient; may be repeated")] = [],  # noqa: B006 - cyclopts copies it
    segment: Annotated[str, Parameter(help="or an audience such as 'buyers & eu'")] = "",
    everyone: Annotated[bool, Parameter(help="or all users of the tenant")] = False,
    topic: Annotated[str, Parameter(help="or who subscribed to this topic")] = "",
    group: Annotated[str, Parameter(help="or the devices of this group")] = "",
    type: str = "manual",  # noqa: A002 - the field's name
    priority: str = "high",
    bootstrap: Annotated[
        str | None, Parameter(help="host:port; else CLARION_KAFKA__BOOTSTRAP")
    ] = None,
    api: Api = None,
    key: Key = None,
) -> None:
    """Put one event on its topic and print its id once Kafka has it.

    With --api it goes through the HTTP API instead, and needs neither Kafka nor settings.
    """
    from uuid import uuid4  # noqa: PLC0415 - what --help need not wait for

    audience: dict[str, Any] = {}
    if user:
        audience["users"] = user
    if segment:
        audience["segment"] = segment
    if everyone:
        audience["everyone"] = True
    if topic:
        audience["topic"] = topic
    if group:
        audience["group"] = group
    event = {
        "id": str(uuid4()),
        "type": type,
        "category": category,
        "priority": priority,
        "audience": audience,
        "content": {"title": title, "body": body},
    }
    if tenant:
        event["tenant"] = tenant
    if api and not bootstrap:
        with remote(api, key) as client:
            print(client.events.send(event))  # noqa: T201 - a command's output
    else:
        print(_produce(event, bootstrap))  # noqa: T201 - as above


@app.command
def produce(
    file: Annotated[Path, Parameter(help="NDJSON: one event a line")],
    *,
    bootstrap: str | None = None,
    api: Api = None,
    key: Key = None,
) -> None:
    """Put the events of a file on their topics, each checked first; print their ids.

    Nothing is sent when any of them is wrong. With --api they go through the HTTP API instead, in
    batches: it checks each of them, and what is wrong keeps nothing else back.
    """
    if api and not bootstrap:
        _produce_remotely(file, api, key)
        return
    from schemas.events import BadEventError, decode_event  # noqa: PLC0415 - what --help need not wait for

    events = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                events.append(decode_event(line))
            except BadEventError as error:
                raise CommandError(f"{file}:{number}: {error}") from error
    for event in events:
        print(_produce_checked(event, bootstrap))  # noqa: T201 - a command's output


@app.command
def cancel(
    message: Annotated[str, Parameter(help="the event's id")],
    *,
    tenant: Annotated[str, Parameter(help="needed without --api")] = "",
    api: Api = None,
    key: Key = None,
) -> None:
    """Retract a message: what of it has not left for a provider stops, within a second."""
    if api:
        with remote(api, key) as client:
            client.messages.cancel(message)
        print(f"{message}: cancelled, within a second everywhere")  # noqa: T201 - a command's output
        return
    if not tenant:
        raise CommandError("give --tenant, or --api and --key")
    from time import time_ns  # noqa: PLC0415 - what --help need not wait for

    from api.publishing import DefinitionWriter, Publisher  # noqa: PLC0415 - as above
    from api.recalls import RecallError, cancel_message  # noqa: PLC0415 - as above
    from api.tenant_stores import tenant_stores  # noqa: PLC0415 - as above

    with tenant_stores(tenant, RecallError) as stores:
        cancel_message(
            tenant,
            message,
            definitions=stores.definitions,
            writer=DefinitionWriter(
                Publisher(stores.settings.kafka.client_options()), stores.definitions
            ),
            now_ms=time_ns() // 1_000_000,
            by="clarion events cancel",
        )
    print(f"{message}: cancelled, within a second everywhere")  # noqa: T201 - a command's output


@contextmanager
def remote(api: str, key: str | None) -> "Iterator[Client]":
    """Give a client of the API; what it raises becomes a CommandError."""
    from api.client import ClarionError, Client  # noqa: PLC0415 - what --help need not wait for

    if not key:
        raise CommandError(f"{api}: give --key, or set CLARION_KEY")
    try:
        with Client(api, key) as client:
            yield client
    except (ClarionError, ValueError) as error:
        raise CommandError(f"{api}: {error}") from error


def _produce_remotely(file: Path, api: str, key: str | None) -> None:
    """Send a file's events, REMOTE_ITEMS at a time; raise CommandError for those that are wrong."""
    faults: list[str] = []
    with remote(api, key) as client, file.open("rb") as lines:
        numbered = (one for one in enumerate(lines, start=1) if one[1].strip())
        while some := list(islice(numbered, REMOTE_ITEMS)):
            events = [_parsed(file, number, line) for number, line in some]
            for (number, _), result in zip(some, client.events.send_many(events), strict=True):
                if result.problem is None:
                    print(result.id)  # noqa: T201 - a command's output
                else:
                    faults.append(f"{file}:{number}: {result.problem.detail}")
    if faults:
        more = len(faults) - MAX_SHOWN
        raise CommandError(
            "\n".join(faults[:MAX_SHOWN] + ([f"and {more} more"] if more > 0 else []))
        )


def _parsed(file: Path, number: int, line: bytes) -> dict[str, Any]:
    import json  # noqa: PLC0415 - what --help need not wait for

    try:
        event = json.loads(line)
    except ValueError as error:
        raise CommandError(f"{file}:{number}: is no JSON: {error}") from error
    if not isinstance(event, dict):
        raise CommandError(f"{file}:{number}: an event is an object")
    return event


def _produce(event: dict[str, Any], bootstrap: str | None) -> str:
    import json  # noqa: PLC0415 - what --help need not wait for

    from schemas.events import BadEventError, decode_event  # noqa: PLC0415 - as above

    try:
        return _produce_checked(decode_event(json.dumps(event).encode()), bootstrap)
    except BadEventError as error:
        raise CommandError(str(error)) from error


def _produce_checked(event: Any, bootstrap: str | None) -> str:
    from confluent_kafka import Producer  # noqa: PLC0415 - what --help need not wait for

    from schemas.settings import load_settings  # noqa: PLC0415 - as above
    from schemas.topics import EVENTS  # noqa: PLC0415 - as above

    given = {"kafka": {"bootstrap": bootstrap}} if bootstrap else {}
    options = load_settings(**given).kafka.client_options()
    failures: list[str] = []
    producer = Producer(
        {**options, "message.timeout.ms": int(PRODUCE_TIMEOUT_S * 1_000), "log_level": 0}
    )
    producer.produce(
        EVENTS[event.priority],
        event.to_json(),
        event.id.encode(),
        on_delivery=lambda error, _message: failures.append(str(error)) if error else None,
    )
    if producer.flush(PRODUCE_TIMEOUT_S + 1) or failures:
        raise CommandError(f"{options['bootstrap.servers']}: {failures or 'no answer'}")
    event_id: str = event.id
    return event_id
