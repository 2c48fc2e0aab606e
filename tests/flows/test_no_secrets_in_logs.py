"""No log line of any process holds a credential, a token, a key, a signed link or a password."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer

from api.auth.device_tokens import issue_device_token
from api.auth.signing import Purpose, Signer
from api.waiting import wait_until
from flows.checkpoint import produce
from flows.clock import wall_ms
from flows.compose_stores import clickhouse_of
from sandbox.demo_tenant import sandbox_tenant
from sandbox.flights import airports
from sandbox.passengers import TENANT, TRANSACTIONAL, Population
from sandbox.stack import ALL, FlowSpec, Stack
from schemas.pipeline import Platform
from schemas.settings import Settings, load_settings
from schemas.stream import Record
from sinks.clickhouse import connect
from sinks.sealing import read_master_keys

USERS = 60
WAIT_S = 60.0
LOGS_ALL = {"observability": {"log_level": "debug"}}
NEEDED = (
    FlowSpec("registry", None, ALL),
    FlowSpec("route", None, ALL),
    *(FlowSpec("deliver", platform, ALL) for platform in Platform),
    FlowSpec("outcomes", None, ALL),
)
WANTED = "SELECT uniqExact(status, platform) FROM outcomes WHERE status IN ('sent', 'failed')"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Start the stack, with every log line that there is."""
    made = Stack(tmp_path, sandbox_tenant, options=LOGS_ALL, flows=NEEDED)
    try:
        made.start_stores()
        yield made
    finally:
        made.stop()


@pytest.fixture
def settings(stack: Stack) -> Settings:
    assert stack.settings is not None
    return stack.settings


def registrations(stack: Stack) -> list[Record]:
    """Give the passengers' records, and copies that are wrong in some field."""
    assert stack.keys is not None
    population = Population(
        seed=1,
        users=USERS,
        airports=airports(),
        destinations={"BOS": 1.0, "LAX": 1.0},
        webpush_origin=f"https://127.0.0.1:{stack.simulator_ports[Platform.WEBPUSH]}",
        vapid_public_key=stack.keys.vapid_public_key,
    )
    good = list(population.registrations(wall_ms()))
    bad = []
    for record in good[:40]:
        said = json.loads(record.value or b"")
        said |= {"locale": "not a locale", "p256dh": said.get("p256dh", "x" * 87)}
        bad.append(Record(record.topic, record.key, json.dumps(said).encode()))
        bad.append(Record(record.topic, record.key, (record.value or b"")[:-2]))
    return [*good, *bad]


def tokens_of(records: list[Record]) -> set[str]:
    """Give the tokens, endpoints and keys of the devices in these records."""
    found: set[str] = set()
    for record in records:
        try:
            said: dict[str, Any] = json.loads(record.value or b"{}")
        except ValueError:
            continue
        found |= {str(said[name]) for name in ("token", "p256dh", "auth") if said.get(name)}
    return {one for one in found if len(one) > 12}


def private_keys(stack: Stack) -> set[str]:
    """Give a line of each private key, and the master key."""
    assert stack.keys is not None
    keys = stack.keys
    found = {keys.master_key_file.read_text().split()[0]}
    for file in (keys.apns_key_file, keys.vapid_file):
        found.add(file.read_text().splitlines()[1])
    account = json.loads(keys.fcm_file.read_text())
    found.add(account["private_key"].splitlines()[1])
    found.add(account["private_key_id"])
    return found


def ask(url: str, signer: Signer) -> set[str]:
    """Make requests with credentials and signed links, good and bad; give what was secret."""
    expires_at_ms = wall_ms() + 60_000
    about = [TENANT, "u0000001", TRANSACTIONAL, ""]
    link = signer.sign(Purpose.UNSUBSCRIBE, about, expires_at_ms=expires_at_ms)
    device = issue_device_token(signer, TENANT, "u0000001", "d-1", wall_ms())
    key = f"clk_{TENANT}_{'A' * 12}_{secrets.token_hex(16)}"
    password = secrets.token_hex(12)
    with httpx.Client(base_url=url, timeout=20) as client:
        for credential in (key, device, "junk-" + password):
            headers = {"Authorization": f"Bearer {credential}"}
            for path in ("/v1/audit", "/v1/users/u0000001", "/v1/nothing-here"):
                client.get(path, headers=headers, params={"cursor": password})
            client.post("/v1/events", headers=headers, json={"token": password})
        client.get("/v1/audit", auth=("user", password))
        for signed in (link, link[:-3], password):
            client.get(f"/v1/unsubscribe/{signed}")
            client.post(f"/v1/unsubscribe/{signed}")
            client.get(f"/v1/preferences/{signed}")
            client.get(f"/v1/c/{signed}")
    return {key, device.removeprefix("cdt_"), password, link, link[:-3]}


def send(settings: Settings, records: list[Record]) -> None:
    producer = Producer(settings.kafka.client_options())
    produce(producer, records)
    assert producer.flush(30) == 0


def events(number: int) -> list[Record]:
    """Give events to everybody, and some that are wrong."""
    base = {"tenant": TENANT, "type": "t", "category": TRANSACTIONAL, "content": {"title": "Hi"}}
    made = []
    for n in range(USERS):
        said = {**base, "id": f"m-{number}-{n}", "audience": {"users": [f"u{n:07d}"]}}
        made.append(Record("events.high", b"k", json.dumps(said).encode()))
        made.append(Record("events.normal", b"k", json.dumps({**said, "priority": 9}).encode()))
    return made


def known(client: Client) -> int:
    return int(client.query("SELECT uniqExact(user_id) FROM users").first_row[0])


def outcomes(client: Client) -> int:
    return int(client.query(WANTED).first_row[0])


@pytest.mark.timeout(240)
def test_logs_hold_no_secret(stack: Stack, settings: Settings) -> None:
    """Every line of the API, the flows, the stores and the simulators, at the level debug."""
    records = registrations(stack)
    send(settings, records)
    url = stack.start_api()
    stack.start_flows()
    client = connect(clickhouse_of(settings))
    assert wait_until(lambda: known(client) == USERS, timeout_s=WAIT_S)
    send(settings, events(1))
    assert wait_until(lambda: outcomes(client) >= 3, timeout_s=WAIT_S)
    send(settings, events(2))
    secret = ask(url, Signer(read_master_keys(settings.security)))
    assert wait_until(
        lambda: client.query("SELECT uniqExact(message_id) FROM outcomes").first_row[0] > USERS,
        timeout_s=WAIT_S,
    )
    client.close()
    stack.stop()
    secret |= tokens_of(records) | private_keys(stack)
    secret |= {part for one in secret if one.startswith("https://") for part in [one[-30:]]}
    logs = {path: path.read_text() for path in (stack.directory / "logs").glob("*.log")}
    names = {path.stem for path in logs}
    assert {"api", "registry", "deliver-apns", "deliver-fcm", "deliver-webpush"} <= names
    text = "\n".join(logs.values())
    # The lines that could hold one were written.
    for event in ("request", "delivery", "dead letter"):
        assert f'"event": "{event}"' in text, event
    assert len(secret) > 2 * USERS / 3
    found = [
        (path.name, line[:300])
        for path, log in logs.items()
        for line in log.splitlines()
        if any(one in line for one in secret)
    ]
    assert found == []


def test_settings_hide_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody prints one by printing the settings."""
    monkeypatch.setenv("CLARION_CLICKHOUSE__PASSWORD", "s3cret-word")
    monkeypatch.setenv("CLARION_REDIS__URL", "redis://:s3cret-word@127.0.0.1:6379/0")
    assert "s3cret-word" not in repr(load_settings())
