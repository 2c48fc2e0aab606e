"""Users, their devices and wishes, and what became of messages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from api.client.answers_people import (
    Cancelled,
    DeviceView,
    ErasureView,
    Explanation,
    FeedbackResults,
    ImportAnswer,
    LinkResults,
    Links,
    MessageStatus,
    PreferencesView,
    ReceiptAnswer,
    RegisteredDevice,
    TraceEntry,
    UserView,
)
from api.client.areas import Area, M, listing, method
from api.client.core import Paged, Steps, path

MERGE = {"Content-Type": "application/merge-patch+json"}
Body = Mapping[str, Any]


class _Vapid(msgspec.Struct):
    public_key: str


def prefer(wait_s: int) -> dict[str, str]:
    """Ask to be answered once it is applied, or after so many seconds. Source: RFC 7240 §4.3."""
    return {"Prefer": f"wait={wait_s}"} if wait_s else {}


class Devices(Area[M]):
    """`client.devices`. wait_s: how long to wait until the registry has applied a change."""

    @method
    def register(
        self, user_id: str, device_id: str, device: Body, *, wait_s: int = 0
    ) -> Steps[RegisteredDevice]:
        """Register a device, or tell that it is still there. device: as docs/api.md shows it."""
        place = path("/v1/users/{}/devices/{}", user_id, device_id)
        return self._ask("PUT", place, RegisteredDevice, body=device, headers=prefer(wait_s))

    @method
    def register_browser(
        self, user_id: str, subscription: Body, *, wait_s: int = 0
    ) -> Steps[RegisteredDevice]:
        """Register a browser: its PushSubscription.toJSON(), and `app`."""
        place = path("/v1/users/{}/webpush", user_id)
        return self._ask("POST", place, RegisteredDevice, body=subscription, headers=prefer(wait_s))

    @method
    def get(self, user_id: str, device_id: str) -> Steps[DeviceView]:
        """Give a device, as the registry has it."""
        return self._ask("GET", path("/v1/users/{}/devices/{}", user_id, device_id), DeviceView)

    @listing
    def list(self, user_id: str) -> Paged[DeviceView]:
        """Give a user's devices."""
        return self._paged(path("/v1/users/{}/devices", user_id), DeviceView)

    @method
    def delete(self, user_id: str, device_id: str, *, wait_s: int = 0) -> Steps[None]:
        """Unregister a device; its own credential ends with it."""
        place = path("/v1/users/{}/devices/{}", user_id, device_id)
        return self._ask("DELETE", place, type(None), headers=prefer(wait_s))

    @method
    def vapid_public_key(self, app: str) -> Steps[str]:
        """Give what a web app passes to pushManager.subscribe()."""
        place = path("/v1/apps/{}/vapid-public-key", app)
        answer = yield from self._ask("GET", place, _Vapid)
        return answer.public_key


class Users(Area[M]):
    """`client.users`. wait_s: how long to wait until the registry has applied a change."""

    @method
    def get(self, user_id: str) -> Steps[UserView]:
        """Give what is known about a user."""
        return self._ask("GET", path("/v1/users/{}", user_id), UserView)

    @method
    def put(self, user_id: str, profile: Body, *, wait_s: int = 0) -> Steps[UserView]:
        """Say what is known about a user, in place of all that was said before."""
        place = path("/v1/users/{}", user_id)
        return self._ask("PUT", place, UserView, body=profile, headers=prefer(wait_s))

    @method
    def patch(self, user_id: str, change: Body, *, wait_s: int = 0) -> Steps[UserView]:
        """Change a part of it; None takes a field away (JSON merge patch, RFC 7396)."""
        place = path("/v1/users/{}", user_id)
        headers = {**MERGE, **prefer(wait_s)}
        return self._ask("PATCH", place, UserView, body=change, headers=headers)

    @method
    def delete(self, user_id: str, *, wait_s: int = 0) -> Steps[None]:
        """Forget a user and all devices; see erase for what the law calls erasure."""
        place = path("/v1/users/{}", user_id)
        return self._ask("DELETE", place, type(None), headers=prefer(wait_s))

    @method
    def import_many(self, users: Sequence[Body]) -> Steps[ImportAnswer]:
        """Say what is known about up to 1,000 users, each with its `user_id`."""
        return self._ask("POST", "/v1/users:batch", ImportAnswer, body=users)

    @method
    def links(self, user_id: str, *, wishes: Body | None = None) -> Steps[Links]:
        """Give links to unsubscribe and to the preferences page."""
        return self._ask("POST", path("/v1/users/{}/links", user_id), Links, body=wishes or {})

    @method
    def export(self, user_id: str) -> Steps[dict[str, Any]]:
        """Give all that is kept about a user."""
        return self._ask("GET", path("/v1/users/{}/export", user_id), dict[str, Any])

    @method
    def erase(self, user_id: str) -> Steps[ErasureView]:
        """Erase a user everywhere; give the receipt to ask `client.erasures` about."""
        return self._ask("POST", path("/v1/users/{}/erase", user_id), ErasureView)


