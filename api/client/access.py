"""Keys, credentials of providers, and the audit log."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.client.answers_access import AuditItem, CredentialView, KeyView, NewKey
from api.client.areas import Area, M, listing, method
from api.client.core import Paged, Steps, path

Body = Mapping[str, Any]


class Keys(Area[M]):
    """`client.keys`."""

    @method
    def create(self, grants: Body) -> Steps[NewKey]:
        """Make a key with `name` and `roles`; its text is in the answer and never shown again."""
        return self._ask("POST", "/v1/keys", NewKey, body=grants)

    @listing
    def list(self) -> Paged[KeyView]:
        """Give the tenant's keys."""
        return self._paged("/v1/keys", KeyView)

    @method
    def get(self, key_id: str) -> Steps[KeyView]:
        """Show what a key may do."""
        return self._ask("GET", path("/v1/keys/{}", key_id), KeyView)

    @method
    def change(self, key_id: str, change: Body) -> Steps[KeyView]:
        """Change what a key may do."""
        return self._ask("PATCH", path("/v1/keys/{}", key_id), KeyView, body=change)

    @method
    def rotate(self, key_id: str, *, overlap_s: int | None = None) -> Steps[NewKey]:
        """Give a key a new secret; the old one holds for overlap_s more."""
        body = {} if overlap_s is None else {"overlap_s": overlap_s}
        return self._ask("POST", path("/v1/keys/{}/rotate", key_id), NewKey, body=body)

    @method
    def revoke(self, key_id: str) -> Steps[None]:
        """End a key."""
        return self._ask("DELETE", path("/v1/keys/{}", key_id), type(None))


class Credentials(Area[M]):
    """`client.credentials`: what the providers know the tenant's apps by."""

    @listing
    def list(self) -> Paged[CredentialView]:
        """Give the apps' credentials, without their secrets."""
        return self._paged("/v1/credentials", CredentialView)

    @method
    def get(self, app: str) -> Steps[CredentialView]:
        """Show one."""
        return self._ask("GET", path("/v1/credentials/{}", app), CredentialView)

    @method
    def put(self, app: str, secret: str) -> Steps[CredentialView]:
        """Keep a secret, sealed."""
        place = path("/v1/credentials/{}", app)
        return self._ask("PUT", place, CredentialView, body={"secret": secret})

    @method
    def delete(self, app: str) -> Steps[None]:
        """Forget a secret."""
        return self._ask("DELETE", path("/v1/credentials/{}", app), type(None))


class Audit(Area[M]):
    """`client.audit`."""

    @listing
    def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
    ) -> Paged[AuditItem]:
        """Give who did what, the newest first."""
        params = {
            "from": since.isoformat() if since is not None else None,
            "to": until.isoformat() if until is not None else None,
            "actor": actor,
            "action": action,
            "target": target,
        }
        return self._paged("/v1/audit", AuditItem, params=params)
