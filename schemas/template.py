"""A version of a template: texts by locale, and what only one platform can do.

Texts may be Jinja, and so may the parts' own texts; docs/templates.md is for who writes them.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.content import Body, LocalizedText, Title, Wire
from schemas.decode import check_json
from schemas.fields import (
    EXPRESSION_PATTERN,
    ID_PATTERN,
    OVERSIZE_PATTERN,
    VARIABLE_PATTERN,
    Locale,
)

MAX_SAMPLES_BYTES = 16_384
MAX_STATE_BYTES = 4_096
MAX_ACTIONS = 4
"""Chrome shows two, Android's notifications three; what is beyond is not shown."""

_DataKey = Annotated[str, Field(min_length=1, max_length=128)]
_Variable = Annotated[str, Field(max_length=128, pattern=VARIABLE_PATTERN)]
_Short = Annotated[str, Field(max_length=500)]
_Link = Annotated[str, Field(min_length=1, max_length=2048, pattern=ID_PATTERN)]
_ActionId = Annotated[str, Field(min_length=1, max_length=64, pattern=ID_PATTERN)]
_JsonObject = dict[str, Any]
_Expression = Annotated[str, Field(min_length=1, max_length=500, pattern=EXPRESSION_PATTERN)]
"""Jinja that gives a value, such as "{{ unread }}"."""
_WholeNumber = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
_Seconds = Annotated[int, Field(strict=True, ge=0, le=2_419_200)]
_Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class TemplateText(LocalizedText):
    """The texts for one locale. subtitle: APNs only. actions: the buttons' titles by action."""

    subtitle: Title = ""
    actions: dict[_ActionId, _Short] = Field(default_factory=dict, max_length=MAX_ACTIONS)


class LiveActivity(Wire):
    """A change to an iOS Live Activity: its devices are registered with the activity's push token.

    content_state, attributes: JSON for the app's types; a text that is one Jinja expression, such
    as "{{ score }}", becomes its value. attributes_type, attributes: needed to start one.
    stale_after_s, dismiss_after_s: from the event's created_at, which is also its timestamp.
    Source: Apple, "Starting and updating Live Activities with ActivityKit push notifications".
    """

    event: Literal["start", "update", "end"] = "update"
    content_state: _JsonObject = Field(default_factory=dict, max_length=100)
    attributes_type: Annotated[str, Field(max_length=200)] = ""
    attributes: _JsonObject = Field(default_factory=dict, max_length=100)
    stale_after_s: _Seconds | None = None
    dismiss_after_s: _Seconds | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.event == "start" and not self.attributes_type:
            raise ValueError("attributes_type: is missing, an activity is started with it")
        check_json(self.content_state, "content_state", max_bytes=MAX_STATE_BYTES)
        check_json(self.attributes, "attributes", max_bytes=MAX_STATE_BYTES)
        return self


class ApnsPart(Wire):
    """What only Apple's devices get. A field that is absent is not sent.

    badge: a number, or an expression such as "{{ user.unread }}". critical_volume: makes the sound
    a critical alert, which needs Apple's entitlement. mutable_content: lets the app's extension
    change the message; an image sets it anyway.
    Source: Apple, "Generating a remote notification".
    """

    sound: _Short = ""
    critical_volume: _Share | None = None
    badge: _WholeNumber | _Expression | None = None
    interruption_level: Literal["passive", "active", "time-sensitive", "critical"] | None = None
    relevance_score: _Share | None = None
    thread_id: _Short = ""
    category: _Short = ""
    target_content_id: _Short = ""
    mutable_content: Annotated[bool, Field(strict=True)] = False
    live_activity: LiveActivity | None = None


class FcmPart(Wire):
    """What only FCM's devices get. A field that is absent is not sent.

    priority: of the message on Android; else by the event's. ttl_s: how long FCM keeps it for a
    device that is off; else until the event expires. data_only: no notification: title, body and
    image go to the app as data. The others are Android's.
    Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
    """

    channel_id: _Short = ""
    priority: Literal["high", "normal"] | None = None
    ttl_s: _Seconds | None = None
    data_only: Annotated[bool, Field(strict=True)] = False
    sound: _Short = ""
    icon: _Short = ""
    color: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None
    tag: _Short = ""
    click_action: _Short = ""


class WebPushAction(Wire):
    """A button. url: where it leads, for the declarative form; else the service worker's affair."""

    action: _ActionId
    title: _Short
    icon: _Link | None = None
    url: _Link | None = None


class WebPushPart(Wire):
    """What only browsers get. A field that is absent is not sent.

    declarative: the form that Safari shows without a service worker; needs a title and a url.
    Source: W3C Push API, "declarative push message"; Notifications API, NotificationOptions.
    """

    actions: Annotated[tuple[WebPushAction, ...], Field(max_length=MAX_ACTIONS)] = ()
    icon: _Link | None = None
    badge: _Link | None = None
    tag: _Short = ""
    require_interaction: Annotated[bool, Field(strict=True)] = False
    renotify: Annotated[bool, Field(strict=True)] = False
    silent: Annotated[bool, Field(strict=True)] = False
    urgency: Literal["very-low", "low", "normal", "high"] | None = None
    declarative: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [one.action for one in self.actions]
        if len(set(names)) < len(names):
            raise ValueError("actions: give every action its own name")
        if self.renotify and not self.tag:
            raise ValueError("renotify: needs a tag, as browsers refuse it without")
        return self


class LintRules(Wire):
    """How strict publishing is. personal_data: e-mail, phone and card numbers in visible texts."""

    personal_data: Literal["off", "warning", "error"] = "warning"


class Template(Wire):
    """One version of a template: Jinja texts by locale, filled from the event's variables.

    data: handed to the app beside the event's own, which comes first. variables: an example of each
    variable that the texts read; a preview is made with them, and linting knows them.
    on_oversize: what happens when a message is too large for its platform: `reject`, or
    `truncate: body`, where body may also be title, subtitle or `data.<key>`.
    """

    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1
    texts: Annotated[dict[Locale, TemplateText], Field(min_length=1, max_length=100)]
    data: dict[_DataKey, Body] = Field(default_factory=dict, max_length=100)
    apns: ApnsPart | None = None
    fcm: FcmPart | None = None
    webpush: WebPushPart | None = None
    on_oversize: Annotated[str, Field(max_length=150, pattern=OVERSIZE_PATTERN)] = "reject"
    variables: dict[_Variable, Any] = Field(default_factory=dict, max_length=200)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_json(self.variables, "variables", max_bytes=MAX_SAMPLES_BYTES)
        return self

    @property
    def truncated(self) -> str:
        """The field that is shortened to make a message fit, "" for none."""
        return "" if self.on_oversize == "reject" else self.on_oversize.partition(":")[2].strip()
