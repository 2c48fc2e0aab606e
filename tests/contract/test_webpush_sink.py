import asyncio
import csv
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pywebpush
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from sandbox.tls import make_tls
from sandbox.webpush import WebPushSimulator, make_subscription
from sandbox.webpush_scenarios import NAMES, ROWS, Row
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Content, Delivery, Platform, Priority
from sinks.credentials import Credentials, WebPushCredential
from sinks.port import Sink
from sinks.webpush import ENCRYPTIONS_PER_TURN, WebPushSink
from sinks.webpush_crypto import FastPusher, base64url
from sinks.webpush_status import TABLE, VENDOR_HOSTS, Meaning, Vendor
from sinks.webpush_vapid import public_key

KEY = ec.generate_private_key(ec.SECP256R1())
NOW_S = float(int(time.time()))
CONTENT = msgspec.msgpack.encode(Content(title="Order 42", body="is on its way", data={"id": "42"}))


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


HERE = ("127.0.0.1",)
CREDENTIALS = Credentials(
    {
        ("acme", "web"): WebPushCredential(pem(KEY), "mailto:push@example.com", HERE),
        ("acme", "vendors"): WebPushCredential(pem(KEY), "mailto:push@example.com"),
        ("acme", "other"): WebPushCredential(
            pem(ec.generate_private_key(ec.SECP256R1())), "mailto:push@example.com", HERE
        ),
        ("acme", "broken"): WebPushCredential("no key", "mailto:push@example.com", HERE),
    }
)


class Stage:
    """A simulator and the sinks opened against it."""

    def __init__(self) -> None:
        self.simulator = WebPushSimulator(now=lambda: NOW_S)
        self.base_url = ""
        self.sinks: list[WebPushSink] = []

    async def sink(self, **options: Any) -> Sink:
        defaults: dict[str, Any] = {
            "prior_knowledge": True,
            "request_timeout_s": 5.0,
        }
        sink = WebPushSink(credentials=CREDENTIALS, now=lambda: NOW_S, **defaults | options)
        await sink.open()
        self.sinks.append(sink)
        return sink

    def delivery(self, scenario: str | None = None, **changes: Any) -> Delivery:
        made = make_subscription("device", scenario, vapid_public_key=public_key(KEY))
        delivery = Delivery(
            delivery_id="6f0c2d0e-8f5e-4a63-9d5e-000000000001",
            message_id="m1",
            tenant="acme",
            app="web",
            user_id="u1",
            device_id="d1",
            platform=Platform.WEBPUSH,
            priority=Priority.HIGH,
            category="orders",
            type="order_shipped",
            token=self.base_url + made.path,
            content=CONTENT,
            accepted_at_ms=0,
            created_at_ms=0,
            registered_at_ms=0,
            p256dh=made.p256dh,
            auth=made.auth,
        )
        return msgspec.structs.replace(delivery, **changes)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    stage.base_url = f"http://127.0.0.1:{await stage.simulator.start()}"
    yield stage
    for sink in stage.sinks:
        await sink.close()
    await stage.simulator.stop()


