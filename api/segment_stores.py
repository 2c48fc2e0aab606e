"""What the commands of `clarion segments` work on: settings, the tenant, the shared state."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from api.cli import CommandError
from api.tenant_stores import TenantStores, tenant_stores
from schemas import segments as algebra
from schemas.definitions import Definition, Kind
from schemas.segment_definition import BadSegmentBodyError, check_name
from state.segments import Generation
from state.uploads import RedisUploads


class Stores(TenantStores):
    """The tenant and its shared state."""

    @cached_property
    def uploads(self) -> RedisUploads:
        """Give the tenant's uploaded lists."""
        return RedisUploads(self.client)

    def parsed(self, text: str) -> algebra.Expression:
        """Parse an expression of existing segments. Raises CommandError."""
        try:
            tree = algebra.parse(text)
        except algebra.BadSegmentError as error:
            raise CommandError(f"expression: {error}") from error
        named = algebra.names(tree)
        if missing := sorted(set(named) - self.segments.exists(self.tenant.name, named)):
            raise CommandError(
                f"expression: no segment named {', '.join(missing)}; see clarion segments ls"
            )
        return tree

    def what_is(self, name: str) -> tuple[Generation | None, Definition | None, bool]:
        """Give what counts under a name, its definition, and whether it exists at all."""
        counting = self.segments.generations(self.tenant.name, [name]).get(name)
        defined = self.definitions.get(Kind.SEGMENT, self.tenant.name, name)
        return counting, defined, name in self.segments.exists(self.tenant.name, [name])


@contextmanager
def opened(tenant: str) -> Iterator[Stores]:
    """Give the stores of a tenant. Raises CommandError for what a person can mend."""
    with tenant_stores(tenant) as stores:
        yield Stores(stores.settings, stores.tenant, stores.client)


def own_name(name: str) -> str:
    """Give a name back that people may put a segment up under. Raises CommandError."""
    try:
        return check_name(name)
    except BadSegmentBodyError as error:
        raise CommandError(str(error)) from error
