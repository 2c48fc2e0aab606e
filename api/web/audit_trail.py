"""The audit log's way out: records on a topic, which the registry turns into rows."""

from collections.abc import Callable
from uuid import uuid4

import msgspec

from api.web.audit import Deed
from api.web.outbox import Outbox
from schemas.stream import Record
from schemas.topics import AUDIT

_encode = msgspec.json.Encoder().encode


class KafkaAuditTrail:
    """Keeps deeds on the audit topic. now_ms: the machine's clock."""

    def __init__(self, outbox: Outbox, now_ms: Callable[[], int]) -> None:
        self._outbox = outbox
        self._now_ms = now_ms

    async def keep(self, deed: Deed) -> None:
        """See AuditTrail."""
        entry = {"audit_id": uuid4().hex, "at_ms": self._now_ms(), **deed._asdict()}
        await self._outbox.put([Record(AUDIT, deed.principal.tenant.encode(), _encode(entry))])

    def count(self, deed: Deed, items: int) -> None:
        """See AuditTrail."""
