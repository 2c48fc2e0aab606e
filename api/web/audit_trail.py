"""The audit log's way out: entries on a topic, which the registry turns into rows."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import structlog

from api.web.audit import Deed
from api.web.outbox import NotTakenError, Outbox
from schemas import metrics
from schemas.access import Principal
from schemas.audit import AUTHENTICATE, MAX_TARGET_CHARS, MAX_USER_AGENT_CHARS, AuditEntry
from schemas.stream import Record
from schemas.topics import AUDIT

PUT_OUT_S = 5.0
"""How long sums wait in memory: what a kill loses at most."""
MAX_SUMS = 10_000
"""Sums in memory; what comes beyond them is added up by its action and status alone."""
MAX_UNSENT = 50_000
"""Entries that wait while Kafka does not answer; beyond them the newest are lost, and counted."""
MAX_USES = 50_000
"""Credentials and addresses remembered within an hour; beyond them uses are kept anew."""
AT_ONCE = 1_000
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
DEVICE = "device"
"""The kind of credential of which there are millions: counted together."""
MANY = "(many)"
"""Stands for actors and addresses that are more than can be told apart."""


class _Sum(NamedTuple):
    """What calls have in common that are counted together."""

    minute: int
    tenant: str
    actor_kind: str
    actor: str
    action: str
    address: str
    status: int


class KafkaAuditTrail:
    """Keeps deeds on the audit topic. now_ms: the machine's clock.

    A deed is acknowledged by Kafka before its answer goes out. Sums and first uses wait in memory
    for PUT_OUT_S at most; stop() puts out the rest, and a kill loses them. An attempt that fails is
    repeated with the same entries, which the table knows by their ids. One event loop's alone.
    """

    def __init__(self, outbox: Outbox, now_ms: Callable[[], int]) -> None:
        self._outbox = outbox
        self._now_ms = now_ms
        self._sums: dict[_Sum, int] = {}
        self._used: set[tuple[str, str, str, str]] = set()
        self._used_hour = 0
        self._unsent: list[Record] = []
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    async def keep(self, deed: Deed) -> None:
        """See AuditTrail."""
        who = deed.principal
        await self._outbox.put(
            [
                _record(
                    AuditEntry(
                        audit_id=uuid4().hex,
                        at=_time(self._now_ms()),
                        tenant=who.tenant,
                        actor_kind=who.kind,
                        actor=who.id[:256],
                        action=deed.action[:256],
                        target=deed.target[:MAX_TARGET_CHARS],
                        status=deed.status,
                        address=deed.address[:64],
                        user_agent=deed.user_agent[:MAX_USER_AGENT_CHARS],
                        request_id=deed.request_id[:64],
                        before=deed.before,
                        after=deed.after,
                    )
                )
            ]
        )

    def count(self, deed: Deed, items: int) -> None:
        """See AuditTrail."""
        if items > 0:
            who = deed.principal
            actor, address = who.id, deed.address
            if who.kind == DEVICE:
                actor = address = MANY
            self._add(who.tenant, who.kind, actor, deed.action, address, deed.status, items)

    def used(self, principal: Principal, address: str, user_agent: str) -> None:
        """See AuditTrail."""
        now_ms = self._now_ms()
        hour = now_ms // _HOUR_MS
        if hour != self._used_hour or len(self._used) >= MAX_USES:
            self._used.clear()
            self._used_hour = hour
        use = (principal.tenant, principal.kind, principal.id, address)
        if use in self._used:
            return
        self._used.add(use)
        if principal.kind == DEVICE:
            self._add(principal.tenant, DEVICE, MANY, AUTHENTICATE, MANY, 200, 1)
            return
        self._append(
            AuditEntry(
                audit_id=uuid4().hex,
                at=_time(now_ms),
                tenant=principal.tenant,
                actor_kind=principal.kind,
                actor=principal.id[:256],
                action=AUTHENTICATE,
                status=200,
                address=address[:64],
                user_agent=user_agent[:MAX_USER_AGENT_CHARS],
            )
        )

    def refused(self, address: str) -> None:
        """See AuditTrail."""
        self._add("", "", "", AUTHENTICATE, address, 401, 1)

    def start(self) -> None:
        """See AuditTrail."""
        self._task = asyncio.create_task(self._again_and_again())

    async def stop(self) -> None:
        """See AuditTrail."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.put_out()
        if self._unsent:
            metrics.API_AUDIT_UNSENT.inc(len(self._unsent))
            self._log.error("audit entries lost at the stop", entries=len(self._unsent))

    async def put_out(self) -> None:
        """Put out what waits; what Kafka does not take goes on waiting."""
        sums, self._sums = self._sums, {}
        for one, count in sums.items():
            self._append(
                AuditEntry(
                    audit_id=uuid4().hex,
                    at=_time(one.minute * _MINUTE_MS),
                    tenant=one.tenant,
                    actor_kind=one.actor_kind,
                    actor=one.actor[:256],
                    action=one.action[:256],
                    status=one.status,
                    address=one.address[:64],
                    count=count,
                )
            )
        while self._unsent:
            part = self._unsent[:AT_ONCE]
            try:
                await self._outbox.put(part)
            except NotTakenError as error:
                self._log.warning("audit entries wait", entries=len(self._unsent), error=str(error))
                return
            del self._unsent[: len(part)]

    async def _again_and_again(self) -> None:
        while True:
            await asyncio.sleep(PUT_OUT_S)
            try:
                await self.put_out()
            except Exception:  # noqa: BLE001 - a defect here must not end the log for good
                self._log.exception("audit entries not put out")

    def _add(  # noqa: PLR0917 - the parts of a key, in their order
        self, tenant: str, kind: str, actor: str, action: str, address: str, status: int, items: int
    ) -> None:
        minute = self._now_ms() // _MINUTE_MS
        key = _Sum(minute, tenant, kind, actor, action, address, status)
        if key not in self._sums and len(self._sums) >= MAX_SUMS:
            key = _Sum(minute, tenant, "", MANY, action, MANY, status)
        self._sums[key] = self._sums.get(key, 0) + items

    def _append(self, entry: AuditEntry) -> None:
        if len(self._unsent) >= MAX_UNSENT:
            metrics.API_AUDIT_UNSENT.inc()
            return
        self._unsent.append(_record(entry))


def _record(entry: AuditEntry) -> Record:
    return Record(AUDIT, entry.tenant.encode() or None, entry.model_dump_json().encode())


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)
