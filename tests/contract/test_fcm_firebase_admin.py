import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import firebase_admin  # type: ignore[import-untyped]  # it ships no types
import google.auth.credentials
import pytest
from firebase_admin import credentials, exceptions, messaging

from sandbox.fcm import (
    Account,
    FcmSimulator,
    dead_token,
    live_token,
    make_service_account,
    scenario_token,
)

# The SDK calls a registration token deprecated in favour of fid; FCM takes both.
pytestmark = pytest.mark.filterwarnings("ignore:Message.token is deprecated:DeprecationWarning")

PROJECT = "acme-shop"
LOOKUP = "_is_regional_access_boundary_lookup_required"


@pytest.fixture(scope="module")
def keys() -> tuple[dict[str, Any], str]:
    return make_service_account(PROJECT, "set by the fixture")


@pytest.fixture
async def simulator(
    keys: tuple[dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FcmSimulator]:
    """Start a simulator and point Google's own Admin SDK at it."""
    service_account, public_key_pem = keys
    made = FcmSimulator([Account.of(service_account, public_key_pem)], now=time.time)
    base = f"http://127.0.0.1:{await made.start()}"
    url = f"{base}/v1/projects/{{0}}/messages:send"
    monkeypatch.setattr(messaging._MessagingService, "FCM_URL", url)
    # google-auth would ask Google in the background where the account may be used from.
    boundary = google.auth.credentials.CredentialsWithRegionalAccessBoundary
    monkeypatch.setattr(boundary, LOOKUP, lambda _: False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    certificate = credentials.Certificate(service_account | {"token_uri": f"{base}/token"})
    app = firebase_admin.initialize_app(certificate, {"httpTimeout": 10})
    yield made
    await asyncio.to_thread(firebase_admin.delete_app, app)
    await made.stop()


async def test_the_admin_sdk_sends(simulator: FcmSimulator) -> None:
    """A full message of Google's client passes the strict checks and gets a name."""
    message = messaging.Message(
        token=live_token(1),
        notification=messaging.Notification("Title", "Body", "https://e.x/i.png"),
        data={"order": "7"},
        android=messaging.AndroidConfig(
            priority="high",
            ttl=3600,
            collapse_key="k",
            notification=messaging.AndroidNotification(
                channel_id="orders",
                color="#112233",
                priority="high",
                visibility="public",
                vibrate_timings_millis=[500, 1000],
                light_settings=messaging.LightSettings("#aabbcc", 200, 300),
            ),
        ),
        apns=messaging.APNSConfig(
            headers={"apns-priority": "10"},
            payload=messaging.APNSPayload(messaging.Aps(badge=1, sound="ding")),
        ),
        webpush=messaging.WebpushConfig(
            fcm_options=messaging.WebpushFCMOptions(link="https://e.x/o")
        ),
        fcm_options=messaging.FCMOptions(analytics_label="spring"),
    )
    name = await asyncio.to_thread(messaging.send, message)
    assert name.startswith(f"projects/{PROJECT}/messages/")
    assert simulator.messages[0]["android"]["notification"]["channel_id"] == "orders"
    assert await asyncio.to_thread(messaging.send, message, True)
    assert simulator.accepted == 1


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (dead_token(1), messaging.UnregisteredError),
        (scenario_token("SENDER_ID_MISMATCH", 1), messaging.SenderIdMismatchError),
        (scenario_token("QUOTA_EXCEEDED", 1), messaging.QuotaExceededError),
        (scenario_token("THIRD_PARTY_AUTH_ERROR", 1), messaging.ThirdPartyAuthError),
        (scenario_token("INVALID_TOKEN", 1), exceptions.InvalidArgumentError),
        (scenario_token("PERMISSION_DENIED", 1), exceptions.PermissionDeniedError),
        (scenario_token("NOT_FOUND", 1), exceptions.NotFoundError),
        (scenario_token("DEADLINE_EXCEEDED", 1), exceptions.DeadlineExceededError),
        (scenario_token("BAD_GATEWAY", 1), exceptions.UnknownError),
        ("too-short", exceptions.InvalidArgumentError),
    ],
)
@pytest.mark.usefixtures("simulator")
async def test_the_admin_sdk_understands_the_errors(
    token: str, expected: type[exceptions.FirebaseError]
) -> None:
    """Google's client reads each error body as the error it stands for."""
    with pytest.raises(exceptions.FirebaseError) as caught:
        await asyncio.to_thread(messaging.send, messaging.Message(token=token))
    assert type(caught.value) is expected


async def test_the_admin_sdk_sends_many(simulator: FcmSimulator) -> None:
    """send_each gets one result per message, in order."""
    tokens = [live_token(1), dead_token(2), live_token(3)]
    messages = [messaging.Message(token=token, data={"a": "b"}) for token in tokens]
    batch = await asyncio.to_thread(messaging.send_each, messages)
    assert [response.success for response in batch.responses] == [True, False, True]
    assert simulator.stats() == {
        "accepted": 2,
        "requests": 3,
        "rejected": {"UNREGISTERED": 1},
    }


async def test_the_admin_sdk_is_refused_what_fcm_refuses(simulator: FcmSimulator) -> None:
    """A reserved data key, a ttl over four weeks and a payload over 4,096 bytes."""
    wrong = [
        messaging.Message(token=live_token(1), data={"google.x": "y"}),
        messaging.Message(token=live_token(1), android=messaging.AndroidConfig(ttl=2_419_201)),
        messaging.Message(token=live_token(1), data={"k": "x" * 4096}),
    ]
    batch = await asyncio.to_thread(messaging.send_each, wrong)
    kinds = [type(response.exception) for response in batch.responses]
    assert kinds == [exceptions.InvalidArgumentError] * 3
    assert simulator.accepted == 0
