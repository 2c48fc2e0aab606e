"""platform_parts: what a template says to one platform reaches the provider in its own words."""

import json
from typing import Any

import msgspec
import pytest

from operators.fan_out import fan_out
from operators.render import Renderer
from operators.templates import RenderError
from operators.work import Draft
from schemas.outcomes import Reason
from schemas.pipeline import Platform
from sinks.apns_payload import Payload, build_payload
from sinks.fcm_message import FcmMessages
from sinks.sizes import size_of
from sinks.webpush_payload import Built, WebPushPayloads
from state.profiles import Profile
from tests.unit.operators.builders import (
    NOW_MS,
    addressed,
    delivery,
    device,
    notice,
    profile,
    tenant,
    work,
)

TEXTS = {"en": {"title": "Hi {{ n }}", "body": "there"}}


def draft_of(template: dict[str, Any], **changes: Any) -> Draft:
    owner = tenant(templates={"t": {"texts": TEXTS, **template}})
    said = notice(template="t", texts={}, variables={"n": 3}, **changes)
    return Draft(said, owner, owner.categories["news"])


def content(draft: Draft, platform: Platform, user: Profile | None = None) -> bytes:
    return Renderer(draft).content(user or profile(), device(platform=platform))


def apns(template: dict[str, Any], user: Profile | None = None, **changes: Any) -> Any:
    built = build_payload(content(draft_of(template, **changes), Platform.APNS, user))
    assert isinstance(built, Payload)
    return json.loads(built.body) | {"push_type": built.push_type.name}


def fcm(template: dict[str, Any], **changes: Any) -> Any:
    raw = content(draft_of(template, **changes), Platform.FCM)
    built = FcmMessages().build(delivery(content=raw), now_ms=NOW_MS)
    assert isinstance(built, bytes)
    return json.loads(built)["message"]


def web(template: dict[str, Any], **changes: Any) -> Any:
    built = WebPushPayloads().build(content(draft_of(template, **changes), Platform.WEBPUSH))
    assert isinstance(built, Built)
    return json.loads(built.plaintext) | {"urgency": built.urgency}


def test_everything_for_apns() -> None:
    """In Apple's words, with Jinja in the texts and a number from an expression."""
    part = {
        "sound": "chime.caf",
        "badge": "{{ n + 1 }}",
        "interruption_level": "time-sensitive",
        "relevance_score": 0.5,
        "thread_id": "order-{{ n }}",
        "category": "ORDER",
        "mutable_content": True,
        "target_content_id": "w",
    }
    texts = {"en": {**TEXTS["en"], "subtitle": "{{ n }} left"}}
    found = apns({"apns": part, "texts": texts})
    assert found["aps"] == {
        "alert": {"title": "Hi 3", "body": "there", "subtitle": "3 left"},
        "sound": "chime.caf",
        "badge": 4,
        "interruption-level": "time-sensitive",
        "relevance-score": 0.5,
        "thread-id": "order-3",
        "category": "ORDER",
        "mutable-content": 1,
        "target-content-id": "w",
    }


def test_a_subtitle_needs_no_part() -> None:
    """It is one of the texts, and only Apple's devices show it."""
    texts = {"en": {**TEXTS["en"], "subtitle": "{{ n }} left"}}
    assert apns({"texts": texts})["aps"]["alert"]["subtitle"] == "3 left"
    assert "subtitle" not in str(fcm({"texts": texts}))


def test_a_critical_alert_and_a_badge_that_goes() -> None:
    """Sound becomes an object; 0 is said, as it takes the badge away."""
    aps = apns({"apns": {"critical_volume": 0.8, "badge": 0}})["aps"]
    assert aps["sound"] == {"critical": 1, "name": "default", "volume": 0.8}
    assert aps["badge"] == 0


