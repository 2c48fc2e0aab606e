"""Device tokens hold for their device, their purpose and their time."""

import pytest

from api.auth.access import UnauthenticatedError
from api.auth.device_tokens import PREFIX, VALID_MS, DeviceTokens, issue_device_token
from api.auth.signing import Purpose, Signer
from schemas.access import Role, Scope, scopes_of
from schemas.pipeline import Platform
from schemas.tenant import Tenant
from state.memory import MemoryProfiles
from state.profiles import Device, Profile

NOW_MS = 1_796_000_000_000
SIGNER = Signer([b"k" * 32])
TENANT = Tenant.model_validate({"name": "acme", "shards": 4, "categories": {"news": {}}})
PHONE = Device("d1", Platform.FCM, "android", "t1", NOW_MS)


class Stand:
    """A prover with a clock to move, and the profiles behind it."""

    def __init__(self, signer: Signer = SIGNER) -> None:
        self.now_ms = NOW_MS
        self.profiles = MemoryProfiles()
        self.set(PHONE)
        self.prover = DeviceTokens(signer, {"acme": TENANT}, self.profiles, lambda: self.now_ms)

    def set(self, *devices: Device) -> None:
        profile = Profile("u1", 1, devices=devices)
        self.profiles.update_many("acme", 4, {"u1": lambda _: profile})


def token(tenant: str = "acme", user: str = "u1", device: str = "d1") -> str:
    return issue_device_token(SIGNER, tenant, user, device, NOW_MS)


def test_a_token_is_bound_to_its_user_and_device() -> None:
    """It may what a device may, for this user and device, and send nothing."""
    found = Stand().prover.prove(token())
    assert found is not None
    assert (found.tenant, found.kind, found.user_id, found.device_id) == (
        "acme",
        "device",
        "u1",
        "d1",
    )
    assert found.scopes == scopes_of([Role.DEVICE])
    assert Scope.EVENTS_SEND not in found.scopes


def test_what_is_no_device_token_is_left_to_others() -> None:
    """Only the prefix tells."""
    assert Stand().prover.prove("clk_acme_x_y") is None


@pytest.mark.parametrize(
    "credential",
    [
        PREFIX,
        PREFIX + "AAAA",
        PREFIX + "\u00e9",
        token()[:-2],
        token(tenant="gone"),
        token(user="u2"),
        token(device="d2"),
        PREFIX + SIGNER.sign(Purpose.CURSOR, ["acme", "u1", "d1"]),
        issue_device_token(Signer([b"x" * 32]), "acme", "u1", "d1", NOW_MS),
    ],
)
def test_what_does_not_hold_is_refused(credential: str) -> None:
    """Damaged, another purpose's or key's, or of a tenant, user or device that is not there."""
    with pytest.raises(UnauthenticatedError):
        Stand().prover.prove(credential)


def test_a_token_ends() -> None:
    """After 400 days an app has to register again."""
    stand = Stand()
    stand.now_ms += VALID_MS - 1
    assert stand.prover.prove(token()) is not None
    stand.now_ms += 1
    with pytest.raises(UnauthenticatedError, match="register again"):
        stand.prover.prove(token())


def test_a_token_ends_with_its_device() -> None:
    """Once the device is removed from the profile nothing is left that it opens."""
    stand = Stand()
    stand.set()
    with pytest.raises(UnauthenticatedError, match="not registered any more"):
        stand.prover.prove(token())


def test_a_new_signing_key_leaves_tokens_good() -> None:
    """The older keys go on verifying."""
    rotated = Signer([b"n" * 32, b"k" * 32])
    assert Stand(rotated).prover.prove(token()) is not None
