"""Tenants from their YAML files, and their apps' secrets from where these point to."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flows.yaml_files import BadYamlError, read_yaml
from schemas.decode import details_of, remedy
from schemas.pipeline import Platform
from schemas.tenant import ApnsApp, App, FcmApp, SecretRef, Tenant, WebPushApp
from schemas.tenant_access import TenantAccess
from sinks.credentials import (
    ApnsCredential,
    Credential,
    Credentials,
    FcmCredential,
    WebPushCredential,
)

MAX_SECRET_BYTES = 65_536
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
    name = _secret_field(app)
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


def _secret_field(app: App) -> str:
    return "service_account" if isinstance(app, FcmApp) else "private_key"


def resolve_credentials(
    tenants: Mapping[str, Tenant], *, environ: Mapping[str, str] | None = None
) -> Credentials:
    """Read all apps' secrets and check that they are keys of the right kind.

    environ: the process's own by default. Raises ConfigError with every fault; no secret is in it.
    """
    known = os.environ if environ is None else environ
    files = tenants.files if isinstance(tenants, Tenants) else {}
    found: dict[tuple[str, str], Credential] = {}
    problems: list[Problem] = []
    for name, tenant in tenants.items():
        for app_name, app in tenant.apps.items():
            field = _secret_field(app)
            ref: SecretRef = getattr(app, field)
            kind = "file" if ref.file is not None else "env"
            try:
                text = _read(ref, known)
                found[name, app_name] = _MAKERS[app.platform](app, text)
            except _BadSecretError as error:
                place = f"apps.{app_name}.{field}.{kind}"
                problems.append(Problem(str(files.get(name, f"tenant {name}")), place, str(error)))
    if problems:
        raise ConfigError(problems)
    return Credentials(found)


class _BadSecretError(ValueError):
    """A secret is missing or of the wrong kind; the message says what to do."""


def _read(ref: SecretRef, environ: Mapping[str, str]) -> str:
    if ref.env is not None:
        text = environ.get(ref.env, "")
        if not text:
            raise _BadSecretError(f"the environment variable {ref.env} is not set, set it")
        # Many tools cannot put a line break into a variable and write \n instead.
        return text if "\n" in text else text.replace("\\n", "\n")
    path = Path(ref.file or "")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise _BadSecretError(f"cannot read {path}: {error.strerror}; put the key there") from None
    except UnicodeDecodeError:
        raise _BadSecretError(f"{path} is no text file, put the key there") from None
    if len(raw) > MAX_SECRET_BYTES:
        raise _BadSecretError(f"{path} has more than {MAX_SECRET_BYTES} bytes, it is no key")
    return text


def _p256(text: str, what: str) -> str:
    """Give the PEM text back when it is a P-256 private key."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        raise _BadSecretError(f"is no private key in PEM form, use {what}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise _BadSecretError(f"is not a P-256 key, use {what}")
    return text


def _apns(app: ApnsApp, text: str) -> ApnsCredential:
    return ApnsCredential(
        team_id=app.team_id,
        key_id=app.key_id,
        private_key_pem=_p256(text, "the .p8 file from Apple's developer site"),
        topic=app.topic,
    )


def _webpush(app: WebPushApp, text: str) -> WebPushCredential:
    return WebPushCredential(
        private_key_pem=_p256(text, "the VAPID key that the web app subscribed with"),
        subject=app.subject,
    )


def _fcm(app: FcmApp, text: str) -> FcmCredential:
    try:
        account = json.loads(text)
    except ValueError:
        account = None
    needed = ("client_email", "private_key", "token_uri")
    if not isinstance(account, dict) or not all(account.get(name) for name in needed):
        raise _BadSecretError("is no service account key, use the JSON file from Google Cloud")
    return FcmCredential(project_id=app.project_id, service_account=account)


_MAKERS: dict[str, Callable[[Any, str], Credential]] = {
    "apns": _apns,
    "fcm": _fcm,
    "webpush": _webpush,
}