def test_a_live_activity() -> None:
    """Its state keeps the types of the variables; times count from the event's."""
    activity = {
        "event": "start",
        "attributes_type": "GameAttributes",
        "attributes": {"id": "g-{{ n }}"},
        "content_state": {"score": "{{ n }}", "log": ["{{ [n, 4] }}", "{{ n }}:0"], "open": True},
        "stale_after_s": 60,
        "dismiss_after_s": 600,
    }
    found = apns({"apns": {"live_activity": activity}})
    assert found["push_type"] == "liveactivity"
    at_s = NOW_MS // 1_000
    assert found["aps"] == {
        "alert": {"title": "Hi 3", "body": "there"},
        "timestamp": at_s,
        "event": "start",
        "attributes-type": "GameAttributes",
        "attributes": {"id": "g-3"},
        "content-state": {"score": 3, "log": [[3, 4], "3:0"], "open": True},
        "stale-date": at_s + 60,
        "dismissal-date": at_s + 600,
    }


def test_everything_for_fcm() -> None:
    """In Google's words; FCM's own schema has checked it."""
    part = {"channel_id": "orders", "priority": "high", "ttl_s": 60, "sound": "s", "icon": "i",
            "color": "#00FF00", "tag": "o-{{ n }}", "click_action": "OPEN"}  # fmt: skip
    found = fcm({"fcm": part})
    assert found["notification"] == {"title": "Hi 3", "body": "there"}
    assert found["android"] == {
        "priority": "HIGH",
        "ttl": "60s",
        "notification": {"channelId": "orders", "sound": "s", "icon": "i", "color": "#00FF00",
                         "tag": "o-3", "clickAction": "OPEN"},
    }  # fmt: skip


def test_data_only_for_fcm() -> None:
    """The app shows it itself; the event's data go first."""
    found = fcm({"fcm": {"data_only": True}, "data": {"n": "{{ n }}", "k": "t"}}, data={"k": "e"})
    assert "notification" not in found
    assert found["data"] == {"title": "Hi 3", "body": "there", "n": "3", "k": "e"}


def test_everything_for_browsers() -> None:
    """As showNotification takes it; buttons in the reader's language."""
    part = {
        "actions": [{"action": "open", "title": "Open"}, {"action": "no", "title": "No {{ n }}"}],
        "icon": "https://x.example/{{n}}.png",
        "badge": "/b.png",
        "tag": "t-{{ n }}",
        "require_interaction": True,
        "urgency": "low",
    }
    texts = {"en": {**TEXTS["en"], "actions": {"open": "Look"}}}
    assert web({"webpush": part, "texts": texts}) == {
        "title": "Hi 3",
        "body": "there",
        "icon": "https://x.example/3.png",
        "badge": "/b.png",
        "tag": "t-3",
        "requireInteraction": True,
        "actions": [{"action": "open", "title": "Look"}, {"action": "no", "title": "No 3"}],
        "urgency": "low",
    }


def test_the_declarative_form() -> None:
    """Everything inside the notification, so that Safari shows it without a service worker."""
    texts = {"en": {**TEXTS["en"], "url": "https://x.example/{{n}}"}}
    actions = [{"action": "a", "title": "A", "url": "https://x.example/a"}]
    found = web(
        {"webpush": {"declarative": True, "tag": "t", "actions": actions}, "texts": texts},
        overrides={Platform.WEBPUSH: {"payload": {"mutable": True, "lang": "en"}}},
        data={"k": "v"},
    )
    assert found == {
        "web_push": 8030,
        "notification": {
            "title": "Hi 3",
            "body": "there",
            "navigate": "https://x.example/3",
            "data": {"k": "v"},
            "tag": "t",
            "actions": [{"action": "a", "title": "A", "navigate": "https://x.example/a"}],
            "lang": "en",
        },
        "mutable": True,
        "urgency": "",
    }


def test_the_declarative_form_needs_a_url() -> None:
    """The outcome says so."""
    with pytest.raises(RenderError, match="needs a title and a url"):
        web({"webpush": {"declarative": True}})


