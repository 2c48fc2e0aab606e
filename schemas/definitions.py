"""What people define by name, such as templates; a compacted topic holds the last word on each.

Keys are `kind/tenant/name`, each part percent-encoded; a record without a value removes it.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from pydantic import Field

from schemas.content import Wire
from schemas.decode import BadMessageError
from schemas.fields import Id, Name, Time
from schemas.registry import registry_key

MAX_DEFINITION_BYTES = 524_288
MAX_PER_KIND = 10_000
"""Definitions of one kind that a tenant may have."""


class Kind(StrEnum):
    """What is defined."""

    TEMPLATE = "template"
    SEGMENT = "segment"
    CAMPAIGN = "campaign"
    CONTROL = "control"
    """Whether a campaign or message may go on; see schemas/campaigns."""
    ERASURE = "erasure"
    """A user who is to be forgotten; see schemas/erasures."""
    CREDENTIAL = "credential"
    """An app's key at a provider, sealed; see schemas/credentials."""
    API_KEY = "api_key"
    """What a credential of the API may do, and hashes of its secrets; see schemas/api_keys."""


class DefinitionRecord(Wire):
    """A definition as its writer puts it on the topic.

    version: one more than that of the definition it replaces; 1 for a new one. body: what its kind
    says; who reads a kind checks it.
    """

    schema_version: Literal[1] = 1
    kind: Kind
    tenant: Name
    name: Id
    version: Annotated[int, Field(strict=True, ge=1, le=2**31)] = 1
    updated_at: Time
    body: dict[str, Any]

    @property
    def key(self) -> bytes:
        """The record's key on the topic."""
        return definition_key(self.kind, self.tenant, self.name)

    def to_json(self) -> bytes:
        """Encode as it goes to Kafka."""
        return self.model_dump_json().encode()


class Definition(msgspec.Struct, frozen=True, array_like=True):
    """A definition as flows and the API read it.

    body: JSON object. at_ms: when Kafka took it; of two, the later is the last word.
    """

    kind: Kind
    tenant: str
    name: str
    version: int
    body: bytes
    at_ms: int


def definition_key(kind: Kind, tenant: str, name: str) -> bytes:
    """Give the record key of a definition."""
    return registry_key(kind, tenant, name)


def split_definition_key(key: bytes | None) -> tuple[Kind, str, str]:
    """Take a record key apart. Raises BadMessageError."""
    try:
        kind, tenant, name = (
            unquote(part, errors="strict") for part in (key or b"").decode().split("/")
        )
        return Kind(kind), tenant, name
    except ValueError:
        kinds = ", ".join(Kind)
        raise BadMessageError(
            f"the record key must be kind/tenant/name, each part percent-encoded; kinds: {kinds}"
        ) from None
