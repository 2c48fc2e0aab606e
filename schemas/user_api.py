"""What the API takes and gives about devices, users and their wishes."""

from typing import Annotated

from pydantic import ConfigDict, Field

from schemas.content import Wire
from schemas.fields import Id, Locale, Name, Time, TopicName
from schemas.pipeline import Platform
from schemas.registry import MAX_GROUPS, DeviceBody, PreferencesBody, ProfileBody

MAX_IMPORT = 1_000
MAX_LINK_S = 5 * 366 * 86_400
YEAR_S = 366 * 86_400

UserId = Annotated[Id, Field(description="the user, without a slash")]
DeviceId = Annotated[Id, Field(description="the device, without a slash")]


class NewDevice(DeviceBody):
    """A device that may have no id yet: without one it gets one, made of its app and token."""

    user_id: Id
    device_id: Id | None = None


class PushKeys(Wire):
    """The keys of a subscription, as base64url. What else a browser may add is passed over."""

    model_config = ConfigDict(extra="ignore")

    p256dh: Annotated[str, Field(max_length=100)]
    auth: Annotated[str, Field(max_length=100)]


class WebPushSubscription(Wire):
    """A browser's PushSubscription.toJSON(), and the app beside it.

    expirationTime: epoch milliseconds, or null. Source: W3C Push API, "PushSubscriptionJSON".
    device_id: made of the endpoint when absent.
    """

    endpoint: Annotated[str, Field(min_length=1, max_length=2_048)]
    expiration_time: Annotated[float | None, Field(alias="expirationTime")] = None
    keys: PushKeys
    app: Name
    device_id: Id | None = None
    locale: Locale | None = None
    app_version: Annotated[str, Field(max_length=64)] = ""
    os_version: Annotated[str, Field(max_length=64)] = ""
    groups: Annotated[tuple[TopicName, ...], Field(max_length=MAX_GROUPS)] = ()


class DeviceView(Wire):
    """A device as it is known. token: a stand-in that is the same for the same token."""

    user_id: str
    device_id: str
    platform: Platform
    app: str
    token: str
    environment: str
    locale: str | None
    app_version: str
    os_version: str
    groups: tuple[str, ...]
    registered_at: Time | None


class RegisteredDevice(DeviceView):
    """A device as it will be. device_token: the app's own credential, for this user and device."""

    device_token: str


class VapidKey(Wire):
    """What a web app gives to pushManager.subscribe() as applicationServerKey, as base64url."""

    public_key: str


class UserView(ProfileBody):
    """What is known about a user. updated_at: of the newest record, null when there was none."""

    user_id: str
    updated_at: Time | None


class PreferencesView(PreferencesBody):
    """What a user wants. updated_at: of the newest record, null when there was none."""

    user_id: str
    updated_at: Time | None


class ImportedUser(ProfileBody):
    """One user of a batch."""

    user_id: Id


class ImportResult(Wire):
    """What became of one item. problem: null when it was taken."""

    user_id: str | None
    problem: dict[str, object] | None = None


class ImportAnswer(Wire):
    """What became of a batch, in its order."""

    accepted: int
    rejected: int
    results: list[ImportResult]


class LinksBody(Wire):
    """What links are to be for.

    category, type: what the unsubscribe link ends: messages of the category, of the type, or of
    both; all messages when neither is given. expires_in_s: seconds from now.
    """

    category: Name | None = None
    type: Annotated[str, Field(max_length=128)] = ""
    expires_in_s: Annotated[int, Field(strict=True, ge=60, le=MAX_LINK_S)] = YEAR_S


class Links(Wire):
    """Links for one user. headers: of an e-mail, for one-click unsubscription (RFC 8058)."""

    unsubscribe_url: str
    preferences_url: str
    expires_at: Time
    headers: dict[str, str]


class Unsubscribed(Wire):
    """What a link ended: messages of the category, of the type, of both, or all."""

    category: str | None
    type: str


class ChannelChoice(Wire):
    """A platform, and whether it may be used at all."""

    name: Platform
    allowed: bool


class CategoryChoice(Wire):
    """A category, and on which platforms the user gets it, other switches left aside."""

    name: str
    allowed: bool
    channels: tuple[ChannelChoice, ...]


class PreferencePage(Wire):
    """What a page shows on which a user makes choices."""

    tenant: str
    locale: str | None
    opt_out_all: bool
    muted_until: Time | None
    channels: tuple[ChannelChoice, ...]
    categories: tuple[CategoryChoice, ...]


class PreferencePageChange(Wire):
    """What a user changed there; what is left out stays as it is.

    categories: a category's name to yes or no, on all platforms. channels: a platform's, likewise.
    """

    opt_out_all: Annotated[bool, Field(strict=True)] | None = None
    muted_until: Time | None = None
    locale: Locale | None = None
    channels: dict[Platform, Annotated[bool, Field(strict=True)]] = Field(
        default_factory=dict, max_length=10
    )
    categories: dict[Name, Annotated[bool, Field(strict=True)]] = Field(
        default_factory=dict, max_length=200
    )
