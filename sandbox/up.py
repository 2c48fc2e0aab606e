"""`clarion up`: the embedded stack, kept until Ctrl-C, with some passengers to write to."""

import json
import signal
import tempfile
import threading
from pathlib import Path

from confluent_kafka import Producer
from rich.console import Console

from flows.checkpoint import produce
from flows.clock import wall_ms
from sandbox.demo_tenant import sandbox_tenant
from sandbox.flights import airports
from sandbox.passenger_mix import APPS
from sandbox.passengers import TENANT, Population
from sandbox.processes import StartError
from sandbox.stack import NOT_DURABLE, Ports, Stack
from schemas.pipeline import Platform

USERS = 100
WATCH_S = 0.5
TOKEN = "5e" * 32
"""A device token that the APNs simulator accepts."""


def up(ports: Ports, *, directory: Path | None) -> None:
    """Start everything, say how to use it, and wait for SIGINT or SIGTERM.

    Raises StartError (PortTakenError for a taken port), also when a part ends by itself.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    console = Console()
    with tempfile.TemporaryDirectory(prefix="clarion-up-", ignore_cleanup_errors=True) as made:
        stack = Stack(directory or Path(made), sandbox_tenant, ports)
        try:
            console.print(NOT_DURABLE, style="dim")
            stack.start_stores()
            if stop.is_set():
                return
            stack.launch_flows()
            _register(stack)
            api = stack.start_api()
            stack.await_flows()
            key = _key(stack)
            console.print(_addresses(stack, api, key), highlight=False, soft_wrap=True)
            while not stop.wait(WATCH_S):
                failed = stack.failed()
                if failed:
                    raise StartError(failed)
        finally:
            console.print("Stopping.")
            stack.stop()


def _register(stack: Stack) -> None:
    if stack.settings is None or stack.keys is None:
        raise RuntimeError("the stores are started by now")
    known = airports()
    population = Population(
        seed=1,
        users=USERS,
        airports=known,
        destinations=dict.fromkeys(["BOS", "LAX", "ORD", "MIA"], 1.0),
        webpush_origin=f"https://127.0.0.1:{stack.simulator_ports[Platform.WEBPUSH]}",
        vapid_public_key=stack.keys.vapid_public_key,
    )
    producer = Producer(stack.settings.kafka.client_options())
    produce(producer, list(population.registrations(wall_ms())))
    if producer.flush(30):
        raise StartError("the broker did not take the registrations")


def _key(stack: Stack) -> str:
    """Make an API key that may do everything for the tenant."""
    said = stack.ask(
        *("keys", "create", "--tenant", TENANT, "--name", "clarion up", "--role", "admin", "--json")
    )
    try:
        found: str = json.loads(said)["key"]
    except (ValueError, KeyError):
        raise StartError(f"no API key was made: {said[-500:]}") from None
    return found


def _addresses(stack: Stack, api: str, key: str) -> str:
    if stack.settings is None:
        raise RuntimeError("the stores are started by now")
    settings = stack.settings
    bootstrap, clickhouse = settings.kafka.bootstrap, settings.clickhouse.url
    metrics = "\n".join(
        f"  {label:16} http://127.0.0.1:{port}/metrics"
        for label, port in stack.metrics_ports.items()
    )
    simulators = "\n".join(
        f"  {platform:16} https://127.0.0.1:{port}"
        for platform, port in stack.simulator_ports.items()
    )
    first = next(iter(stack.metrics_ports.values()))
    # The SQL in it is for people to paste.
    return f"""
[bold]Clarion is up.[/bold] Ctrl-C stops it.

  kafka            {bootstrap}
  redis            {settings.redis.url}
  clickhouse       {clickhouse}
  api              {api}/docs
{simulators}
{metrics}
  logs             {stack.directory / "logs"}

[bold]Register, choose, send, ask why[/bold] (an API key of the tenant {TENANT}, which ends with this stack):

export CLARION_API={api} CLARION_KEY={key}

curl -s -X PUT $CLARION_API/v1/users/me/devices/phone -H "Authorization: Bearer $CLARION_KEY" -H 'Prefer: wait=5' --json '{{"platform": "apns", "app": "{APPS[Platform.APNS]}", "token": "{TOKEN}"}}'

curl -s -X PATCH $CLARION_API/v1/users/me/preferences -H "Authorization: Bearer $CLARION_KEY" -H 'Prefer: wait=5' --json '{{"opted_out_categories": ["marketing"]}}'

curl -s $CLARION_API/v1/events -H "Authorization: Bearer $CLARION_KEY" --json '{{"id": "hello-1", "type": "boarding", "category": "transactional", "priority": "high", "audience": {{"users": ["me"]}}, "content": {{"title": "Boarding", "body": "Gate 7 in ten minutes"}}}}'

curl -s "$CLARION_API/v1/messages/hello-1/explain?user_id=me" -H "Authorization: Bearer $CLARION_KEY" -H 'Prefer: wait=10'

[bold]More to try[/bold] (the tenant also has the users u0000000 to u{USERS - 1:07d}):

  Send without the API, straight onto Kafka:
     clarion events send --bootstrap {bootstrap} --tenant {TENANT} --category transactional \\
       --user u0000001 --user u0000002 --title "Boarding" --body "Gate 7 in ten minutes"

  Ask the analytics:
     curl '{clickhouse}/?database=clarion' --data-binary \\
       'SELECT user_id, platform, status, reason, latency_ms FROM outcomes ORDER BY occurred_at DESC LIMIT 10 FORMAT Pretty'

  Watch a flow:
     curl -s http://127.0.0.1:{first}/metrics | grep clarion_
"""  # noqa: E501, S608 - commands to copy stay on their line
