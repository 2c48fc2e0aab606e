"""Wraps the sealed credentials of all tenants anew, from a command."""

from collections.abc import Iterator
from time import time_ns

from api.cli import CommandError
from api.credentials import CredentialShelf, NotSealedError, Rewrapped
from api.publishing import DefinitionWriter, Publisher, PublishError
from flows.config import ConfigError, load_tenants
from flows.live_redis import live_redis
from schemas.settings import BadSettingsError, load_settings
from sinks.sealing import KeyRing, MasterKeyError, read_master_keys
from state.definitions import RedisDefinitions
from state.errors import StateError

ANSWER_S = 30.0


def rotate() -> Iterator[tuple[str, Rewrapped]]:
    """Give each tenant's name with what became of a credential. Raises CommandError."""
    try:
        settings = load_settings()
        tenants = load_tenants(settings.tenants_dir)
        ring = KeyRing(read_master_keys(settings.security))
        publisher = Publisher(dict(settings.kafka.client_options()))
        with live_redis(settings, answer_s=ANSWER_S) as client:
            definitions = RedisDefinitions(client)
            for name, tenant in tenants.items():
                shelf = CredentialShelf(
                    tenant,
                    definitions=definitions,
                    writer=lambda: DefinitionWriter(publisher, definitions),
                    ring=ring,
                    fcm_url=settings.providers.fcm_url,
                    now_ms=lambda: time_ns() // 1_000_000,
                )
                for one in shelf.rewrap():
                    yield name, one
    except (BadSettingsError, ConfigError, MasterKeyError, NotSealedError) as error:
        raise CommandError(str(error)) from error
    except (StateError, PublishError) as error:
        raise CommandError(str(error)) from error
