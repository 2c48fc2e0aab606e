"""`clarion secrets`, through Kafka and the registry."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from api.cli import run
from api.publishing import DefinitionWriter, Publisher
from schemas.credentials import SealedCredential
from schemas.definitions import Kind
from schemas.pipeline import Platform
from schemas.settings import Settings, load_settings
from sinks.sealing import KeyRing, read_master_keys
from state.definitions import RedisDefinitions
from state.redis_client import RedisClient

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def text(key: bytes) -> str:
    return b64encode(key).decode()


def put(settings: Settings, redis: RedisClient, app: str, sealed_for: str = "") -> None:
    """Put a credential under the old key. sealed_for: another app than it is put for."""
    body = SealedCredential(
        platform=Platform.APNS,
        envelope=KeyRing([OLD]).seal(b"geheim", tenant="acme", app=sealed_for or app),
        fingerprint="SHA256:x",
        set_at=datetime.now(UTC),
        set_by="key:k1",
    )
    publisher = Publisher(settings.kafka.client_options())
    writer = DefinitionWriter(publisher, RedisDefinitions(redis))
    writer.put(Kind.CREDENTIAL, "acme", app, body.model_dump(mode="json"))


def opened(redis: RedisClient, app: str) -> bytes:
    found = RedisDefinitions(redis).get(Kind.CREDENTIAL, "acme", app)
    assert found is not None
    envelope = SealedCredential.model_validate_json(found.body).envelope
    return KeyRing([NEW]).open(envelope, tenant="acme", app=app)


@pytest.mark.usefixtures("registry")
def test_rotate_master_wraps_all_anew(
    settings: Settings,
    redis: RedisClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once; what does not open is told, keeps the old keys needed, and fails the command."""
    put(settings, redis, "ios")
    monkeypatch.setenv("CLARION_SECURITY__MASTER_KEY", text(NEW))
    monkeypatch.setenv("CLARION_SECURITY__MASTER_KEYS", text(OLD))
    assert run(["secrets", "rotate-master"]) == 0, capsys.readouterr()
    assert "acme/ios: wrapped anew\n1 wrapped anew" in capsys.readouterr().out
    assert opened(redis, "ios") == b"geheim"
    assert run(["secrets", "rotate-master"]) == 0
    assert "0 wrapped anew" in capsys.readouterr().out
    put(settings, redis, "ipad", sealed_for="another")
    assert run(["secrets", "rotate-master"]) == 1
    said = capsys.readouterr()
    assert "acme/ipad: it does not open" in said.out
    assert "keep the old keys" in said.err
    assert "geheim" not in said.out + said.err


def test_without_a_master_key_it_says_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And `new-key` makes one that is taken."""
    assert run(["secrets", "rotate-master"]) == 1
    assert "clarion secrets new-key" in capsys.readouterr().err
    assert run(["secrets", "new-key"]) == 0
    monkeypatch.setenv("CLARION_SECURITY__MASTER_KEY", capsys.readouterr().out.strip())
    assert len(read_master_keys(load_settings().security)) == 1
