"""`clarion events`: send and check events."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

app = App(name="events", help="Send and check events.", help_format="plaintext")

PRODUCE_TIMEOUT_S = 15.0


@app.command
def send(
    *,
    tenant: str,
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
    api: Annotated[str | None, Parameter(help="send over HTTP instead, to this URL")] = None,
) -> None:
    """Put one event on its topic and print its id once Kafka has it."""
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
        "tenant": tenant,
        "type": type,
        "category": category,
        "priority": priority,
        "audience": audience,
        "content": {"title": title, "body": body},
    }
    print(_post(event, api) if api else _produce(event, bootstrap))  # noqa: T201 - a command's output


@app.command
def produce(
    file: Annotated[Path, Parameter(help="NDJSON: one event a line")],
    *,
    bootstrap: str | None = None,
) -> None:
    """Put the events of a file on their topics, each checked first; print their ids.

    Nothing is sent when any of them is wrong.
    """
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
    tenant: str,
) -> None:
    """Retract a message: what of it has not left for a provider stops, within a second."""
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


def _post(event: dict[str, Any], api: str) -> str:
    import httpx  # noqa: PLC0415 - what --help need not wait for

    try:
        answer = httpx.post(f"{api.rstrip('/')}/v1/events", json=event, timeout=PRODUCE_TIMEOUT_S)
        body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise CommandError(f"{api}: {error}") from error
    if answer.status_code != httpx.codes.ACCEPTED:
        raise CommandError(f"{api}: {answer.status_code}: {body.get('detail', body)}")
    event_id: str = body["id"]
    return event_id


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
