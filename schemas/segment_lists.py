"""Uploaded segments on the topic `segments`: a list of users in parts, and a head that puts it up.

Keys, each part percent-encoded: `tenant/segment` for the head, `tenant/segment/upload/number` for
a part. The topic is compacted and has one partition, so that parts come before their head and what
is added later comes after it. A head without a value forgets the segment; a part without one only
makes room.
"""

from typing import Annotated, Literal

import msgspec

from schemas.decode import BadMessageError
from schemas.registry import registry_key, split_key

PART_USERS = 1_000
MAX_PART_USERS = 5_000

_Short = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_User = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f]+$")]
Mode = Literal["add", "remove", "replace"]


class ListPart(msgspec.Struct, frozen=True, array_like=True):
    """Some users of an upload.

    mode replace: they are members once the head names this upload. add, remove: of the upload
    `base`, if that is the one that counts when the part is read, else of nothing.
    """

    tenant: _Short
    segment: _Short
    upload: _Short
    number: Annotated[int, msgspec.Meta(ge=0)]
    mode: Mode
    users: Annotated[tuple[_User, ...], msgspec.Meta(max_length=MAX_PART_USERS)]
    base: str = ""


class ListHead(msgspec.Struct, frozen=True, array_like=True):
    """From here on the segment is this upload. parts: how many came before it."""

    tenant: _Short
    segment: _Short
    upload: _Short
    parts: Annotated[int, msgspec.Meta(ge=0)]


def head_key(tenant: str, segment: str) -> bytes:
    """Give the record key of a list's head."""
    return registry_key(tenant, segment)


def part_key(tenant: str, segment: str, upload: str, number: int) -> bytes:
    """Give the record key of a list's part."""
    return registry_key(tenant, segment, upload, str(number))


def split_list_key(key: bytes | None) -> tuple[str, ...]:
    """Take a key apart: two parts of a head, four of a part. Raises BadMessageError."""
    found = split_key(key)
    if len(found) == 2 or (len(found) == 4 and found[3].isdecimal()):
        return found
    raise BadMessageError(
        "the record key must be tenant/segment or tenant/segment/upload/number, each part"
        " percent-encoded"
    )
