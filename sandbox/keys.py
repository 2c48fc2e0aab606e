"""The sandbox's credentials: made once into a directory, read by simulators and tenants alike."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.fcm import Account, make_service_account
from sandbox.tls import make_tls
from sinks.sealing import new_master_key
from sinks.webpush_vapid import load_key, public_key

TEAM_ID = "SANDBOXTEM"
KEY_ID = "SANDBOXKEY"
TOPIC = "com.example.skyline"
PROJECT_ID = "clarion-sandbox"
APNS_KEY_FILE = "apns.p8"
FCM_FILE = "fcm.json"
VAPID_FILE = "vapid.pem"
MASTER_KEY_FILE = "master.keys"


class SandboxKeys(NamedTuple):
    """Where the secrets are, and the public halves that the simulators check against."""

    directory: Path
    apns_public_pem: bytes
    fcm_account: Account
    vapid_public_key: str

    @property
    def apns_key_file(self) -> Path:
        """Give the APNs signing key."""
        return self.directory / APNS_KEY_FILE

    @property
    def fcm_file(self) -> Path:
        """Give the Firebase service account."""
        return self.directory / FCM_FILE

    @property
    def master_key_file(self) -> Path:
        """Give the master key."""
        return self.directory / MASTER_KEY_FILE

    @property
    def vapid_file(self) -> Path:
        """Give the VAPID key."""
        return self.directory / VAPID_FILE


def make_keys(directory: Path, *, fcm_url: str, names: Sequence[str] = ()) -> SandboxKeys:
    """Make all secrets and certificates.

    fcm_url: where the simulator's token endpoint will be. names: of its host, beside localhost.
    """
    directory.mkdir(parents=True, exist_ok=True)
    make_tls(directory, names=names)
    for name in (APNS_KEY_FILE, VAPID_FILE):
        _write_secret(directory / name, _new_key())
    account, public_pem = make_service_account(PROJECT_ID, f"{fcm_url}/token", directory)
    _write_secret(directory / MASTER_KEY_FILE, f"{new_master_key()}\n".encode())
    _write_secret(directory / FCM_FILE, json.dumps(account).encode())
    (directory / "fcm.pub").write_text(public_pem)
    return read_keys(directory)


def read_keys(directory: Path) -> SandboxKeys:
    """Read what make_keys() made. Raises FileNotFoundError."""
    apns = serialization.load_pem_private_key((directory / APNS_KEY_FILE).read_bytes(), None)
    account: dict[str, Any] = json.loads((directory / FCM_FILE).read_text())
    vapid = load_key((directory / VAPID_FILE).read_text())
    return SandboxKeys(
        directory,
        apns.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        Account.of(account, (directory / "fcm.pub").read_text()),
        public_key(vapid),
    )


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
