"""Device tokens: what an app on a device shows, good for its own user and itself alone."""

from collections.abc import Callable, Mapping

from api.auth.access import UnauthenticatedError
from api.auth.signing import BadSignatureError, Purpose, Signer
from schemas.access import Principal, Role, priorities_of, scopes_of
from schemas.tenant import Tenant
from state.profiles import Profiles

PREFIX = "cdt_"
VALID_MS = 400 * 86_400_000
"""An app that is opened once a year keeps its token: it gets a new one whenever it registers."""


def issue_device_token(
    signer: Signer, tenant: str, user_id: str, device_id: str, now_ms: int
) -> str:
    """Give the token of a device, for VALID_MS from now_ms on; at most about 1,500 characters."""
    body = [tenant, user_id, device_id]
    return PREFIX + signer.sign(Purpose.DEVICE, body, expires_at_ms=now_ms + VALID_MS)


class DeviceTokens:
    """Proves device tokens; see Prover. now_ms: the machine's clock."""

    def __init__(
        self,
        signer: Signer,
        tenants: Mapping[str, Tenant],
        profiles: Profiles,
        now_ms: Callable[[], int],
    ) -> None:
        self._signer = signer
        self._tenants = tenants
        self._profiles = profiles
        self._now_ms = now_ms

    def prove(self, credential: str) -> Principal | None:
        """See Prover: one read of the user's profile, which must still have this device."""
        if not credential.startswith(PREFIX):
            return None
        signed = credential.removeprefix(PREFIX)
        try:
            name, user_id, device_id = self._signer.open(Purpose.DEVICE, signed, self._now_ms())
        except BadSignatureError:
            raise UnauthenticatedError("the device token does not hold: register again") from None
        tenant = self._tenants.get(name)
        if tenant is None or not self._has(tenant, user_id, device_id):
            raise UnauthenticatedError("the device is not registered any more: register again")
        roles = [Role.DEVICE]
        return Principal(
            name,
            "device",
            device_id,
            scopes_of(roles),
            priorities_of(roles),
            user_id=user_id,
            device_id=device_id,
        )

    def _has(self, tenant: Tenant, user_id: str, device_id: str) -> bool:
        (profile,) = self._profiles.get_many(tenant.name, tenant.shards, [user_id])
        return profile is not None and any(one.device_id == device_id for one in profile.devices)
