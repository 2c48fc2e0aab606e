"""Tenants from their YAML files, and their apps' secrets from where these point to."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flows.yaml_files import BadYamlError, read_yaml
from schemas.apps import secret_field, secret_of
from schemas.decode import details_of, remedy
from schemas.pipeline import Platform
from schemas.settings import variable
from schemas.tenant import App, SecretRef, Tenant
from schemas.tenant_access import TenantAccess
from sinks.credential_check import BadSecretError, credential_of
from sinks.credentials import Credential, Credentials
from sinks.secret_stores import EnvStore, FileStore, SecretStore

MAX_TENANTS = 1_000


class Problem(NamedTuple):
    """One fault. path: inside the YAML, such as apps.ios.private_key.file; "" for the file."""

    file: str
    path: str
    fault: str

    def __str__(self) -> str:
        """`file: path: what is wrong and what to do`."""
        return ": ".join(part for part in self if part)


class ConfigError(Exception):
    """The configuration has faults; all that were found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Tenants(dict[str, Tenant]):
    """Tenants by name. files: which file each came from."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Path] = {}


def load_tenants(directory: Path) -> Tenants:
    """Read every *.yaml file of a directory, one tenant each.

    Secret files named relative to their YAML file come back as full paths; none is read here.
    Raises ConfigError with every fault of every file.
    """
    if not directory.is_dir():
        raise ConfigError([Problem(str(directory), "", "is no directory: give one with *.yaml")])
    files = sorted(path for path in directory.iterdir() if path.suffix in {".yaml", ".yml"})
    if not files or len(files) > MAX_TENANTS:
        fault = f"has {len(files)} *.yaml files: put 1 to {MAX_TENANTS} there, one per tenant"
        raise ConfigError([Problem(str(directory), "", fault)])
    tenants, problems = Tenants(), list[Problem]()
    for path in files:
        try:
            tenant = load_tenant(path)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if tenant.name in tenants:
            other = tenants.files[tenant.name].name
            problems.append(Problem(str(path), "name", f"{other} has the same, change one"))
        tenants[tenant.name] = tenant
        tenants.files[tenant.name] = path
    problems += _ambiguous_issuers(tenants)
    if problems:
        raise ConfigError(problems)
    return tenants


def _ambiguous_issuers(tenants: Tenants) -> list[Problem]:
    """Find issuers of tokens that more than one tenant claims: whose is a token must be certain."""
    claimed: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    for name, tenant in tenants.items():
        for number, one in enumerate(tenant.access.issuers):
            other = claimed.setdefault((one.issuer, one.audience), name)
            if other != name:
                fault = f"tenant {other!r} has the same pair of issuer and audience, change one"
                place = f"access.issuers.{number}"
                problems.append(Problem(str(tenants.files[name]), place, fault))
    return problems


def load_tenant(path: Path) -> Tenant:
    """Read one tenant's file. Raises ConfigError with every fault."""
    document: Any = None
    try:
        document = read_yaml(path)
        tenant = Tenant.model_validate(document)
    except BadYamlError as error:
        raise ConfigError([Problem(str(path), "", str(error))]) from None
    except ValidationError as error:
        raise ConfigError([_problem(path, document, one) for one in details_of(error)]) from None
    apps = {name: _anchored(app, path.parent) for name, app in tenant.apps.items()}
    access = _anchored_access(tenant.access, path.parent)
    return tenant.model_copy(update={"apps": apps, "access": access})


def _problem(path: Path, document: Any, detail: ErrorDetails) -> Problem:
    """Word pydantic's error; its path without what is not in the YAML."""
    place = list(detail["loc"])
    if place[:1] == ["apps"] and len(place) > 2 and place[2] in tuple(Platform):
        del place[2]
    if place[:1] == ["templates"] and len(place) > 2:
        versions = document["templates"][place[1]]
        if isinstance(versions, dict):
            del place[2]
    if place[-1:] == ["[key]"]:
        del place[-1]
    return Problem(str(path), ".".join(map(str, place)), remedy(Tenant, detail))


def _anchored(app: App, directory: Path) -> App:
    """Give the app with its secret's file as a full path."""
    name = secret_field(app)
    ref: SecretRef = getattr(app, name)
    if ref.file is None:
        return app
    full = ref.model_copy(update={"file": str((directory / ref.file).absolute())})
    return app.model_copy(update={name: full})


def _anchored_access(access: TenantAccess, directory: Path) -> TenantAccess:
    """Give the issuers with their files of keys as full paths."""
    issuers = []
    for one in access.issuers:
        if one.jwks.file is None:
            issuers.append(one)
            continue
        file = str((directory / one.jwks.file).absolute())
        issuers.append(one.model_copy(update={"jwks": one.jwks.model_copy(update={"file": file})}))
    return access.model_copy(update={"issuers": tuple(issuers)})


class SecretReader:
    """Reads secrets from where a tenant's file says they are; sealed ones are not read here.

    environ: the process's own by default. external: None when none is set up.
    """

    def __init__(
        self, *, environ: Mapping[str, str] | None = None, external: SecretStore | None = None
    ) -> None:
        self._env = EnvStore(os.environ if environ is None else environ)
        self._file = FileStore()
        self._external = external

    def read(self, ref: SecretRef) -> str | None:
        """Give a secret, None for a sealed one. Raises BadSecretError."""
        if ref.file is not None:
            return self._file.read(ref.file)
        if ref.env is not None:
            return self._env.read(ref.env)
        if ref.external is None:
            return None
        if self._external is None:
            raise BadSecretError(f"no secret store is set up, set {variable('vault', 'address')}")
        return self._external.read(ref.external)


def resolve_credentials(
    tenants: Mapping[str, Tenant],
    *,
    environ: Mapping[str, str] | None = None,
    reader: SecretReader | None = None,
    platform: Platform | None = None,
) -> Credentials:
    """Read the apps' secrets and check that they are keys of the right kind; all but sealed ones.

    platform: of its apps only. Raises ConfigError with every fault; no secret is in it.
    """
    reader = reader or SecretReader(environ=environ)
    files = tenants.files if isinstance(tenants, Tenants) else {}
    found: dict[tuple[str, str], Credential] = {}
    problems: list[Problem] = []
    for name, tenant in tenants.items():
        for app_name, app in tenant.apps.items():
            if platform is not None and app.platform != platform:
                continue
            ref = secret_of(app)
            try:
                text = reader.read(ref)
                if text is not None:
                    found[name, app_name] = credential_of(app, text)
            except BadSecretError as error:
                place = f"apps.{app_name}.{secret_field(app)}.{ref.source}"
                problems.append(Problem(str(files.get(name, f"tenant {name}")), place, str(error)))
    if problems:
        raise ConfigError(problems)
    return Credentials(found)
