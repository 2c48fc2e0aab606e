"""What the routes work on: everything that the process shares, made once."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from fastapi import Request

from api.auth.access import Access
from api.auth.limits import RequestLimits
from api.auth.signing import Signer
from api.publishing import Publisher
from api.segment_stores import MakeUpload
from api.web.applied import Applied
from api.web.audit import AuditTrail
from api.web.outbox import Outbox
from api.web.problems import not_found
from flows.config import SecretReader
from schemas.access import Principal
from schemas.settings import Settings
from schemas.tenant import Tenant
from sinks.sealing import KeyRing
from state.definitions import Definitions
from state.redis_client import RedisClient


@dataclass(frozen=True)
class Door:
    """Shared by all requests; nothing here belongs to one tenant.

    applied: waits for the registry. outbox: for async routes; publisher: for routes that may
    block. clickhouse: gives a client for one question. list_upload: begins an upload of a segment.
    seals: seals credentials; None without a master key. secrets: reads those that are not sealed.
    now_ms: the flows' business clock; wall_ms: the machine's.
    """

    settings: Settings
    tenants: Mapping[str, Tenant]
    redis: RedisClient
    applied: Applied
    definitions: Definitions
    outbox: Outbox
    publisher: Callable[[], Publisher]
    clickhouse: Callable[[], AbstractContextManager[Client]]
    list_upload: MakeUpload
    access: Access
    limits: RequestLimits
    signer: Signer
    seals: KeyRing | None
    secrets: SecretReader
    audit: AuditTrail
    now_ms: Callable[[], int]
    wall_ms: Callable[[], int]

    def tenant_of(self, principal: Principal) -> Tenant:
        """Give the caller's tenant."""
        found = self.tenants.get(principal.tenant)
        if found is None:
            raise not_found("such tenant")
        return found


def door_of(request: Request) -> Door:
    """Give the door that a request came through."""
    door: Door = request.app.state.door
    return door
