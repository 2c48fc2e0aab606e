"""Where secrets come from besides Clarion itself: files, the environment, HashiCorp Vault."""

import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
from pydantic_core import from_json

from schemas.security import VaultSettings
from sinks.credential_check import BadSecretError

MAX_SECRET_BYTES: Final = 65_536
MAX_ANSWER_BYTES: Final = 1_048_576
MAX_CACHED: Final = 10_000


class SecretStore(Protocol):
    """Gives secrets by reference."""

    def read(self, reference: str) -> str:
        """Give a secret. May block. Raises BadSecretError, which says what to do."""
        ...


class EnvStore:
    """Environment variables."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, reference: str) -> str:
        """See SecretStore."""
        text = self._environ.get(reference, "")
        if not text:
            raise BadSecretError(f"the environment variable {reference} is not set, set it")
        # Many tools cannot put a line break into a variable and write \n instead.
        return text if "\n" in text else text.replace("\\n", "\n")


class FileStore:
    """Files, at most MAX_SECRET_BYTES each."""

    def read(self, reference: str) -> str:
        """See SecretStore."""
        path = Path(reference)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_SECRET_BYTES + 1)
            text = raw.decode()
        except OSError as error:
            fault = f"cannot read {path}: {error.strerror}; put the key there"
            raise BadSecretError(fault) from None
        except UnicodeDecodeError:
            raise BadSecretError(f"{path} is no text file, put the key there") from None
        if len(raw) > MAX_SECRET_BYTES:
            raise BadSecretError(f"{path} has more than {MAX_SECRET_BYTES} bytes, it is no key")
        return text


class CachedStore:
    """Another store, asked for each reference once in fresh_s seconds; failures are not kept."""

    def __init__(
        self,
        store: SecretStore,
        *,
        fresh_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._fresh_s = fresh_s
        self._monotonic = monotonic
        self._known: dict[str, tuple[str, float]] = {}

    def read(self, reference: str) -> str:
        """See SecretStore."""
        text, until_s = self._known.get(reference, ("", float("-inf")))
        if self._monotonic() < until_s:
            return text
        text = self._store.read(reference)
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[reference] = (text, self._monotonic() + self._fresh_s)
        return text


class VaultStore:
    """HashiCorp Vault's KV version 2. A reference is path#field.

    transport: for tests. Sources: developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2,
    /vault/api-docs/auth/kubernetes, /vault/docs/enterprise/namespaces.
    """

    def __init__(
        self, settings: VaultSettings, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._client: httpx.Client | None = None
        self._login_token = ""

    def read(self, reference: str) -> str:
        """See SecretStore."""
        path, _, field = reference.partition("#")
        where = f"/v1/{quote(self._settings.mount)}/data/{quote(path)}"
        status, body = self._ask("GET", where, token=self._token())
        if status == 403 and self._login_token:
            self._login_token = ""  # it has expired
            status, body = self._ask("GET", where, token=self._token())
        if status != 200:
            raise BadSecretError(_meaning(status, path))
        found = _dug(body, "data", "data", field)
        if not isinstance(found, str) or not found:
            raise BadSecretError(f"Vault: {path} has no text in the field {field!r}, put it there")
        if len(found) > MAX_SECRET_BYTES:
            raise BadSecretError(f"Vault: {reference} has more than {MAX_SECRET_BYTES} characters")
        return found

    def _token(self) -> str:
        settings = self._settings
        if settings.token is not None:
            return settings.token.get_secret_value()
        if settings.token_file is not None:
            return _line(settings.token_file)
        if not settings.kubernetes_role:
            raise BadSecretError(
                "Vault: set CLARION_VAULT__TOKEN, __TOKEN_FILE or __KUBERNETES_ROLE to log in"
            )
        if not self._login_token:
            self._login_token = self._log_in()
        return self._login_token

    def _log_in(self) -> str:
        role = self._settings.kubernetes_role
        asked = {"role": role, "jwt": _line(self._settings.kubernetes_token_file)}
        status, body = self._ask("POST", "/v1/auth/kubernetes/login", json=asked)
        token = _dug(body, "auth", "client_token") if status == 200 else None
        if not isinstance(token, str) or not token:
            raise BadSecretError(
                f"Vault: it answered {status} to the login as role {role!r}, check it"
            )
        return token

    def _ask(
        self, method: str, path: str, *, token: str = "", json: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        if self._client is None:
            self._client = self._connect()
        try:
            with self._client.stream(method, path, headers=headers, json=json) as answer:
                return answer.status_code, _bounded(answer)
        except httpx.HTTPError as error:
            raise BadSecretError(
                f"Vault at {self._settings.address} does not answer: {type(error).__name__}"
            ) from None

    def _connect(self) -> httpx.Client:
        settings = self._settings
        return httpx.Client(
            base_url=settings.address,
            timeout=settings.timeout_s,
            verify=ssl.create_default_context(cafile=settings.ca_file),
            follow_redirects=False,  # a redirect would take the token elsewhere
            trust_env=False,
            transport=self._transport,
        )


def _bounded(answer: httpx.Response) -> bytes:
    raw = bytearray()
    for part in answer.iter_bytes():
        raw += part
        if len(raw) > MAX_ANSWER_BYTES:
            raise BadSecretError(f"Vault: its answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(raw)


def _meaning(status: int, path: str) -> str:
    """Say what a status means. Source: developer.hashicorp.com/vault/api-docs#http-status-codes."""
    if status == 404:
        return f"Vault: there is no secret {path}, or its newest version is deleted"
    if status == 403:
        return f"Vault: this token may not read {path}, or has expired"
    if status == 503:
        return "Vault: it is sealed or in maintenance"
    if 300 <= status < 400:
        return f"Vault: it redirects ({status}), give the address of the active node"
    return f"Vault: it answered {status} for {path}"


def _dug(body: bytes, *path: str) -> Any:
    try:
        found = from_json(body)
    except ValueError:
        return None
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _line(path: Path) -> str:
    return FileStore().read(str(path)).strip()