@pytest.mark.parametrize("options", [{}, {"pusher_class": pywebpush.WebPusher}])
async def test_over_tls_the_browser_could_read_it(options: dict[str, Any]) -> None:
    """By HTTP/2 and TLS the push service verifies, decrypts and accepts what the sink sends."""
    stage = Stage()
    context, ca_pem = make_tls()
    stage.base_url = f"https://127.0.0.1:{await stage.simulator.start(tls=context)}"
    sink = await stage.sink(ca_pem=ca_pem, prior_knowledge=False, **options)
    answer = await sink.send(
        stage.delivery(collapse_key="order:42", expires_at_ms=int(NOW_S * 1000) + 90_000)
    )
    await sink.close()
    await stage.simulator.stop()
    assert (answer.status, answer.reason) == (Status.SENT, Reason.ACCEPTED)
    assert answer.provider_status == 201
    assert answer.provider_id.startswith(f"{stage.base_url}/m/")
    received = stage.simulator.recent[0]
    assert json.loads(received.plaintext) == {
        "title": "Order 42",
        "body": "is on its way",
        "data": {"id": "42"},
        "clarion": {"message_id": "m1", "delivery_id": "6f0c2d0e-8f5e-4a63-9d5e-000000000001"},
    }
    assert received.headers["ttl"] == "90"
    assert received.headers["urgency"] == "high"
    assert len(received.headers["topic"]) == 32


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_every_answer_of_every_vendor(
    stage: Stage, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of the table, in the vendor's own words, comes out as the table says."""
    vendor = Vendor(row.service) if row.service in list(Vendor) else Vendor.RFC8030
    monkeypatch.setitem(VENDOR_HOSTS, "127.0.0.1", vendor)
    answer = await (await stage.sink()).send(stage.delivery(row.name))
    keys = [(vendor, row.code), (vendor, ""), (Vendor.RFC8030, "")]
    unlisted = Meaning(Status.REJECTED, Reason.UNLISTED)
    found = (TABLE.get((who, row.status, code)) for who, code in keys)
    expected = next((meaning for meaning in found if meaning), unlisted)
    assert answer.provider_status == row.status
    assert (answer.status, answer.reason) == (expected.status, expected.reason)
    assert answer.token_action is expected.token_action
    dead = answer.token_action is TokenAction.DELETE
    assert answer.token_invalid_at_ms == (int(NOW_S * 1000) if dead else 0)
    asked = row.response.headers.get("retry-after")
    wait_s = float(asked) if asked else expected.wait_s
    assert answer.retry_after_s == (wait_s if answer.status is Status.RETRY else None)
    assert stage.simulator.requests == 1


def test_every_row_of_the_facts_has_a_scenario() -> None:
    """The simulator can give each answer that the table of facts lists."""
    path = Path(__file__).parents[1] / "data" / "webpush_status.csv"
    with path.open(newline="") as file:
        facts = list(csv.DictReader(file))
    for fact in facts:
        service = fact["service"].replace("RFC8292", "RFC8030")
        codes = [""] if ":" in fact["code"] or "X-WNS" in fact["code"] else fact["code"].split("/")
        if fact["code"] == "X-WNS-Status: appthrottled":
            codes = ["appthrottled"]
        for code in codes if fact["status"] != "201" else []:
            assert f"{service}-{fact['status']}" + (f"-{code}" if code else "") in NAMES


async def test_another_key_than_at_subscribe(stage: Stage) -> None:
    """A subscription made for another VAPID key is not dead, but not ours as it is."""
    answer = await (await stage.sink()).send(stage.delivery(app="other"))
    assert (answer.status, answer.reason) == (Status.FAILED, Reason.TOKEN_WRONG_APP)
    assert answer.token_action is TokenAction.SUSPECT
    assert "key" in answer.provider_reason


async def test_a_transient_refusal_passes(stage: Stage) -> None:
    """Retried after the wait that the service asked for, the same delivery is accepted."""
    sink = await stage.sink()
    first = await sink.send(stage.delivery("retry-once"))
    assert (first.status, first.retry_after_s) == (Status.RETRY, 1.0)
    assert (await sink.send(stage.delivery("retry-once"))).status is Status.SENT


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("hang", Reason.PROVIDER_TIMEOUT),
        ("reset", Reason.CONNECTION_LOST),
        ("close", Reason.CONNECTION_LOST),
    ],
)
async def test_no_answer_is_unknown(stage: Stage, scenario: str, reason: Reason) -> None:
    """After the request left, nobody can tell what became of it."""
    sink = await stage.sink(request_timeout_s=0.3 if scenario == "hang" else 5.0)
    answer = await sink.send(stage.delivery(scenario))
    assert (answer.status, answer.reason) == (Status.UNKNOWN, reason)
    assert stage.simulator.requests == 1


