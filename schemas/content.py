"""Parts of an event: whom it is for, and what they see."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas import segments
from schemas.fields import AppUrl, Id, Locale, Name, TopicName, WebUrl

MAX_RECIPIENTS = 100_000


class Wire(BaseModel):
    """Base of the wire models: no unknown fields, unchangeable, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def one_or_more(value: object) -> object:
    """Let one model stand without a list, and null for none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, (dict, Wire)) else value


def _once_each(users: tuple[str, ...]) -> tuple[str, ...]:
    """Without repeats, in the order given."""
    if len(users) == 1:
        return users
    return tuple(dict.fromkeys(users))


def _parsed(text: str) -> str:
    segments.parse(text)
    return text


class UsersAudience(Wire):
    """These users, on all their devices. A user id given twice counts once."""

    users: Annotated[
        tuple[Id, ...],
        Field(min_length=1, max_length=MAX_RECIPIENTS, fail_fast=True),
        AfterValidator(_once_each),
    ]


class DeviceRef(Wire):
    """One device of one user."""

    user_id: Id
    device_id: Id


class DevicesAudience(Wire):
    """These devices only."""

    devices: Annotated[
        tuple[DeviceRef, ...],
        Field(min_length=1, max_length=MAX_RECIPIENTS, fail_fast=True),
    ]


class SegmentAudience(Wire):
    """The users of an expression over segments, such as `buyers & eu | staff`.

    `-` (without) binds tightest, then `&` (both), then `|` (either); brackets group. Write
    blanks around `-`, which may also stand inside a name.
    """

    segment: Annotated[
        str, Field(min_length=1, max_length=segments.MAX_CHARS), AfterValidator(_parsed)
    ]


class EveryoneAudience(Wire):
    """Every user of the tenant."""

    everyone: Literal[True]


class TopicAudience(Wire):
    """The users who subscribed to a topic; `topic.<name>` in expressions."""

    topic: TopicName


class GroupAudience(Wire):
    """The devices of a device group, and no other devices of their users."""

    group: TopicName


Audience = (
    UsersAudience
    | DevicesAudience
    | SegmentAudience
    | EveryoneAudience
    | TopicAudience
    | GroupAudience
)

Title = Annotated[str, Field(max_length=500)]
Body = Annotated[str, Field(max_length=4_000)]
Data = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=4_096)]
    ],
    Field(max_length=100),
]
Override = Annotated[dict[str, Any], Field(max_length=100)]


class LocalizedText(Wire):
    """The texts for one locale; image and url replace the content's own when given."""

    title: Title = ""
    body: Body = ""
    image: WebUrl | None = None
    url: AppUrl | None = None


class PlatformOverrides(Wire):
    """Fields merged over the payload built for a platform, in the provider's own names.

    apns: aps, payload, push_type and priority. fcm: members of the v1 `message` object.
    webpush: payload and urgency. See docs/producers.md.
    """

    apns: Override = Field(default_factory=dict)
    fcm: Override = Field(default_factory=dict)
    webpush: Override = Field(default_factory=dict)


class EventContent(Wire):
    """What the user sees. data: handed to the app. locales: texts by language tag."""

    title: Title = ""
    body: Body = ""
    image: WebUrl | None = None
    url: AppUrl | None = None
    data: Data = Field(default_factory=dict)
    locales: dict[Locale, LocalizedText] = Field(default_factory=dict, max_length=100)
    platforms: PlatformOverrides | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to show and nothing to hand over."""
        return not (self.title or self.body or self.data or self.locales or self.platforms)


class TemplateRef(Wire):
    """Texts that the tenant keeps; without a version, the newest."""

    name: Name
    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    data: Data = Field(default_factory=dict)
    platforms: PlatformOverrides | None = None
