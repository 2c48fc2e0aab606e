"""What the commands of `clarion segments` work on: settings, the tenant, the shared state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from time import monotonic

from api.cli import CommandError
from flows.config import ConfigError, load_tenants
from schemas import segments as algebra
from schemas.definitions import Definition, Kind
from schemas.segment_definition import BadSegmentBodyError, check_name
from schemas.settings import BadSettingsError, Settings, load_settings
from schemas.tenant import Tenant
from state.definitions import RedisDefinitions
from state.errors import StateError
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import Generation
from state.uploads import RedisUploads

POLL_S = 0.05


@dataclass(frozen=True)
class Stores:
    """The tenant and its shared state."""

    settings: Settings
    tenant: Tenant
    segments: RedisSegments
    uploads: RedisUploads
    definitions: RedisDefinitions
    client: RedisClient

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
    try:
        settings = load_settings()
        tenants = load_tenants(settings.tenants_dir)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    if tenant not in tenants:
        raise CommandError(f"tenant: there is no {tenant!r}, use one of {', '.join(tenants)}")
    redis = settings.redis
    client = RedisClient(
        redis.url,
        cluster=redis.cluster,
        timeout_s=max(redis.timeout_s, 30.0),
        connect_timeout_s=redis.connect_timeout_s,
    )
    try:
        yield Stores(
            settings,
            tenants[tenant],
            RedisSegments(client),
            RedisUploads(client),
            RedisDefinitions(client),
            client,
        )
    except StateError as error:
        raise CommandError(str(error)) from error
    finally:
        client.close()


def own_name(name: str) -> str:
    """Give a name back that people may put a segment up under. Raises CommandError."""
    try:
        return check_name(name)
    except BadSegmentBodyError as error:
        raise CommandError(str(error)) from error


def wait_until(holds: Callable[[], bool], *, timeout_s: float) -> bool:
    """Ask again and again; False when it did not come true in time."""
    poll, deadline_s = Event(), monotonic() + timeout_s
    while not holds():
        if monotonic() >= deadline_s:
            return False
        poll.wait(POLL_S)
    return True
