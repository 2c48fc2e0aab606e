"""What people do to segments works on this: the tenant, the shared state, the way to Kafka."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from api.refusals import RefusedError, Why
from api.tenant_stores import TenantStores, tenant_stores
from flows.list_upload import ListUpload
from schemas import segments as algebra
from schemas.definitions import Definition, Kind
from schemas.segment_definition import BadSegmentBodyError, check_name
from state.segment_work import RedisSegmentWork
from state.segments import Generation
from state.uploads import RedisUploads

MakeUpload = Callable[[str, str, str], ListUpload]
"""Begins an upload: of which tenant, which segment, under which id."""


def upload_to(options: Mapping[str, Any]) -> MakeUpload:
    """Give what begins uploads. options: librdkafka's."""
    make = partial(ListUpload, options)
    return lambda tenant, segment, upload: make(tenant=tenant, segment=segment, upload=upload)


@dataclass(frozen=True)
class Stores(TenantStores):
    """The tenant and its shared state."""

    make_upload: MakeUpload

    @cached_property
    def uploads(self) -> RedisUploads:
        """Give the tenant's uploaded lists."""
        return RedisUploads(self.client)

    @cached_property
    def work(self) -> RedisSegmentWork:
        """Give what is known of the builds of the tenant's segments."""
        return RedisSegmentWork(self.client)

    def parsed(self, text: str) -> algebra.Expression:
        """Parse an expression of existing segments. Raises RefusedError."""
        try:
            tree = algebra.parse(text)
        except algebra.BadSegmentError as error:
            raise RefusedError(f"expression: {error}") from error
        named = algebra.names(tree)
        if missing := sorted(set(named) - self.segments.exists(self.tenant.name, named)):
            raise RefusedError(f"expression: no segment named {', '.join(missing)}")
        return tree

    def what_is(self, name: str) -> tuple[Generation | None, Definition | None, bool]:
        """Give what counts under a name, its definition, and whether it exists at all."""
        counting = self.segments.generations(self.tenant.name, [name]).get(name)
        defined = self.definitions.get(Kind.SEGMENT, self.tenant.name, name)
        return counting, defined, name in self.segments.exists(self.tenant.name, [name])

    def count(self, name: str) -> int:
        """Count the members of a segment, as of now."""
        return self.segments.count(self.tenant.name, self.tenant.shards, name)


@contextmanager
def opened(tenant: str, *, see: str = "clarion segments ls") -> Iterator[Stores]:
    """Give the stores of a tenant. Raises CommandError for what a person can mend."""
    with tenant_stores(tenant, see=see) as stores:
        upload = upload_to(dict(stores.settings.kafka.client_options()))
        yield Stores(stores.settings, stores.tenant, stores.client, stores.publisher, upload)


def own_name(name: str) -> str:
    """Give a name back that people may put a segment up under. Raises RefusedError."""
    try:
        return check_name(name)
    except BadSegmentBodyError as error:
        raise RefusedError(str(error)) from error


def no_segment(name: str) -> RefusedError:
    """Say that there is none of this name."""
    return RefusedError(f"name: there is no segment {name!r}", Why.MISSING)