def test_the_events_own_fields_come_last() -> None:
    """In either of FCM's spellings, and merged key by key."""
    own = {"message": {"android": {"notification": {"channel_id": "mine"}}}}
    found = fcm({"fcm": {"channel_id": "orders", "sound": "s"}}, overrides={Platform.FCM: own})
    assert found["android"]["notification"] == {"channelId": "mine", "sound": "s"}
    aps = {"aps": {"sound": "mine", "alert": {"loc-key": "k"}}}
    part = {"apns": {"sound": "s", "badge": 1}}
    found = apns(part, overrides={Platform.APNS: aps})["aps"]
    assert (found["sound"], found["badge"], found["alert"]["loc-key"]) == ("mine", 1, "k")


def test_a_part_that_reads_the_user_is_not_shared() -> None:
    """Only on its own platform."""
    draft = draft_of({"apns": {"badge": "{{ user.unread }}"}})
    for unread in (1, 2):
        user = profile(attributes={"unread": unread})
        built = build_payload(content(draft, Platform.APNS, user))
        assert isinstance(built, Payload)
        assert json.loads(built.body)["aps"]["badge"] == unread
    content(draft, Platform.FCM)
    assert list(draft.rendered) == [("en", Platform.FCM)]


@pytest.mark.parametrize("unread", ["x", -1, True, 1.5, None])
def test_a_badge_is_a_whole_number(unread: object) -> None:
    """Whatever the user's attributes hold."""
    with pytest.raises(RenderError, match="badge"):
        apns({"apns": {"badge": "{{ user.unread }}"}}, profile(attributes={"unread": unread}))


def test_numbers_and_dates_are_shared_by_locale_and_zone() -> None:
    """A British reader of the English text reads a British date, a German one an American."""
    at = {"title": "{{ at | date('short') }} {{ at | time }}"}
    draft = draft_of({"texts": {"en": at}})
    draft.notice.variables["at"] = "2026-01-05T23:30:00Z"
    readers = {
        ("en-GB", "Europe/London"): "05/01/2026 23:30",
        ("en-US", "Asia/Tokyo"): "1/6/26 8:30\u202fAM",
        ("de", ""): "1/5/26 11:30\u202fPM",
    }
    for _ in range(2):
        for (locale, zone), expected in readers.items():
            raw = content(draft, Platform.APNS, profile(locale=locale, time_zone=zone))
            assert msgspec.msgpack.decode(raw)[0] == expected
    assert len(draft.rendered) == 3


def test_a_message_that_is_too_large_is_shortened() -> None:
    """To what its platform takes, and the delivery says so."""
    template = {
        "texts": {"en": {"title": "t", "body": "{{ long }}"}},
        "on_oversize": "truncate: body",
    }
    owner = tenant(templates={"t": template})
    piece = work("u1", of=owner, template="t", texts={}, variables={"long": "日" * 4_000})
    devices = [device(p, platform=p, token=p) for p in Platform]
    fan_out([addressed(piece, profile("u1", *devices))], NOW_MS, size_of=size_of)
    assert [one.note for one in piece.deliveries] == ["body truncated"] * 3
    for one in piece.deliveries:
        found = msgspec.msgpack.decode(one.content)[1]
        assert found.endswith("日…")
        assert 1_200 < len(found) < 1_400


def test_what_cannot_be_shortened_enough_is_rejected() -> None:
    """With the sizes; the other platforms' deliveries are made."""
    template = {"texts": {"en": {"title": "t"}}, "on_oversize": "truncate: title"}
    owner = tenant(templates={"t": template})
    data = {"k": "x" * 4_060}
    piece = work("u1", of=owner, template="t", texts={}, data=data)
    devices = [device(p, platform=p, token=p) for p in Platform]
    fan_out([addressed(piece, profile("u1", *devices))], NOW_MS, size_of=size_of)
    assert [one.platform for one in piece.deliveries] == [Platform.APNS, Platform.FCM]
    (out,) = piece.undeliverable
    assert out.reason is Reason.PAYLOAD_TOO_LARGE
    assert "webpush allows 3993" in out.detail
