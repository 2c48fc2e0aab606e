"""A sender that nobody here wrote, against the simulator: pywebpush with requests."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pywebpush
import requests
from py_vapid import Vapid

from sandbox.tls import make_tls
from sandbox.webpush import Subscription, WebPushSimulator, make_subscription
from sinks.webpush_crypto import FastPusher
from sinks.webpush_vapid import load_key, public_key


class Sender:
    """Sends by pywebpush over TLS with HTTP/1.1."""

    def __init__(self, base_url: str, ca_file: Path) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.verify = str(ca_file)
        self.session.trust_env = False
        self.vapid = Vapid()
        self.vapid.generate_keys()
        self.public_key = public_key(load_key(self.vapid.private_pem().decode()))

    def info(self, subscription: Subscription) -> dict[str, str | dict[str, str | bytes]]:
        keys: dict[str, str | bytes] = {"p256dh": subscription.p256dh, "auth": subscription.auth}
        return {"endpoint": self.base_url + subscription.path, "keys": keys}

    def send(self, subscription: Subscription, vapid: Vapid | None = None) -> requests.Response:
        response: requests.Response = pywebpush.webpush(
            self.info(subscription),
            "hello",
            vapid_private_key=vapid or self.vapid,
            vapid_claims={"sub": "mailto:push@example.com"},
            ttl=60,
            timeout=10.0,
            requests_session=self.session,
        )
        return response


@pytest.fixture
async def simulator() -> AsyncIterator[WebPushSimulator]:
    simulator = WebPushSimulator()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def sender(simulator: WebPushSimulator, tmp_path: Path) -> AsyncIterator[Sender]:
    context, _ = make_tls(tmp_path)
    port = await simulator.start(tls=context)
    sender = Sender(f"https://127.0.0.1:{port}", tmp_path / "ca.pem")
    yield sender
    sender.session.close()


async def test_pywebpush_is_accepted_and_read(simulator: WebPushSimulator, sender: Sender) -> None:
    """What pywebpush signs and encrypts by itself, the simulator verifies and decrypts."""
    subscription = make_subscription("device", vapid_public_key=sender.public_key)
    response = await asyncio.to_thread(sender.send, subscription)
    assert response.status_code == 201
    assert simulator.recent[0].plaintext == b"hello"
    assert simulator.accepted == 1


async def test_pywebpush_with_another_key_is_refused(
    simulator: WebPushSimulator, sender: Sender
) -> None:
    """A subscription takes no other VAPID key than the one it was made for."""
    subscription = make_subscription("device", vapid_public_key=sender.public_key)
    other = Vapid()
    other.generate_keys()
    with pytest.raises(pywebpush.WebPushException) as raised:
        await asyncio.to_thread(sender.send, subscription, other)
    assert raised.value.status_code == 403
    assert simulator.accepted == 0


async def test_pywebpush_for_another_browser_is_refused(
    simulator: WebPushSimulator, sender: Sender
) -> None:
    """A body that this subscription's browser could not decrypt is refused."""
    subscription = make_subscription("device")
    stranger = subscription._replace(p256dh=make_subscription("stranger").p256dh)
    assert stranger.p256dh != subscription.p256dh
    with pytest.raises(pywebpush.WebPushException) as raised:
        await asyncio.to_thread(sender.send, stranger)
    assert raised.value.status_code == 400
    assert simulator.accepted == 0


async def test_pywebpush_sees_a_vendors_refusal(sender: Sender) -> None:
    """Scenarios answer any client in the vendor's words."""
    with pytest.raises(pywebpush.WebPushException) as raised:
        await asyncio.to_thread(sender.send, make_subscription("device", "mozilla-410-106"))
    assert raised.value.status_code == 410
    assert raised.value.response.json()["errno"] == 106


async def test_the_fast_pusher_serves_pywebpushs_own_sender(
    simulator: WebPushSimulator, sender: Sender
) -> None:
    """FastPusher keeps WebPusher's interface: its send() works with the faster encode()."""
    subscription = make_subscription("device", vapid_public_key=sender.public_key)
    claims = {"aud": sender.base_url, "sub": "mailto:push@example.com"}
    pusher = FastPusher(sender.info(subscription), requests_session=sender.session)
    response = await asyncio.to_thread(
        pusher.send, b"fast", sender.vapid.sign(claims), ttl=60, timeout=10.0
    )
    assert response.status_code == 201
    assert simulator.recent[0].plaintext == b"fast"
