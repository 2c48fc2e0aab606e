"""The caller's tenant with its stores, as the services take it."""

from api.segment_stores import Stores
from api.web.door import Door
from schemas.access import Principal


def stores_of(door: Door, caller: Principal) -> Stores:
    """Give what services work on. Raises ProblemError for a tenant that is gone."""
    tenant = door.tenant_of(caller)
    return Stores(door.settings, tenant, door.redis, door.publisher, door.list_upload)
