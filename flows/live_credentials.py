"""The credentials that a flow sends with, as they are now: a new one counts without a restart."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import structlog
from pydantic import ValidationError

from flows.config import SecretReader, resolve_credentials
from schemas import metrics
from schemas.apps import App, SecretRef, secret_of
from schemas.credentials import SealedCredential
from schemas.definitions import Definition, Kind
from schemas.pipeline import Platform
from schemas.tenant import Tenant
from sinks.credential_check import BadSecretError, credential_of, token_uri_fault
from sinks.credentials import Credential, Credentials
from sinks.sealing import KeyRing, SealError
from state.definitions import Definitions, Watched
from state.errors import StateError

REFRESH_S = 1.0
"""Between two looks for changed definitions."""
REREAD_ROUNDS = 30
"""Files and the external store are read anew every so many rounds."""

_log = structlog.get_logger()


class _Shut(NamedTuple):
    """A sealed credential that could not be used. why: holds nothing of it."""

    why: str


class LiveCredentials:
    """Keeps Credentials up to date from a thread of its own.

    reader: of files, the environment and the external store. ring: None without a master key.
    definitions: of a client that fails fast. fcm_url: where token_uri may point besides Google.
    A secret that is gone or wrong leaves the credential before it in use; one that was removed
    through the API goes.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        platform: Platform,
        *,
        reader: SecretReader,
        definitions: Definitions,
        ring: KeyRing | None,
        fcm_url: str,
    ) -> None:
        self._apps: dict[tuple[str, str], App] = {
            (name, app_name): app
            for name, tenant in tenants.items()
            for app_name, app in tenant.apps.items()
            if app.platform == platform
        }
        self._load = partial(resolve_credentials, tenants, reader=reader, platform=platform)
        self._reader = reader
        self._ring = ring
        self._fcm_url = fcm_url
        self._sealed = {key for key, app in self._apps.items() if secret_of(app).sealed}
        self._watched: Watched[Credential | _Shut] = Watched(
            definitions,
            Kind.CREDENTIAL,
            {tenant for tenant, _ in self._sealed},
            self._opened,
            refresh_s=0.0,
        )
        self._digests: dict[tuple[str, str], bytes] = {}
        self._held: dict[tuple[str, str], Credential] = {}
        self._faults: dict[tuple[str, str], str] = {}
        self._rounds = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.credentials = Credentials({})

    def start(self, answers: Callable[[], None]) -> None:
        """Read all of them, then go on watching. Raises ConfigError, StateError.

        answers: returns once Redis answers; asked only if a credential is there.
        """
        self._held = dict(self._load().all())
        if self._sealed:
            answers()
            self._follow_definitions()
        self.credentials.replace(self._held)
        self._thread = threading.Thread(target=self._run, name="credentials", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * REFRESH_S)

    def turn(self) -> None:
        """Look once for changes. Never raises for what stores and people do."""
        self._rounds += 1
        if self._sealed:
            try:
                self._follow_definitions()
            except StateError as error:
                _log.warning("credentials not refreshed", error=str(error)[:200])
        if self._rounds % REREAD_ROUNDS == 0:
            for key, app in self._apps.items():
                if secret_of(app).source in {"file", "external"}:
                    self._reread(key, app, secret_of(app))
        self.credentials.replace(self._held)

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_S):
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the watch
                # Its text is not logged: it may hold what it was about.
                _log.error("credentials not refreshed", error=type(error).__name__)

    def _follow_definitions(self) -> None:
        self._watched.refresh()
        for key in self._sealed:
            tenant, app = key
            found = self._watched.known(tenant).get(app)
            if found is None:
                self._removed(key)
            elif isinstance(found, _Shut):
                self._fault(key, found.why)
            else:
                self._take(key, found)

    def _opened(self, one: Definition) -> Credential | _Shut:
        app = self._apps.get((one.tenant, one.name))
        if app is None:
            return _Shut("the tenant has no such app here")
        if self._ring is None:
            return _Shut("this process has no master key")
        try:
            body = SealedCredential.model_validate_json(one.body)
            secret = self._ring.open(body.envelope, tenant=one.tenant, app=one.name)
            credential = credential_of(app, secret.decode())
        except ValidationError:
            return _Shut("its definition cannot be read")
        except (SealError, BadSecretError, UnicodeDecodeError) as error:
            return _Shut(str(error) if not isinstance(error, UnicodeDecodeError) else "is no text")
        fault = token_uri_fault(credential, self._fcm_url)
        return credential if fault is None else _Shut(fault)

    def _reread(self, key: tuple[str, str], app: App, ref: SecretRef) -> None:
        try:
            text = self._reader.read(ref) or ""
            digest = sha256(text.encode()).digest()
            if digest != self._digests.get(key):
                self._take(key, credential_of(app, text))
                self._digests[key] = digest
        except BadSecretError as error:
            self._fault(key, str(error))
        else:
            self._mended(key)

    def _take(self, key: tuple[str, str], found: Credential) -> None:
        self._mended(key)
        if self._held.get(key) == found:
            return
        changed = key in self._held
        self._held = {**self._held, key: found}
        if self._thread is not None:
            metrics.CREDENTIALS_CHANGED.labels(*key).inc()
            _log.info("credential changed" if changed else "credential set", **_named(key))

    def _removed(self, key: tuple[str, str]) -> None:
        self._mended(key)
        if key in self._held:
            self._held = {one: found for one, found in self._held.items() if one != key}
            metrics.CREDENTIALS_CHANGED.labels(*key).inc()
            _log.warning("credential removed", **_named(key))

    def _fault(self, key: tuple[str, str], why: str) -> None:
        """Tell of a fault once, and again when it is another one."""
        if self._faults.get(key) == why:
            return
        self._faults[key] = why
        metrics.CREDENTIAL_FAULTY.labels(*key).set(1)
        _log.error(
            "credential not usable, the one before stays"
            if key in self._held
            else "credential not usable, the app cannot send",
            why=why,
            **_named(key),
        )

    def _mended(self, key: tuple[str, str]) -> None:
        if self._faults.pop(key, None) is not None:
            metrics.CREDENTIAL_FAULTY.labels(*key).set(0)


def _named(key: tuple[str, str]) -> dict[str, str]:
    return {"tenant": key[0], "app": key[1]}
