"""Which uploads an uploaded segment has on its topic: what to clear away once it is replaced."""

from collections.abc import Mapping
from typing import Protocol

from state.keys import uploads_key
from state.redis_client import RedisClient


class Uploads(Protocol):
    """Uploads of a list by their id. Every method raises StateUnavailableError."""

    def note(self, tenant: str, segment: str, parts: Mapping[str, int]) -> None:
        """Note how many parts have come of uploads. One round trip."""
        ...

    def of(self, tenant: str, segment: str) -> dict[str, int]:
        """Give the uploads there are, and how many parts each has. One round trip."""
        ...

    def forget(self, tenant: str, segment: str, upload: str) -> None:
        """Forget an upload that was cleared away. One round trip."""
        ...


class RedisUploads:
    """Uploads in Redis, a hash per list; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def note(self, tenant: str, segment: str, parts: Mapping[str, int]) -> None:
        """See Uploads."""
        pairs = [value for pair in parts.items() for value in pair]
        self._client.run("HSET", uploads_key(tenant, segment), *pairs)

    def of(self, tenant: str, segment: str) -> dict[str, int]:
        """See Uploads."""
        found = self._client.run("HGETALL", uploads_key(tenant, segment))
        return {upload.decode(): int(parts) for upload, parts in sorted(found.items())}

    def forget(self, tenant: str, segment: str, upload: str) -> None:
        """See Uploads."""
        self._client.run("HDEL", uploads_key(tenant, segment), upload)


class MemoryUploads:
    """Uploads in a dict; see the port."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], dict[str, int]] = {}

    def note(self, tenant: str, segment: str, parts: Mapping[str, int]) -> None:
        """See Uploads."""
        self._stored.setdefault((tenant, segment), {}).update(parts)

    def of(self, tenant: str, segment: str) -> dict[str, int]:
        """See Uploads."""
        return dict(sorted(self._stored.get((tenant, segment), {}).items()))

    def forget(self, tenant: str, segment: str, upload: str) -> None:
        """See Uploads."""
        self._stored.get((tenant, segment), {}).pop(upload, None)
