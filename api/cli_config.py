"""`clarion config`: are the settings and the tenants' files right, and what do they say."""

from collections import Counter
from pathlib import Path

from cyclopts import App

from api.cli import CommandError
from api.cli_schemas import write_texts
from flows.config import ConfigError, SecretReader, load_tenants, resolve_credentials
from flows.hook_check import check_hooks
from schemas.reference import configuration_page
from schemas.settings import BadSettingsError, load_settings
from schemas.tenant import Tenant
from sinks.secret_stores import VaultStore

app = App(name="config", help="Check settings and tenants.")


@app.command
def check(directory: Path | None = None, /, *, secrets: bool = False) -> None:
    """Check the settings and all tenants' files; explain every fault with its place in the YAML.

    Parameters
    ----------
    directory: Path
        Where the tenants' files are; CLARION_TENANTS_DIR when not given.
    secrets: bool
        Also read the secrets that they point to, but for sealed ones, and check that they are
        keys, and that the hooks they name are installed here.

    """
    try:
        settings = load_settings()
        tenants = load_tenants(directory or settings.tenants_dir)
        if secrets:
            vault = VaultStore(settings.vault) if settings.vault is not None else None
            resolve_credentials(tenants, reader=SecretReader(external=vault))
            check_hooks(tenants)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(f"the configuration has faults\n{error}") from None
    for name, tenant in tenants.items():
        print(f"{tenants.files[name]}: {summary(tenant)}")  # noqa: T201 - a command's output
    seen = "secrets read" if secrets else "secrets not read, see --secrets"
    print(f"{len(tenants)} tenants, all good ({seen})")  # noqa: T201 - a command's output


def summary(tenant: Tenant) -> str:
    """Say in one line what a tenant has."""
    platforms = Counter(app.platform for app in tenant.apps.values())
    apps = ", ".join(f"{count} {platform}" for platform, count in sorted(platforms.items()))
    return (
        f"tenant {tenant.name}, {tenant.shards} shards, apps: {apps or 'none'},"
        f" categories: {', '.join(tenant.categories)}, {len(tenant.templates)} templates"
    )


@app.command
def reference(*, path: Path = Path("docs/configuration.md"), check: bool = False) -> None:
    """Write the page that describes all settings and tenant fields.

    Parameters
    ----------
    path: Path
        Where to write it.
    check: bool
        Write nothing; fail when the page is not what would be written.

    """
    stale = write_texts({path: configuration_page()}, check=check)
    if check and stale:
        raise CommandError(f"{path} is out of date, run: clarion config reference")