class Erasures(Area[M]):
    """`client.erasures`."""

    @method
    def get(self, erasure_id: str) -> Steps[ErasureView]:
        """Tell how far an erasure has come."""
        return self._ask("GET", path("/v1/erasures/{}", erasure_id), ErasureView)

    @method
    def check(self, receipt: Body, *, user_id: str | None = None) -> Steps[ReceiptAnswer]:
        """Tell whether a receipt is of this service, and of this user."""
        asked = {"receipt": receipt} | ({"user_id": user_id} if user_id else {})
        return self._ask("POST", "/v1/erasures/check", ReceiptAnswer, body=asked)


class Preferences(Area[M]):
    """`client.preferences`. wait_s: how long to wait until the registry has applied a change."""

    @method
    def get(self, user_id: str) -> Steps[PreferencesView]:
        """Give what a user wants and does not want."""
        return self._ask("GET", path("/v1/users/{}/preferences", user_id), PreferencesView)

    @method
    def put(self, user_id: str, wishes: Body, *, wait_s: int = 0) -> Steps[PreferencesView]:
        """Say what a user wants, in place of all that was said before."""
        place = path("/v1/users/{}/preferences", user_id)
        return self._ask("PUT", place, PreferencesView, body=wishes, headers=prefer(wait_s))

    @method
    def patch(self, user_id: str, change: Body, *, wait_s: int = 0) -> Steps[PreferencesView]:
        """Change a part of it (JSON merge patch, RFC 7396); lists are replaced whole."""
        place = path("/v1/users/{}/preferences", user_id)
        headers = {**MERGE, **prefer(wait_s)}
        return self._ask("PATCH", place, PreferencesView, body=change, headers=headers)


class Messages(Area[M]):
    """`client.messages`."""

    @method
    def get(self, message_id: str, *, wait_s: int = 0) -> Steps[MessageStatus]:
        """Tell where a message stands. wait_s: for one that was only just sent."""
        place = path("/v1/messages/{}", message_id)
        return self._ask("GET", place, MessageStatus, headers=prefer(wait_s))

    @method
    def explain(self, message_id: str, *, user_id: str | None = None) -> Steps[Explanation]:
        """Say why a user got it, or not."""
        place = path("/v1/messages/{}/explain", message_id)
        return self._ask("GET", place, Explanation, params={"user_id": user_id})

    @listing
    def trace(self, message_id: str, *, user_id: str | None = None) -> Paged[TraceEntry]:
        """Give every decision about it."""
        place = path("/v1/messages/{}/trace", message_id)
        return self._paged(place, TraceEntry, params={"user_id": user_id})

    @method
    def cancel(self, message_id: str) -> Steps[Cancelled]:
        """Take a message back: what of it has not left for a provider stops."""
        return self._ask("POST", path("/v1/messages/{}/cancel", message_id), Cancelled)


class Feedback(Area[M]):
    """`client.feedback`."""

    @method
    def report(self, reports: Iterable[Body]) -> Steps[FeedbackResults]:
        """Report what became of notifications, up to 1,000; the same report counts once."""
        body = {"items": list(reports)}
        return self._ask("POST", "/v1/feedback", FeedbackResults, body=body)


class ClickLinks(Area[M]):
    """`client.links`."""

    @method
    def clicks(self, links: Iterable[Body]) -> Steps[LinkResults]:
        """Give links that count clicks, each with `url`, `message_id` and `user_id`."""
        return self._ask("POST", "/v1/links/clicks", LinkResults, body={"items": list(links)})
