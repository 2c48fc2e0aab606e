"""What a template says to one platform, in the platform's own words.

Each gives an override as an event's `platforms` may hold it; the sinks merge it into the payload.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from operators.formats import Setting
from operators.template_values import text_of, value_of, whole_number_of
from operators.templates import RenderError
from schemas.merging import merged
from schemas.pipeline import Content, Platform
from schemas.template import ApnsPart, FcmPart, LiveActivity, Template, WebPushPart

DECLARATIVE = 8030
"""Tells a declarative push message from others; the number of the RFC. Source: W3C Push API."""


_BESIDE_NOTIFICATION = {"mutable", "app_badge"}
_FCM_SPELLINGS = {"channel_id": "channelId", "click_action": "clickAction"}

Part = ApnsPart | FcmPart | WebPushPart


def part_of(template: Template, platform: Platform) -> Part | None:
    """Give what the template says to a platform, None for nothing."""
    part: Part | None = getattr(template, platform.value)
    return part


class PartWriter:
    """Fills a part's texts for one reader and turns it into an override.

    created_at_s: of the event, in seconds since the epoch. actions: the buttons' titles in the
    reader's language. All methods raise RenderError.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        setting: Setting,
        *,
        created_at_s: int,
        actions: Mapping[str, str],
    ) -> None:
        self._variables = variables
        self._setting = setting
        self._created_at_s = created_at_s
        self._actions = actions

    def override(self, part: Part) -> dict[str, Any]:
        """Give the override."""
        if isinstance(part, ApnsPart):
            return self._apns(part)
        return self._fcm(part) if isinstance(part, FcmPart) else self._webpush(part)

    def _apns(self, part: ApnsPart) -> dict[str, Any]:
        sound: Any = self._text(part.sound)
        if part.critical_volume is not None:
            sound = {"critical": 1, "name": sound or "default", "volume": part.critical_volume}
        aps = _given(
            {
                "sound": sound,
                "interruption-level": part.interruption_level,
                "thread-id": self._text(part.thread_id),
                "category": self._text(part.category),
                "target-content-id": self._text(part.target_content_id),
                "mutable-content": 1 if part.mutable_content else None,
            }
        )
        if part.badge is not None:  # 0 takes the badge away
            aps["badge"] = whole_number_of(part.badge, self._variables, self._setting)
        if part.relevance_score is not None:
            aps["relevance-score"] = part.relevance_score
        if part.live_activity is None:
            return {"aps": aps} if aps else {}
        return {"push_type": "liveactivity", "aps": aps | self._activity(part.live_activity)}

    def _activity(self, activity: LiveActivity) -> dict[str, Any]:
        now_s = self._created_at_s
        said: dict[str, Any] = {
            "timestamp": now_s,
            "event": activity.event,
            "content-state": value_of(activity.content_state, self._variables, self._setting),
        }
        if activity.attributes_type:
            said["attributes-type"] = activity.attributes_type
            said["attributes"] = value_of(activity.attributes, self._variables, self._setting)
        if activity.stale_after_s is not None:
            said["stale-date"] = now_s + activity.stale_after_s
        if activity.dismiss_after_s is not None:
            said["dismissal-date"] = now_s + activity.dismiss_after_s
        return said

    def _fcm(self, part: FcmPart) -> dict[str, Any]:
        shown = _given(
            {
                "channelId": self._text(part.channel_id),
                "sound": self._text(part.sound),
                "icon": self._text(part.icon),
                "color": part.color,
                "tag": self._text(part.tag),
                "clickAction": self._text(part.click_action),
            }
        )
        android = _given({"priority": part.priority and part.priority.upper()})
        if part.ttl_s is not None:
            android["ttl"] = f"{part.ttl_s}s"
        if shown and not part.data_only:
            android["notification"] = shown
        return {"android": android} if android else {}

    def _webpush(self, part: WebPushPart) -> dict[str, Any]:
        actions = [
            _given(
                {
                    "action": one.action,
                    "title": self._text(self._actions.get(one.action) or one.title),
                    "icon": self._text(one.icon or ""),
                    "navigate": self._text(one.url or ""),
                }
            )
            for one in part.actions
        ]
        payload = _given(
            {
                "icon": self._text(part.icon or ""),
                "badge": self._text(part.badge or ""),
                "tag": self._text(part.tag),
                "requireInteraction": part.require_interaction,
                "renotify": part.renotify,
                "silent": part.silent,
                "actions": actions,
            }
        )
        return _given({"payload": payload, "urgency": part.urgency})

    def _text(self, source: str) -> str:
        return text_of(source, self._variables, self._setting)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not said."""
    return {name: value for name, value in fields.items() if value}


class Filled(NamedTuple):
    """A template filled for one reader and platform, before the payload takes its shape.

    data: the event's over the template's. override: the part's.
    """

    title: str
    body: str
    image: str
    url: str
    subtitle: str
    data: dict[str, str]
    override: dict[str, Any]


def shaped(filled: Filled, platform: Platform, part: Part | None, own: dict[str, Any]) -> Content:
    """Make the content that the sink builds its payload of.

    own: the event's override, laid over the template's. Raises RenderError.
    """
    override = own if part is None else filled.override
    if isinstance(part, FcmPart):
        override = merged(override, _as_fcm_spells(own))
        if part.data_only:
            texts = {"title": filled.title, "body": filled.body, "image": filled.image}
            data = {name: text for name, text in texts.items() if text} | filled.data
            return Content(url=filled.url, data=data, override=override)
    elif part is not None and own:
        override = merged(override, own)
    if isinstance(part, WebPushPart) and part.declarative:
        return Content(override=_declarative(filled, override))
    if filled.subtitle and platform is Platform.APNS:
        override = merged({"aps": {"alert": {"subtitle": filled.subtitle}}}, override)
    return Content(filled.title, filled.body, filled.image, filled.url, filled.data, override)


def _declarative(filled: Filled, override: dict[str, Any]) -> dict[str, Any]:
    """Wrap everything for a browser that shows it by itself, without a service worker."""
    if not (filled.title and filled.url):
        raise RenderError("webpush.declarative: needs a title and a url, give both in the texts")
    texts = {"title": filled.title, "body": filled.body, "navigate": filled.url}
    shown = _given(texts | {"image": filled.image, "data": filled.data})
    shown = merged(shown, override.get("payload", {}))
    whole = {"web_push": DECLARATIVE, "notification": shown}
    for name in _BESIDE_NOTIFICATION & shown.keys():
        whole[name] = shown.pop(name)
    return override | {"payload": whole}


def _as_fcm_spells(own: dict[str, Any]) -> dict[str, Any]:
    """Bring an event's override to the spelling used here: FCM refuses one field in two."""
    message: dict[str, Any] = own
    if set(own) == {"message"} and isinstance(own["message"], dict):
        message = own["message"]
    android = message.get("android")
    shown = android.get("notification") if isinstance(android, dict) else None
    if not isinstance(android, dict) or not isinstance(shown, dict):
        return message
    if shown.keys().isdisjoint(_FCM_SPELLINGS):
        return message
    respelt = {_FCM_SPELLINGS.get(name, name): value for name, value in shown.items()}
    return message | {"android": android | {"notification": respelt}}
