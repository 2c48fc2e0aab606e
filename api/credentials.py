"""A tenant's sealed credentials: set, shown without the secret, removed, wrapped anew."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from api.publishing import ConflictError, DefinitionWriter, PublishError
from schemas.apps import App, secret_of
from schemas.credentials import CredentialView, SealedCredential
from schemas.definitions import Definition, Kind
from schemas.tenant import Tenant
from sinks.credential_check import BadSecretError, credential_of, fingerprint_of, token_uri_fault
from sinks.sealing import KeyRing, SealError
from state.definitions import Definitions


class NoSuchCredentialError(LookupError):
    """There is no such app, or nothing is set for it."""


class NotSealedError(Exception):
    """The app's secret comes from elsewhere, or there is no master key; says what to do."""


class Rewrapped(NamedTuple):
    """What became of a credential under a new master key. fault: "" when it went well."""

    app: str
    fault: str = ""


class CredentialShelf:
    """The credentials of one tenant. All raise StateError; writers PublishError as well.

    ring: None without a master key. fcm_url: where token_uri may point besides Google.
    """

    def __init__(
        self,
        tenant: Tenant,
        *,
        definitions: Definitions,
        writer: Callable[[], DefinitionWriter],
        ring: KeyRing | None,
        fcm_url: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._tenant = tenant
        self._definitions = definitions
        self._writer = writer
        self._ring = ring
        self._fcm_url = fcm_url
        self._now_ms = now_ms

    def all(self) -> list[CredentialView]:
        """Give one view for each app, by name."""
        found = self._definitions.all(Kind.CREDENTIAL, self._tenant.name)
        return [
            _view(name, app, found.get(name)) for name, app in sorted(self._tenant.apps.items())
        ]

    def get(self, app: str) -> CredentialView:
        """Give an app's. Raises NoSuchCredentialError for an app that there is not."""
        return _view(app, self._app(app), self._known(app))

    def put(self, app: str, secret: str, by: str) -> CredentialView:
        """Check, seal and store a secret; flows use it within two seconds.

        Raises NoSuchCredentialError, NotSealedError, BadSecretError.
        """
        ours = self._app(app)
        source = secret_of(ours).source
        if source != "sealed":
            raise NotSealedError(
                f"the secret of app {app!r} comes from {source}:"
                " write {sealed: true} into the tenant's file to set it here"
            )
        if self._ring is None:
            raise NotSealedError("this service has no master key, so it can keep no secret")
        credential = credential_of(ours, secret)
        fault = token_uri_fault(credential, self._fcm_url)
        if fault is not None:
            raise BadSecretError(fault)
        body = SealedCredential(
            platform=ours.platform,
            envelope=self._ring.seal(secret.encode(), tenant=self._tenant.name, app=app),
            fingerprint=fingerprint_of(credential),
            set_at=datetime.fromtimestamp(self._now_ms() / 1_000, UTC),
            set_by=by,
        )
        self._writer().put(Kind.CREDENTIAL, self._tenant.name, app, body.model_dump(mode="json"))
        return self.get(app)

    def remove(self, app: str) -> CredentialView:
        """Remove an app's; give what it was. Also of an app that the tenant's file lost."""
        known = self._known(app)
        if known is None:
            raise NoSuchCredentialError(app)
        self._writer().remove(Kind.CREDENTIAL, self._tenant.name, app)
        return _view(app, self._tenant.apps.get(app), known)

    def rewrap(self) -> Iterator[Rewrapped]:
        """Put all under the newest master key; give what was done, nothing for what was right."""
        if self._ring is None:
            raise NotSealedError("there is no master key: make one with clarion secrets new-key")
        for name, one in self._definitions.all(Kind.CREDENTIAL, self._tenant.name).items():
            body = _body(one)
            if body is None:
                yield Rewrapped(name, "its definition cannot be read")
                continue
            try:
                again = self._ring.rewrap(body.envelope, tenant=self._tenant.name, app=name)
                if again is None:
                    continue
                new = body.model_copy(update={"envelope": again}).model_dump(mode="json")
                self._writer().put(Kind.CREDENTIAL, self._tenant.name, name, new, over=one.version)
            except (SealError, ConflictError, PublishError) as error:
                yield Rewrapped(name, str(error))
            else:
                yield Rewrapped(name)

    def _app(self, name: str) -> App:
        app = self._tenant.apps.get(name)
        if app is None:
            raise NoSuchCredentialError(name)
        return app

    def _known(self, name: str) -> Definition | None:
        return self._definitions.get(Kind.CREDENTIAL, self._tenant.name, name)


def _body(one: Definition) -> SealedCredential | None:
    try:
        return SealedCredential.model_validate_json(one.body)
    except ValidationError:
        return None


def _view(name: str, app: App | None, one: Definition | None) -> CredentialView:
    body = _body(one) if one is not None else None
    source = secret_of(app).source if app is not None else "sealed"
    platform = app.platform if app is not None else getattr(body, "platform", "apns")
    if source != "sealed":
        return CredentialView(app=name, platform=platform, source=source)
    if one is None or body is None:
        return CredentialView(app=name, platform=platform, source=source, is_set=False)
    return CredentialView(
        app=name,
        platform=platform,
        source=source,
        is_set=True,
        version=one.version,
        fingerprint=body.fingerprint,
        set_at=body.set_at,
        set_by=body.set_by,
        master_key=body.envelope.key_id,
    )
