"""Secrets from files, variables and Vault; Vault as its API documentation has it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from schemas.security import VaultSettings
from sinks.credential_check import BadSecretError
from sinks.secret_stores import CachedStore, EnvStore, FileStore, VaultStore


class FakeVault:
    """Vault's HTTP API: KV version 2 at secret/, Kubernetes logins. Strict about what it is sent.

    Source: developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version and
    /vault/api-docs/auth/kubernetes#login.
    """

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Any] | None] = {}
        self.tokens = {"root"}
        self.namespace = ""
        self.sealed = False
        self.logins = 0
        self.reads = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("X-Vault-Request") != "true":
            return _errors(400, "missing X-Vault-Request")
        if request.headers.get("X-Vault-Namespace", "") != self.namespace:
            return _errors(404, "no such namespace")
        if self.sealed:
            return _errors(503, "Vault is sealed")
        path = request.url.path
        if (request.method, path) == ("POST", "/v1/auth/kubernetes/login"):
            return self._login(json.loads(request.content))
        if request.method != "GET" or not path.startswith("/v1/secret/data/"):
            return _errors(404)
        return self._read(request, path.removeprefix("/v1/secret/data/"))

    def _read(self, request: httpx.Request, name: str) -> httpx.Response:
        if request.headers.get("X-Vault-Token") not in self.tokens:
            return _errors(403, "permission denied")
        self.reads += 1
        if name not in self.data:
            return _errors(404)
        metadata = {"version": 2, "destroyed": False, "deletion_time": ""}
        body = {"data": {"data": self.data[name], "metadata": metadata}}
        # The newest version of a deleted secret: 404 with its metadata.
        return httpx.Response(404 if self.data[name] is None else 200, json=body)

    def _login(self, body: dict[str, str]) -> httpx.Response:
        if body != {"role": "clarion", "jwt": "pod-token"}:
            return _errors(400, "invalid role name")
        self.logins += 1
        token = f"t{self.logins}"
        self.tokens = {token}
        auth = {"client_token": token, "lease_duration": 3_600, "renewable": True}
        return httpx.Response(200, json={"auth": auth})


def _errors(status: int, *errors: str) -> httpx.Response:
    return httpx.Response(status, json={"errors": list(errors)})


@pytest.fixture
def vault() -> FakeVault:
    made = FakeVault()
    made.data["clarion/acme/ios"] = {"private_key": "PEM", "number": 7}
    return made


def store(vault: FakeVault, **more: Any) -> VaultStore:
    given = {"address": "https://vault.example.com:8200", "token": SecretStr("root"), **more}
    return VaultStore(VaultSettings(**given), transport=httpx.MockTransport(vault))


def test_a_field_of_a_secret_is_read(vault: FakeVault) -> None:
    """By path and field; in a namespace when there is one."""
    assert store(vault).read("clarion/acme/ios#private_key") == "PEM"
    vault.namespace = "team/push"
    assert store(vault, namespace="team/push").read("clarion/acme/ios#private_key") == "PEM"


def test_a_token_from_a_file_is_read_each_time(vault: FakeVault, tmp_path: Path) -> None:
    """The agent renews it."""
    path = tmp_path / "token"
    path.write_text("old\n")
    reading = store(vault, token=None, token_file=path)
    with pytest.raises(BadSecretError, match="has expired"):
        reading.read("clarion/acme/ios#private_key")
    path.write_text("root\n")
    assert reading.read("clarion/acme/ios#private_key") == "PEM"


def test_a_pod_logs_in_with_its_own_token(vault: FakeVault, tmp_path: Path) -> None:
    """Once, and again when the token that it got has expired."""
    path = tmp_path / "pod"
    path.write_text("pod-token\n")
    reading = store(vault, token=None, kubernetes_role="clarion", kubernetes_token_file=path)
    for _ in range(3):
        assert reading.read("clarion/acme/ios#private_key") == "PEM"
    assert vault.logins == 1
    vault.tokens.clear()
    assert reading.read("clarion/acme/ios#private_key") == "PEM"
    assert vault.logins == 2


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("clarion/acme/none#private_key", "there is no secret clarion/acme/none"),
        ("clarion/acme/gone#private_key", "or its newest version is deleted"),
        ("clarion/acme/ios#none", "has no text in the field 'none'"),
        ("clarion/acme/ios#number", "has no text in the field 'number'"),
    ],
)
def test_what_is_not_there_is_told(vault: FakeVault, reference: str, fault: str) -> None:
    """With the path, and never the value."""
    vault.data["clarion/acme/gone"] = None
    with pytest.raises(BadSecretError, match=fault):
        store(vault).read(reference)


def test_vault_s_own_troubles_are_told(vault: FakeVault) -> None:
    """Sealed, wrong token, wrong role, no way to log in, silence, a redirect."""
    reference = "clarion/acme/ios#private_key"
    with pytest.raises(BadSecretError, match="may not read"):
        store(vault, token=SecretStr("wrong")).read(reference)
    with pytest.raises(BadSecretError, match="CLARION_VAULT__TOKEN"):
        store(vault, token=None).read(reference)
    vault.sealed = True
    with pytest.raises(BadSecretError, match="is sealed"):
        store(vault).read(reference)

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("secret text", request=request)

    settings = VaultSettings(address="https://vault.example.com", token=SecretStr("root"))
    with pytest.raises(BadSecretError, match="does not answer: ConnectTimeout") as caught:
        VaultStore(settings, transport=httpx.MockTransport(silent)).read(reference)
    assert "secret text" not in str(caught.value)
    moved = httpx.MockTransport(lambda _: httpx.Response(307, headers={"Location": "https://x"}))
    with pytest.raises(BadSecretError, match="redirects"):
        VaultStore(settings, transport=moved).read(reference)


def test_an_answer_is_bounded() -> None:
    """A server that is no Vault cannot fill the memory."""
    settings = VaultSettings(address="https://vault.example.com", token=SecretStr("root"))
    large = httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 2_000_000))
    with pytest.raises(BadSecretError, match="has more than"):
        VaultStore(settings, transport=large).read("a#b")


def test_a_cached_secret_is_asked_for_once_in_a_while(vault: FakeVault) -> None:
    """A failure is not kept."""
    now_s = 0.0
    cached = CachedStore(store(vault), fresh_s=60, monotonic=lambda: now_s)
    with pytest.raises(BadSecretError):
        cached.read("clarion/acme/none#x")
    vault.data["clarion/acme/none"] = {"x": "new"}
    assert cached.read("clarion/acme/none#x") == "new"
    vault.data["clarion/acme/none"] = {"x": "newer"}
    assert cached.read("clarion/acme/none#x") == "new"
    now_s = 60.0
    assert cached.read("clarion/acme/none#x") == "newer"


def test_files_and_variables(tmp_path: Path) -> None:
    r"""A file as it is; \n in a variable is a line break."""
    (tmp_path / "key").write_text("a\nb")
    assert FileStore().read(str(tmp_path / "key")) == "a\nb"
    assert EnvStore({"KEY": "a\\nb"}).read("KEY") == "a\nb"
    with pytest.raises(BadSecretError, match="is not set"):
        EnvStore({}).read("KEY")
