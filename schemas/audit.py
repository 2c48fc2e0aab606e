"""The audit log's entries on their topic: who did what through the API, and how it was answered."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.content import Wire
from schemas.fields import Id, Name, Time, epoch_ms

AUTHENTICATE = "authenticate"
"""The action of a credential's first use in an hour, and of one that proved nobody."""
MAX_TARGET_CHARS = 512
MAX_USER_AGENT_CHARS = 200

_Short = Annotated[str, Field(max_length=256)]
_Digest = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")]


class AuditEntry(Wire):
    """One call that changed something or was refused, or the sum of many alike within a minute.

    audit_id: unique; a record that comes twice is one entry. tenant: empty where nobody is known,
    as when a credential proves nobody. actor_kind, actor: as in Principal. action: method and
    route, or `authenticate`. target: what it was about. status: of the answer. address: of the
    client. before, after: digests, empty where there is nothing to compare. count: calls, or items
    of them, that this entry stands for; at is the minute then.
    """

    schema_version: Literal[1] = 1
    audit_id: Id
    at: Time
    tenant: Name | Literal[""] = ""
    actor_kind: Annotated[str, Field(max_length=32)] = ""
    actor: _Short = ""
    action: Annotated[str, Field(min_length=1, max_length=256)]
    target: Annotated[str, Field(max_length=MAX_TARGET_CHARS)] = ""
    status: Annotated[int, Field(strict=True, ge=0, le=999)] = 0
    address: Annotated[str, Field(max_length=64)] = ""
    user_agent: Annotated[str, Field(max_length=MAX_USER_AGENT_CHARS)] = ""
    request_id: Annotated[str, Field(max_length=64)] = ""
    before: _Digest = ""
    after: _Digest = ""
    count: Annotated[int, Field(strict=True, ge=1, le=2**53)] = 1

    @property
    def at_ms(self) -> int:
        """`at` in epoch milliseconds."""
        return epoch_ms(self.at)
