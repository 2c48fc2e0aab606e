"""Kafka as docs/security.md has it: users, TLS, and for each process no more than its rights."""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from api.client import Client
from sandbox import fcm_tokens
from sandbox.stack import ALL, FlowSpec, Stack, is_ready
from sandbox.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, make_tls
from schemas import topics
from schemas.outcomes import TERMINAL
from schemas.pipeline import Platform, Priority
from schemas.settings import Settings
from tests.chaos import people, stand
from tests.integration.certificates import Issuer
from tests.integration.kafka_rights import OPERATOR, acls, rights
from tests.integration.security_page import PAGE
from tests.servers.apache_kafka import ApacheKafka
from tests.servers.redis_server import RealRedis

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
PASSWORD, CERTIFICATE = "PASSWORD", "CERTIFICATE"
WAIT_S = 60.0
ITERATIONS = 4096  # the least that Kafka takes for SCRAM
TOPICS_COMMAND = "clarion flows topics"
FLOWS = (*stand.FLOWS, FlowSpec("campaigns", None, ALL))
WITH_CERTIFICATES = ("route", "outcomes")
USERS = {Platform.APNS: 0, Platform.FCM: 4, Platform.WEBPUSH: 8}
CUT_OFF = {KafkaError._SSL, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
NOT_JSON = {
    topics.EVENTS[Priority.NORMAL]: "route",
    topics.USERS: "registry",
    topics.OUTCOMES: "outcomes",
    topics.CAMPAIGNS: "campaigns",
    topics.DELIVERIES[Platform.FCM, Priority.LOW]: "fcm",
}


def user_of(process: str) -> str:
    """Name a process as a user of Kafka."""
    return "clarion-" + re.sub("[^a-z]+", "-", process)


class Secured:
    """An Apache Kafka that lets nobody do what the page does not list.

    It has two listeners for that, and one without TLS, whose clients may do everything: the stack
    makes topics there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        make_tls(directory)
        self._issuer = Issuer(directory)
        (directory / "clients.pem").write_bytes(self._issuer.pem)
        store = directory / "broker.pem"
        store.write_text(
            (directory / KEY_FILE).read_text() + (directory / CERTIFICATE_FILE).read_text()
        )
        scram = f"listener.name.{PASSWORD.lower()}"
        self.kafka = ApacheKafka(
            directory / "kafka",
            listeners={PASSWORD: "SASL_SSL", CERTIFICATE: "SSL"},
            config={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",  # of the listener without TLS, on loopback
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                f"{scram}.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(store),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(directory / "clients.pem"),
                f"listener.name.{CERTIFICATE.lower()}.ssl.client.auth": "required",
                "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            },
        )
        self._passwords: dict[str, str] = {}

    def start(self) -> str:
        """Start it, with a user and the page's rights for each process."""
        found = self.kafka.start()
        admin = AdminClient({"bootstrap.servers": found})
        rows = rights()
        self._passwords = {name: secrets.token_urlsafe(16) for name in rows}
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        users = [
            UserScramCredentialUpsertion(user_of(name), scram, password.encode())
            for name, password in self._passwords.items()
        ]
        for made in admin.alter_user_scram_credentials(users).values():
            made.result(WAIT_S)
        wanted = {one for row in rows.values() for one in acls(row, f"User:{user_of(row.process)}")}
        for future in admin.create_acls(list(wanted)).values():
            future.result(WAIT_S)
        return found

    def stop(self) -> None:
        """End it."""
        self.kafka.stop()

    def options(self, process: str, *, password: str = "") -> dict[str, str]:
        """Give the options of the page, for a user and a password."""
        told: dict[str, str] = json.loads(_snippets()[0])
        return told | {
            "sasl.username": user_of(process),
            "sasl.password": password or self._passwords[process],
            "ssl.ca.location": str(self._directory / CA_FILE),
        }

    def certified(self, process: str) -> dict[str, str]:
        """Give the options of the page, for a client certificate."""
        certificate, key = self._issuer.issue(user_of(process))
        told: dict[str, str] = json.loads(_snippets()[1])
        return told | {
            "ssl.certificate.location": certificate,
            "ssl.key.location": key,
            "ssl.ca.location": str(self._directory / CA_FILE),
        }

    def denied(self) -> list[str]:
        """Give what the broker has refused so far."""
        return sorted(
            set(re.findall(r"Principal = (.* is Denied .*?) from host", self.kafka.log()))
        )


def _raise_error(error: KafkaError | None, _message: object) -> None:
    if error is not None:
        raise KafkaException(error)


def _snippets() -> list[str]:
    found = re.findall(r"CLARION_KAFKA__OPTIONS='(\{.*?\})'", PAGE, re.DOTALL)
    assert len(found) == 2
    return found


class World:
    """A whole Clarion, each process as its own user."""

    def __init__(self, directory: Path) -> None:
        self.secured = Secured(directory)
        self._redis = RealRedis(directory / "redis")
        self.stack = Stack(directory, people.tenant, kafka=self.secured, redis=self._redis)
        self.plain: Settings
        self.client: Client

    def start(self) -> None:
        """Start all of it."""
        self.plain = self.stack.start_stores()
        for spec in FLOWS:
            process = spec.label.replace("-", ".")
            self.become(process, certified=process in WITH_CERTIFICATES)
            self.stack.start_flow(spec)
        self.become("api")
        url = self.stack.start_api()
        for label, port in self.stack.metrics_ports.items():
            self.until(partial(is_ready, port), f"{label} is ready")
        self.become(OPERATOR)
        said = self.stack.ask(
            *("keys", "create", "--tenant", people.TENANT, "--name", "test", "--role", "admin"),
            "--json",
        )
        self.client = Client(url, json.loads(said)["key"])

    def become(self, process: str, *, certified: bool = False) -> None:
        """Let what is started from now on be this process to Kafka."""
        listener = CERTIFICATE if certified else PASSWORD
        make = self.secured.certified if certified else self.secured.options
        kafka = self.plain.kafka.model_copy(
            update={
                "bootstrap": self.secured.kafka.addresses(listener),
                "options": make(process),
            }
        )
        self.stack.settings = self.plain.model_copy(update={"kafka": kafka})

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until this holds."""

        def nothing_failed() -> bool:
            assert not (failed := self.stack.failed()), failed
            return holds()

        try:
            self.stack.child("clickhouse").wait_until(nothing_failed, timeout_s=WAIT_S)
        except RuntimeError as error:
            raise AssertionError(f"not {what}; denied: {self.secured.denied()}") from error

    def at(self, listener: str, options: Mapping[str, str]) -> dict[str, Any]:
        """Give a client's settings."""
        where = {"bootstrap.servers": self.secured.kafka.addresses(listener), "log_level": 0}
        return {**options, **where}

    def put(self, values: Mapping[str, bytes]) -> None:
        """Put records on topics, by topic, past all rights."""
        producer = Producer(self.plain.kafka.client_options())
        for topic, value in values.items():
            producer.produce(topic, value, b"key", on_delivery=_raise_error)
        assert producer.flush(WAIT_S) == 0

    def dead_letters(self) -> set[str]:
        """Ask for the stages that have dead letters."""
        said = self.stack.ask("dlq", "ls", "--json")
        return {
            json.loads(line)["id"].partition("/")[0].removeprefix("dead.")
            for line in said.splitlines()
        }

    def stop(self) -> None:
        """End it."""
        if hasattr(self, "client"):
            self.client.close()
        self.stack.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool) -> Iterator[World]:
    """Start it once."""
    assert real_servers
    made = World(tmp_path_factory.mktemp("world"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _event(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "test", "category": "news", "content": {"title": "News"}, **more}


def test_all_of_clarion_works_with_these_rights_and_is_refused_nothing(world: World) -> None:
    """Registrations, messages now and later, segments, campaigns, reports, erasures, bad input."""
    client = world.client
    _register(world)
    everybody = {"users": [str(platform) for platform in USERS]}
    now = datetime.now(UTC)
    sent_at, soon = now.isoformat(), (now + timedelta(seconds=3)).isoformat()
    sent = [
        *(_event(f"now-{p}", priority=p, audience=everybody) for p in Priority),
        _event("later", audience=everybody, send_at=soon),
        _event("listed", audience={"segment": "some"}),
        _event("dead", audience={"users": ["gone"]}),
    ]
    for event in sent:
        client.events.send(event)
    message = {"type": "promo", "category": "news", "audience": {"segment": "some"}}
    client.campaigns.put("c", {"message": {**message, "content": {"title": "Sale"}}})
    client.campaigns.start("c")
    for event in sent:
        world.until(partial(_is_over, client, event["id"]), f"{event['id']} is over")
    world.until(
        lambda: [run.phase for run in client.campaigns.get("c").runs] == ["finished"],
        "the campaign is over",
    )
    client.feedback.report(
        [{"message_id": "listed", "user_id": "fcm", "kind": "opened", "occurred_at": sent_at}]
    )
    world.until(lambda: not list(client.devices.list("gone")), "the dead token is gone")
    world.put(dict.fromkeys(NOT_JSON, b"no JSON"))
    world.become(OPERATOR)
    world.until(
        lambda: set(NOT_JSON.values()) <= world.dead_letters(), "the dead letters are there"
    )
    assert "1 dropped" in world.stack.ask("dlq", "drop", "--yes", "--stage", "route")
    assert "accepted" in world.stack.ask("explain", "--message", "now-high", "--user", "fcm")
    assert "done: " in world.stack.ask("registry", "rebuild")
    erasure = client.users.erase("apns")
    world.until(
        lambda: client.erasures.get(erasure.erasure_id).erased_at is not None, "the user is erased"
    )
    assert world.secured.denied() == []


def _register(world: World) -> None:
    client = world.client
    origin = f"https://127.0.0.1:{world.stack.simulator_ports[Platform.WEBPUSH]}"
    for platform, number in USERS.items():
        token = people.token_of(number, origin)
        device = {"platform": platform, "app": people.APPS[platform]}
        if platform is Platform.WEBPUSH:
            keys = {key: token[key] for key in ("p256dh", "auth")}
            subscription = {"app": device["app"], "endpoint": token["token"], "keys": keys}
            client.devices.register_browser(platform, subscription, wait_s=10)
        else:
            client.devices.register(platform, "d", {**device, **token}, wait_s=10)
        client.users.put(platform, {"locale": "de", "country": "CH"}, wait_s=10)
        client.preferences.patch(platform, {"opted_out_categories": []}, wait_s=10)
    gone = {"platform": Platform.FCM, "app": "android", "token": fcm_tokens.dead_token(1)}
    client.devices.register("gone", "d", gone, wait_s=10)
    client.segments.put("swiss", {"rule": {"field": "country", "value": "CH"}})
    client.segments.upload("some", [str(platform) for platform in USERS], mode="replace")
    client.templates.put("hi", {"texts": {"en": {"title": "Hi"}}})
    client.templates.publish("hi")


def _is_over(client: Client, name: str) -> bool:
    status = client.messages.get(name, wait_s=2)
    wanted = 1 if name == "dead" else len(USERS)
    return sum(one.decisions for one in status.counts if one.status in TERMINAL) >= wanted


def test_a_user_writes_nothing_but_what_its_row_says(world: World) -> None:
    """Route has no business in the audit log."""
    producer = Producer(world.at(PASSWORD, world.secured.options("route")))
    told: list[Any] = []
    producer.produce(topics.AUDIT, b"{}", on_delivery=lambda error, _message: told.append(error))
    assert producer.flush(WAIT_S) == 0
    assert [error.code() for error in told] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def test_a_platform_reads_no_others_deliveries(world: World) -> None:
    """A sender of FCM sees no tokens of APNs."""
    admin = AdminClient(world.at(PASSWORD, world.secured.options("deliver.fcm")))
    own, others = (topics.DELIVERIES[p, Priority.HIGH] for p in (Platform.FCM, Platform.APNS))
    assert admin.list_topics(own, timeout=WAIT_S).topics[own].error is None
    refused = admin.list_topics(others, timeout=WAIT_S).topics[others].error
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_a_flow_names_the_right_it_lacks(world: World) -> None:
    """It ends, and its last words say what was refused."""
    world.become("deliver.apns")
    child = world.stack.command("flows", "run", "campaigns")
    try:
        world.until(lambda: child.returncode() is not None, "it has ended by itself")
        assert child.returncode() not in {0, None}
        assert "AUTHORIZATION_FAILED" in child.tail(40)
    finally:
        child.kill()


def test_strangers_do_not_get_in(world: World, tmp_path: Path) -> None:
    """No wrong password, no plain text, no certificate of another authority, none at all."""
    by_password = world.secured.options("route", password="wrong")
    by_certificate = world.secured.certified("route")
    (tmp_path / "other").mkdir()
    certificate, key = Issuer(tmp_path / "other").issue("clarion-route")
    foreign = {"ssl.certificate.location": certificate, "ssl.key.location": key}
    without = {name: value for name, value in by_certificate.items() if name not in foreign}
    for listener, options in (
        (PASSWORD, by_password),
        (PASSWORD, {}),
        (CERTIFICATE, by_certificate | foreign),
        (CERTIFICATE, without),
    ):
        told: list[int] = []
        noting = {"error_cb": lambda error, told=told: told.append(error.code())}
        admin = AdminClient(world.at(listener, options) | noting)
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=2)
        admin.poll(0)
        # A wrong password is told; all else is cut off without a word, and not merely slow.
        wanted = {KafkaError._AUTHENTICATION} if options is by_password else CUT_OFF
        assert wanted & set(told), told
    for listener, options in (
        (PASSWORD, world.secured.options("route")),
        (CERTIFICATE, by_certificate),
    ):
        assert AdminClient(world.at(listener, options)).list_topics(timeout=WAIT_S).topics
