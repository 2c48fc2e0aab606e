"""An app's credential at a provider as it lies on Kafka and in Redis: sealed."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from schemas.apps import Source
from schemas.content import Wire
from schemas.fields import Time
from schemas.pipeline import Platform

MAX_SECRET_CHARS = 65_536

_Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Envelope(Wire):
    """A secret under a data key of its own, which is under a key derived from a master key.

    Both AES-256-GCM, a nonce of 12 bytes at the front, bound to the tenant and app. key_id: of the
    master key. wrapped_key: the data key. sealed: the secret.
    """

    algorithm: Literal["A256GCM"] = "A256GCM"
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    wrapped_key: Annotated[_Base64, Field(max_length=200)]
    sealed: Annotated[_Base64, Field(max_length=2 * MAX_SECRET_CHARS)]


class SealedCredential(Wire):
    """The body of a definition of Kind.CREDENTIAL; its name is the app's.

    fingerprint: of the public key, see sinks/credential_check. set_by: the caller's kind and id.
    """

    platform: Platform
    envelope: Envelope
    fingerprint: Annotated[str, Field(max_length=100)]
    set_at: Time
    set_by: Annotated[str, Field(max_length=500)]


class NewCredential(Wire):
    """A secret for an app: the text of a .p8 file, a service account's JSON, a VAPID key's PEM."""

    secret: Annotated[SecretStr, Field(min_length=1, max_length=MAX_SECRET_CHARS)]


class CredentialView(Wire):
    """What may be shown of an app's credential.

    source: as the tenant's file says; what is not "sealed" is known to the flows alone, so that
    is_set is null. fingerprint: of the public key. master_key: the id of the one that it is
    under.
    """

    app: str
    platform: Platform
    source: Source
    is_set: bool | None = None
    version: int | None = None
    fingerprint: str | None = None
    set_at: Time | None = None
    set_by: str | None = None
    master_key: str | None = None
