"""An app's credential at a provider as it lies on Kafka and in Redis: sealed."""

from typing import Annotated, Literal

from pydantic import Field

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
