"""What a sink needs to speak for a tenant's app, with all secrets resolved."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec


class ApnsCredential(msgspec.Struct, frozen=True):
    """An APNs signing key. topic: the app's bundle id. private_key_pem: the .p8 file's text."""

    team_id: str
    key_id: str
    private_key_pem: str
    topic: str


class FcmCredential(msgspec.Struct, frozen=True):
    """A Firebase service account. service_account: the parsed JSON key file."""

    project_id: str
    service_account: dict[str, Any]


class WebPushCredential(msgspec.Struct, frozen=True):
    """A VAPID key (RFC 8292). private_key_pem: P-256, PKCS#8. subject: mailto: or https: URL.

    allowed_hosts, private_network: where subscriptions may point, see schemas.apps.WebPushApp.
    """

    private_key_pem: str
    subject: str
    allowed_hosts: tuple[str, ...] | None = None
    private_network: bool = False


Credential = ApnsCredential | FcmCredential | WebPushCredential


T = TypeVar("T", ApnsCredential, FcmCredential, WebPushCredential)


class UnknownAppError(LookupError):
    """The tenant has no credential under this app name."""


class Credentials:
    """Credentials by (tenant, app). Raises UnknownAppError for a pair it does not hold.

    A credential is the same object until it changes: sinks keep what they made of it as long.
    """

    def __init__(self, by_app: Mapping[tuple[str, str], Credential]) -> None:
        self._by_app = dict(by_app)

    def replace(self, by_app: Mapping[tuple[str, str], Credential]) -> None:
        """Hold these from now on. From any thread; a get() sees the old ones or the new ones."""
        self._by_app = dict(by_app)

    def all(self) -> Mapping[tuple[str, str], Credential]:
        """Give all of them."""
        return self._by_app

    def get(self, tenant: str, app: str, kind: type[T]) -> T:
        """Give the credential of this kind; one of another kind counts as unknown."""
        found = self._by_app.get((tenant, app))
        if not isinstance(found, kind):
            raise UnknownAppError(f"tenant {tenant!r} has no {kind.__name__} for app {app!r}")
        return found