async def test_a_batch_leaves_the_event_loop_its_turns(stage: Stage) -> None:
    """However many are sent at once, few are encrypted between two turns of the loop."""
    encrypted_by_turn: Counter[int] = Counter()
    turn = 0

    class CountingPusher(FastPusher):
        def encode(self, data: bytes, content_encoding: str = "aes128gcm") -> Any:
            encrypted_by_turn[turn] += 1
            return super().encode(data, content_encoding)

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    sink = await stage.sink(pusher_class=CountingPusher)
    counting = asyncio.create_task(count_turns())
    answers = await asyncio.gather(*(sink.send(stage.delivery()) for _ in range(50)))
    counting.cancel()
    assert {answer.status for answer in answers} == {Status.SENT}
    assert encrypted_by_turn.total() == 50
    assert max(encrypted_by_turn.values()) <= ENCRYPTIONS_PER_TURN


async def test_a_goaway_loses_nothing(stage: Stage) -> None:
    """What was accepted before the connection ended counts, and the next message goes out."""
    sink = await stage.sink()
    assert (await sink.send(stage.delivery("goaway"))).status is Status.SENT
    assert (await sink.send(stage.delivery())).status is Status.SENT


async def test_an_unreachable_service_is_a_retry(stage: Stage) -> None:
    """Nothing left, so it is safe to send again."""
    delivery = stage.delivery()
    await stage.simulator.stop()
    answer = await (await stage.sink()).send(delivery)
    assert (answer.status, answer.reason) == (Status.RETRY, Reason.NOT_CONNECTED)


HTTPS = "https://127.0.0.1/push"
BIG = msgspec.msgpack.encode(Content(body="x" * 4000))
DEAD = (Status.FAILED, Reason.TOKEN_INVALID)


@pytest.mark.parametrize(
    ("changes", "verdict", "text"),
    [
        ({"p256dh": "!"}, DEAD, "p256dh"),
        ({"p256dh": base64url(b"\x04" + b"\x01" * 64)}, DEAD, "not a point"),
        ({"auth": ""}, DEAD, "auth"),
        ({"token": ""}, DEAD, "not a URL"),
        ({"token": "ftp://127.0.0.1/x"}, DEAD, "not a URL"),
        ({"token": "https://127.0.0.1"}, DEAD, "not a URL"),
        ({"token": "https://user@127.0.0.1/x"}, DEAD, "not a URL"),
        ({"token": "https://127.0.0.1/a b"}, DEAD, "not a URL"),
        ({"token": HTTPS + "/" * 5000}, DEAD, "not a URL"),
        ({"token": "https://127.0.0.1:99999/x"}, DEAD, "not a URL"),
        (
            {"token": "https://10.0.0.1/x"},
            (Status.REJECTED, Reason.BAD_CONFIG),
            "10.0.0.1 is not a push service",
        ),
        ({"app": "none"}, (Status.REJECTED, Reason.UNKNOWN_APP), "none"),
        ({"app": "broken"}, (Status.REJECTED, Reason.BAD_CREDENTIALS), "PEM"),
        ({"content": BIG}, (Status.REJECTED, Reason.PAYLOAD_TOO_LARGE), "3993"),
        ({"content": b"\xff"}, (Status.REJECTED, Reason.BAD_REQUEST), "content"),
    ],
)
async def test_what_cannot_work_makes_no_request(
    stage: Stage, changes: dict[str, Any], verdict: tuple[Status, Reason], text: str
) -> None:
    """Bad keys, endpoints, credentials and contents are refused here, with what is wrong."""
    answer = await (await stage.sink()).send(stage.delivery(**changes))
    assert (answer.status, answer.reason) == verdict
    assert text in answer.provider_reason
    assert (answer.token_action is TokenAction.DELETE) == (verdict == DEAD)
    assert stage.simulator.requests == 0


async def test_only_https_to_the_vendors_by_default(stage: Stage) -> None:
    """Without options no endpoint can point the sink at another server."""
    sink = await stage.sink(prior_knowledge=False)
    plain = await sink.send(stage.delivery(app="vendors"))
    assert (plain.status, plain.provider_reason) == (Status.FAILED, "the endpoint is not https")
    strange = await sink.send(
        stage.delivery(app="vendors", token="https://fcm.googleapis.com.example.com/x")
    )
    assert (strange.status, strange.reason) == (Status.REJECTED, Reason.BAD_CONFIG)
    assert stage.simulator.requests == 0
