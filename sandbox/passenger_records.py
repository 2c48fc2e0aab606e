"""Users as records on the registry's topics, as an airline's apps and servers would write them."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from sandbox import apns_scenarios, fcm_tokens
from sandbox.passenger_mix import ALL, APPS
from sandbox.passenger_people import FREQUENT, Passenger, PassengerDevice
from sandbox.webpush_subscriptions import make_subscription
from schemas.pipeline import Platform
from schemas.registry import registry_key
from schemas.stream import Record
from schemas.topics import DEVICES, PREFERENCES, USERS

DEAD_BROWSER: Final = "mozilla-410-106"
_encode = msgspec.json.Encoder().encode


class Address(NamedTuple):
    """How to reach a device. token: for a browser its endpoint; p256dh, auth: its keys."""

    token: str
    p256dh: str = ""
    auth: str = ""


class PassengerRecords:
    """Writes records.

    registered_at_ms: the time that all of them bear. died_at_ms: since when APNs calls the dead
    tokens dead. webpush_origin, vapid_public_key: see Population.
    """

    def __init__(
        self,
        *,
        tenant: str,
        registered_at_ms: int,
        died_at_ms: int,
        webpush_origin: str,
        vapid_public_key: str | None,
    ) -> None:
        self._tenant = tenant
        self._key_prefix = registry_key(tenant) + b"/"
        self._time = rfc3339(registered_at_ms)
        self._died_at_ms = died_at_ms
        self._origin = webpush_origin
        self._vapid_public_key = vapid_public_key

    def of(self, user: Passenger) -> list[Record]:
        """Give a user's records: the user, the preferences if any, the devices."""
        records = [self._user(user)]
        if user.has_preferences:
            records.append(self._preferences(user))
        records += [self._device(user, device) for device in user.devices]
        return records

    def address(self, device: PassengerDevice) -> Address:
        """Give the address that the simulators know, or know as dead."""
        if device.platform is Platform.WEBPUSH:
            path, p256dh, auth = make_subscription(
                str(device.seed),
                DEAD_BROWSER if device.dead else None,
                vapid_public_key=self._vapid_public_key,
            )
            return Address(self._origin + path, p256dh, auth)
        if device.platform is Platform.FCM:
            make = fcm_tokens.dead_token if device.dead else fcm_tokens.live_token
            return Address(make(device.seed))
        if device.dead:
            return Address(apns_scenarios.dead_token(device.seed, self._died_at_ms))
        return Address(hashlib.sha256(b"apns token %d" % device.seed).hexdigest())

    def _user(self, user: Passenger) -> Record:
        said = {
            "tenant": self._tenant,
            "user_id": user.user_id,
            "locale": user.locale,
            "time_zone": user.time_zone,
            "country": user.country,
            "attributes": {
                "home_airport": user.home,
                "tier": "gold" if FREQUENT in user.segments else "blue",
            },
            "segments": user.segments,
            "updated_at": self._time,
        }
        return Record(USERS, self._key(user.user_id), _encode(said))

    def _preferences(self, user: Passenger) -> Record:
        said: dict[str, Any] = {
            "tenant": self._tenant,
            "user_id": user.user_id,
            "updated_at": self._time,
        }
        if user.refuses == ALL:
            said["opt_out_all"] = True
        elif user.refuses in APPS:
            said["opted_out_channels"] = [user.refuses]
        elif user.refuses:
            said["opted_out_categories"] = [user.refuses]
        if user.quiet_hours is not None:
            start, end = user.quiet_hours
            said["quiet_hours"] = {"start": start, "end": end}
        return Record(PREFERENCES, self._key(user.user_id), _encode(said))

    def _device(self, user: Passenger, device: PassengerDevice) -> Record:
        address = self.address(device)
        app_version, os_version = device.version
        said = {
            "tenant": self._tenant,
            "user_id": user.user_id,
            "device_id": device.device_id,
            "platform": device.platform,
            "app": APPS[device.platform],
            "token": address.token,
            "app_version": app_version,
            "os_version": os_version,
            "registered_at": self._time,
        }
        if address.p256dh:
            said["p256dh"] = address.p256dh
            said["auth"] = address.auth
        return Record(DEVICES, self._key(f"{user.user_id}/{device.device_id}"), _encode(said))

    def _key(self, rest: str) -> bytes:
        """Give what registry_key gives; ids made here have nothing to percent-encode."""
        return self._key_prefix + rest.encode()


def rfc3339(at_ms: int) -> str:
    """Write a moment as the wire wants it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
