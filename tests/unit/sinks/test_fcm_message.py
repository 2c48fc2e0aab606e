import json
from typing import Any

import msgspec
import pytest

from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Content, Delivery, Platform, Priority
from sinks.fcm_message import FcmMessages

NOW_MS = 1_769_846_400_000


def delivery(content: Content | bytes, **changes: Any) -> Delivery:
    plain = Delivery(
        delivery_id="0b0e7a3e-6f0e-5d5e-9d5c-1f3a3c3f4b5d",
        message_id="m-1",
        tenant="acme",
        app="shop",
        user_id="u-1",
        device_id="d-1",
        platform=Platform.FCM,
        priority=Priority.HIGH,
        category="orders",
        type="order_shipped",
        token="a-token",
        content=content if isinstance(content, bytes) else msgspec.msgpack.encode(content),
        accepted_at_ms=NOW_MS,
        created_at_ms=NOW_MS,
        registered_at_ms=NOW_MS,
    )
    return msgspec.structs.replace(plain, **changes)


def build(content: Content, **changes: Any) -> Any:
    """Give the parsed message, or the Answer that rejects it."""
    body = FcmMessages().build(delivery(content, **changes), now_ms=NOW_MS)
    return body if isinstance(body, Answer) else json.loads(body)["message"]


def test_a_full_content_becomes_a_message() -> None:
    """Each part of the content and delivery stands where FCM documents it."""
    content = Content("Hi 100%", "Žluťoučký", "https://e.x/i.png", "https://e.x/o", {"order": "7"})
    message = build(content, expires_at_ms=NOW_MS + 90_999, collapse_key="order-7")
    assert message == {
        "token": "a-token",
        "notification": {
            "title": "Hi 100%",
            "body": "Žluťoučký",
            "image": "https://e.x/i.png",
        },
        "data": {"order": "7", "url": "https://e.x/o"},
        "android": {"priority": "HIGH", "collapseKey": "order-7", "ttl": "90s"},
        "apns": {"headers": {"apns-expiration": str((NOW_MS + 90_999) // 1000)}},
        "webpush": {"fcmOptions": {"link": "https://e.x/o"}, "headers": {"TTL": "90"}},
    }


def test_an_empty_content_is_a_silent_message() -> None:
    """Without title, body and image there is no notification block to show."""
    message = build(Content(data={"sync": "1"}))
    assert message == {"token": "a-token", "data": {"sync": "1"}, "android": {"priority": "HIGH"}}


@pytest.mark.parametrize(
    ("priority", "shown", "expected"),
    [
        (Priority.CRITICAL, True, "HIGH"),
        (Priority.HIGH, False, "HIGH"),
        (Priority.NORMAL, True, "HIGH"),
        (Priority.NORMAL, False, "NORMAL"),
        (Priority.LOW, True, "NORMAL"),
    ],
)
def test_android_priority(priority: Priority, *, shown: bool, expected: str) -> None:
    """Visible messages wake the device, bulk and silent ones wait."""
    message = build(Content(title="T" if shown else ""), priority=priority)
    assert message["android"]["priority"] == expected


@pytest.mark.parametrize(("left_ms", "ttl"), [(-5, "0s"), (1_999, "1s"), (10**12, "2419200s")])
def test_ttl_is_never_negative_nor_over_four_weeks(left_ms: int, ttl: str) -> None:
    """FCM takes 0 to 2,419,200 s."""
    message = build(Content("T"), expires_at_ms=NOW_MS + left_ms)
    assert message["android"]["ttl"] == ttl


def test_overrides_merge_deeply_and_win() -> None:
    """Objects merge, values replace, null removes; both spellings and enum cases are taken."""
    override = {
        "message": {
            "notification": {"body": "Theirs"},
            "data": {"a": "2", "b": None},
            "android": {
                "ttl": "5s",
                "priority": "normal",
                "notification": {"channel_id": "orders", "notification_priority": "PRIORITY_MAX"},
            },
            "apns": {"payload": {"aps": {"sound": "ding", "badge": 3}}},
            "webpush": {"notification": {"icon": "https://e.x/i.png"}},
            "fcm_options": {"analytics_label": "spring"},
        }
    }
    content = Content("Ours", "Ours", data={"a": "1", "b": "1", "c": "1"}, override=override)
    message = build(content, expires_at_ms=NOW_MS + 60_000, collapse_key="k")
    assert message["notification"] == {"title": "Ours", "body": "Theirs"}
    assert message["data"] == {"a": "2", "c": "1"}
    assert message["android"] == {
        "priority": "NORMAL",
        "collapseKey": "k",
        "ttl": "5s",
        "notification": {"channelId": "orders", "notificationPriority": "PRIORITY_MAX"},
    }
    assert message["apns"]["payload"] == {"aps": {"sound": "ding", "badge": 3}}
    assert message["apns"]["headers"]["apns-expiration"] == str(NOW_MS // 1000 + 60)
    assert message["fcmOptions"] == {"analyticsLabel": "spring"}


def test_android_v2_takes_the_place_of_android() -> None:
    """FCM refuses both, so the defaults move; androidV2 has no priority."""
    override = {"androidV2": {"remoteNotification": {"mutableContent": True}}}
    message = build(Content("T", override=override), collapse_key="k")
    assert "android" not in message
    assert message["androidV2"] == {
        "collapseKey": "k",
        "remoteNotification": {"mutableContent": True},
    }


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ({"titel": "x"}, "message.titel"),
        ({"notification": {"sound": "x"}}, "message.notification.sound"),
        ({"notification": "x"}, "message.notification"),
        ({"android": {"ttl": "5"}}, "message.android.ttl"),
        ({"android": {"ttl": "-1s"}}, "message.android.ttl"),
        ({"android": {"ttl": "2419201s"}}, "message.android.ttl"),
        ({"android": {"priority": "URGENT"}}, "message.android.priority"),
        ({"android": {"directBootOk": "yes"}}, "message.android.directBootOk"),
        (
            {"android": {"notification": {"notification_count": True}}},
            "message.android.notification.notificationCount",
        ),
        (
            {"android": {"notification": {"vibrateTimings": ["1s", "x"]}}},
            "message.android.notification.vibrateTimings[1]",
        ),
        (
            {"android": {"notification": {"eventTime": "today"}}},
            "message.android.notification.eventTime",
        ),
        (
            {"android": {"notification": {"light_settings": {"color": {"red": "1"}}}}},
            "message.android.notification.lightSettings.color.red",
        ),
        ({"android": {"collapse_key": "a", "collapseKey": "b"}}, "message.android.collapseKey"),
        ({"android": {}, "androidV2": {}}, "message.androidV2"),
        ({"data": {"n": 1}}, "message.data.n"),
        ({"data": {"from": "x"}}, "message.data.from"),
        ({"android": {"data": {"google.x": "x"}}}, "message.android.data.google.x"),
        ({"webpush": {"data": {"gcm.x": "x"}}}, "message.webpush.data.gcm.x"),
        ({"webpush": {"fcm_options": {"link": "http://e.x"}}}, "message.webpush.fcmOptions.link"),
        ({"token": "another"}, "message.token"),
        ({"topic": "news"}, "message.topic"),
        ({"message": ["x"]}, "message"),
    ],
)
def test_a_wrong_override_is_rejected_by_its_field(override: dict[str, Any], field: str) -> None:
    """No request is made; the answer names the field."""
    answer = build(Content("T", override=override))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.BAD_REQUEST)
    assert answer.provider_reason.startswith(f"{field}:")


def test_a_reserved_key_in_the_contents_own_data_is_rejected() -> None:
    """Data keys are checked wherever they come from."""
    answer = build(Content("T", data={"message_type": "x"}))
    assert answer.provider_reason == "message.data.message_type: FCM reserves this key"


def test_the_payload_limit_counts_keys_and_values_of_data_and_notification() -> None:
    """4,096 bytes pass, one more is rejected, and the larger field is named."""
    used = len("title") + len("T") + len("k")
    exact = build(Content("T", data={"k": "ž" * ((4096 - used) // 2)}))
    assert len(exact["data"]["k"].encode()) + used in (4095, 4096)
    answer = build(Content("T", data={"k": "x" * (4097 - used)}))
    assert (answer.status, answer.reason) == (Status.REJECTED, Reason.PAYLOAD_TOO_LARGE)
    assert answer.provider_reason == "message.data: the payload is 4097 bytes, over 4096"


def test_the_apns_payload_has_the_limit_too() -> None:
    """An override can make one platform's message too large."""
    answer = build(Content("T", override={"apns": {"payload": {"blob": "x" * 5000}}}))
    assert answer.reason is Reason.PAYLOAD_TOO_LARGE
    assert answer.provider_reason.startswith("message.apns.payload:")


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", msgspec.msgpack.encode(["T", "b", "", "", {"k": 1}])]
)
def test_what_is_not_a_content_is_rejected(content: bytes) -> None:
    """Bytes that do not decode end as a rejection, not as an exception."""
    answer = FcmMessages().build(delivery(content), now_ms=NOW_MS)
    assert isinstance(answer, Answer)
    assert answer.reason is Reason.BAD_REQUEST


def test_a_token_cannot_break_out_of_its_string() -> None:
    """Quotes, percent signs and control characters in a token are data."""
    token = '",%(ttl)b"\\\n'
    assert build(Content("T"), token=token)["token"] == token


def test_one_content_serves_many_tokens_and_times() -> None:
    """What is remembered per content holds nothing of the delivery it was built for."""
    messages = FcmMessages()
    content = Content("50% off")
    for number in range(3):
        one = delivery(content, token=f"token-{number}", expires_at_ms=NOW_MS + 1000 * (number + 1))
        body = messages.build(one, now_ms=NOW_MS)
        assert isinstance(body, bytes)
        message = json.loads(body)["message"]
        assert message["token"] == f"token-{number}"
        assert message["android"]["ttl"] == f"{number + 1}s"


def test_the_memory_of_contents_is_bounded() -> None:
    """The oldest content is forgotten and built again when it returns."""
    messages = FcmMessages(max_cached=2)
    for title in ("a", "b", "c", "a"):
        body = messages.build(delivery(Content(title)), now_ms=NOW_MS)
        assert isinstance(body, bytes)
        assert json.loads(body)["message"]["notification"]["title"] == title
        assert len(messages._templates) <= 2


def test_validate_only_stands_beside_the_message() -> None:
    """The sink's option is part of the request, not of the message."""
    body = FcmMessages(validate_only=True).build(delivery(Content("T")), now_ms=NOW_MS)
    assert isinstance(body, bytes)
    assert json.loads(body)["validateOnly"] is True
