"""A tenant's apps and where their keys are: references to secrets, never the secrets."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from schemas.content import Wire
from schemas.fields import (
    APPLE_ID_PATTERN,
    CONTACT_PATTERN,
    HOST_PATTERN,
    NAME_PATTERN,
    PROJECT_PATTERN,
    VARIABLE_PATTERN,
    VAULT_PATTERN,
)

Source = Literal["file", "env", "sealed", "external"]
"""Where a secret may be."""


class SecretRef(Wire):
    """Where a secret is: exactly one of these.

    file: relative to this YAML file. env: an environment variable. sealed: put through the API
    (PUT /v1/credentials/{app}), stored encrypted. external: `path#field` in HashiCorp Vault.
    """

    file: Annotated[str, Field(min_length=1, max_length=1_024)] | None = None
    env: Annotated[str, Field(max_length=200, pattern=VARIABLE_PATTERN)] | None = None
    sealed: Literal[True] | None = None
    external: Annotated[str, Field(max_length=500, pattern=VAULT_PATTERN)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(one is not None for one in (self.file, self.env, self.sealed, self.external)) != 1:
            raise ValueError("give exactly one of file, env, sealed and external")
        return self

    @property
    def source(self) -> Source:
        """Name the one that is given."""
        if self.file is not None:
            return "file"
        if self.env is not None:
            return "env"
        return "external" if self.external is not None else "sealed"


def _not_inline(value: object) -> object:
    if not isinstance(value, (dict, SecretRef)):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueError only
            "write {file: path}, {env: NAME}, {sealed: true} or {external: path#field}:"
            " secrets do not stand in this file"
        )
    return value


Secret = Annotated[SecretRef, BeforeValidator(_not_inline)]


class ApnsApp(Wire):
    """An Apple app. topic: its bundle id. private_key: the .p8 file of an APNs signing key."""

    platform: Literal["apns"]
    team_id: Annotated[str, Field(pattern=APPLE_ID_PATTERN)]
    key_id: Annotated[str, Field(pattern=APPLE_ID_PATTERN)]
    topic: Annotated[str, Field(max_length=200, pattern=NAME_PATTERN)]
    private_key: Secret


class FcmApp(Wire):
    """An Android or other Firebase app. service_account: the JSON key file."""

    platform: Literal["fcm"]
    project_id: Annotated[str, Field(pattern=PROJECT_PATTERN)]
    service_account: Secret


class WebPushApp(Wire):
    """A web app. subject: mailto: or https: contact; private_key: VAPID, P-256 (RFC 8292).

    allowed_hosts: where subscriptions may point; "*.x" means any host under x, "x:8443" another
    port than 443; when absent, the browser vendors' push services. Endpoints come from browsers:
    without a list they could make Clarion call hosts of their choice. private_network: these hosts
    may have private addresses (this machine, RFC 1918, ULA, CGNAT); else a name that resolves to
    one is refused. An IP address must be named itself.
    """

    platform: Literal["webpush"]
    subject: Annotated[str, Field(max_length=200, pattern=CONTACT_PATTERN)]
    private_key: Secret
    allowed_hosts: (
        Annotated[
            tuple[Annotated[str, Field(max_length=253, pattern=HOST_PATTERN)], ...],
            Field(min_length=1, max_length=100),
        ]
        | None
    ) = None
    private_network: Annotated[bool, Field(strict=True)] = False


App = Annotated[ApnsApp | FcmApp | WebPushApp, Field(discriminator="platform")]


def secret_field(app: App) -> str:
    """Name the field that holds the app's secret."""
    return "service_account" if isinstance(app, FcmApp) else "private_key"


def secret_of(app: App) -> SecretRef:
    """Give where the app's secret is."""
    return app.service_account if isinstance(app, FcmApp) else app.private_key
