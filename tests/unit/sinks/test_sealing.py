from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.security import SecuritySettings
from sinks.sealing import KeyRing, MasterKeyError, SealError, new_master_key, read_master_keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def text(key: bytes) -> str:
    return b64encode(key).decode()


@given(secret=st.binary(max_size=500), tenant=st.text(max_size=20), app=st.text(max_size=20))
def test_what_is_sealed_opens_for_the_same_app(secret: bytes, tenant: str, app: str) -> None:
    """And for no other tenant or app."""
    ring = KeyRing([NEW])
    envelope = ring.seal(secret, tenant=tenant, app=app)
    assert ring.open(envelope, tenant=tenant, app=app) == secret
    for other in ({"tenant": tenant + "x", "app": app}, {"tenant": tenant, "app": app + "x"}):
        with pytest.raises(SealError, match="of another tenant or app"):
            ring.open(envelope, **other)


def test_nothing_of_the_secret_or_the_keys_is_in_an_envelope() -> None:
    """Twice the same secret gives two envelopes."""
    ring = KeyRing([NEW])
    one, two = (ring.seal(b"geheim", tenant="acme", app="ios") for _ in range(2))
    assert "geheim" not in one.model_dump_json()
    assert text(NEW) not in one.model_dump_json()
    assert one.sealed != two.sealed
    assert one.wrapped_key != two.wrapped_key


@pytest.mark.parametrize("field", ["sealed", "wrapped_key"])
def test_a_changed_envelope_does_not_open(field: str) -> None:
    """One other bit is enough."""
    ring = KeyRing([NEW])
    envelope = ring.seal(b"geheim", tenant="acme", app="ios")
    damaged = getattr(envelope, field)
    damaged = ("B" if damaged[0] == "A" else "A") + damaged[1:]
    with pytest.raises(SealError, match="damaged"):
        ring.open(envelope.model_copy(update={field: damaged}), tenant="acme", app="ios")


def test_an_older_master_key_opens_until_it_is_wrapped_anew() -> None:
    """Then the old key is needed no more."""
    envelope = KeyRing([OLD]).seal(b"geheim", tenant="acme", app="ios")
    both = KeyRing([NEW, OLD])
    assert both.open(envelope, tenant="acme", app="ios") == b"geheim"
    again = both.rewrap(envelope, tenant="acme", app="ios")
    assert again is not None
    assert again.sealed == envelope.sealed
    assert KeyRing([NEW]).open(again, tenant="acme", app="ios") == b"geheim"
    assert both.rewrap(again, tenant="acme", app="ios") is None
    with pytest.raises(SealError, match="which is not here"):
        KeyRing([NEW]).open(envelope, tenant="acme", app="ios")


def test_keys_come_by_value_or_from_a_file(tmp_path: Path) -> None:
    """Newest first; comments and blank lines do not count."""
    by_value = SecuritySettings(
        master_key=SecretStr(text(NEW)), master_keys=SecretStr(f"{text(OLD)}")
    )
    path = tmp_path / "keys"
    path.write_text(f"# made in May\n{text(NEW)}\n\n{text(OLD)}\n")
    from_file = SecuritySettings(master_key_file=path)
    assert read_master_keys(by_value) == read_master_keys(from_file) == [NEW, OLD]
    assert read_master_keys(SecuritySettings()) == []


def test_a_new_key_is_taken() -> None:
    """What the command prints."""
    made = new_master_key()
    assert len(read_master_keys(SecuritySettings(master_key=SecretStr(made)))[0]) == 32
    assert made != new_master_key()


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("geheim", "is not base64 of 32 bytes"),
        (text(bytes(31)), "is not base64 of 32 bytes"),
        (text(bytes(32)), "is not random"),
    ],
)
def test_a_bad_key_is_named_and_not_shown(key: str, fault: str) -> None:
    """With the command that makes a good one."""
    with pytest.raises(MasterKeyError, match=fault) as caught:
        read_master_keys(SecuritySettings(master_key=SecretStr(key)))
    assert "CLARION_SECURITY__MASTER_KEY: key 1" in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff"])
def test_a_file_without_keys_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty or not text."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MasterKeyError, match="clarion secrets new-key"):
        read_master_keys(SecuritySettings(master_key_file=path))


def test_keys_are_given_in_one_way() -> None:
    """By value and by file at once would hide which one counts."""
    both = SecuritySettings(master_key=SecretStr(text(NEW)), master_key_file=Path("x"))
    with pytest.raises(MasterKeyError, match="keep one of both"):
        read_master_keys(both)
    with pytest.raises(MasterKeyError, match="only older keys"):
        read_master_keys(SecuritySettings(master_keys=SecretStr(text(OLD))))
