"""Where apps' secrets are read from, by the settings."""

from flows.config import SecretReader
from schemas.settings import Settings
from sinks.secret_stores import CachedStore, VaultStore


def secret_reader(settings: Settings) -> SecretReader:
    """Make what reads files, the environment and, where it is set up, Vault."""
    vault = settings.vault
    return SecretReader(
        external=CachedStore(VaultStore(vault), fresh_s=vault.fresh_s)
        if vault is not None
        else None
    )
