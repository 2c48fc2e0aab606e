"""Tenants' files: every fault is found, named by its place in the YAML, with its remedy."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flows.config import ConfigError, load_tenants, resolve_credentials
from sinks.credentials import ApnsCredential, FcmCredential, WebPushCredential

DEMO = Path(__file__).parents[3] / "deploy/tenants"
SMALL = "name: {name}\ncategories: {{news: {{}}}}\n"


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


P256 = pem(ec.generate_private_key(ec.SECP256R1()))
ACCOUNT = json.dumps(
    {
        "client_email": "a@b",
        "private_key": pem(rsa.generate_private_key(65_537, 2_048)),
        "token_uri": "https://t",
    }
)
SECRETS = {"DEMO_APNS_KEY": P256, "DEMO_VAPID_KEY": P256, "DEMO_FCM_SERVICE_ACCOUNT": ACCOUNT}


def faults(directory: Path, text: str) -> list[tuple[str, str]]:
    (directory / "t.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_tenants(directory)
    assert all(problem.file == str(directory / "t.yaml") for problem in caught.value.problems)
    return [(problem.path, problem.fault) for problem in caught.value.problems]


def test_demo_tenant_is_good() -> None:
    """The example that ships is valid and resolves."""
    tenants = load_tenants(DEMO)
    assert list(tenants) == ["demo"]
    credentials = resolve_credentials(tenants, environ=SECRETS)
    assert credentials.get("demo", "ios", ApnsCredential).topic == "com.example.demo"
    assert credentials.get("demo", "android", FcmCredential).project_id == "clarion-demo"
    assert credentials.get("demo", "web", WebPushCredential).private_key_pem == P256


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("name: a b", "name", "use letters, digits"),
        ("shards: 12\nname: t\ncategories: {a: {}}", "", "shards: use a power of two"),
        ("apps: {ios: {platform: apns, private_key: PEM}}", "apps.ios.private_key", "write {file:"),
        (
            "apps: {ios: {platform: apns, private_key: {fil: x}}}",
            "apps.ios.private_key.fil",
            "did you mean 'file'?",
        ),
        (
            "apps: {ios: {platform: apns, private_key: {file: 3}}}",
            "apps.ios.private_key.file",
            "must be a valid string",
        ),
        (
            "apps: {ios: {platform: apns, private_key: {}}}",
            "apps.ios.private_key",
            "give exactly one of file, env, sealed and external",
        ),
        ("apps: {ios: {platform: apns, team_id: x}}", "apps.ios.team_id", "use the 10 capital"),
        ("apps: {web: {platform: wep}}", "apps.web", "platform must be apns, fcm or webpush"),
        ("apps: {web: {}}", "apps.web", "platform is missing"),
        (
            "apps: {web: {platform: webpush, allowed_hosts: ['https://x']}}",
            "apps.web.allowed_hosts.0",
            "use a host name",
        ),
        ("quiet_hours: {start: 22:00, end: '07:00'}", "quiet_hours.0.start", "in quotes"),
        ("categories: {a: {caps: [{limit: 0}]}}", "categories.a.caps.0.limit", "greater than"),
        ("templates: {t: {texts: {en: {titel: x}}}}", "templates.t.texts.en.titel", "'title'"),
        (
            "templates: {t: [{texts: {en: {titel: x}}}]}",
            "templates.t.0.texts.en.titel",
            "'title'",
        ),
        ("flags: {f: 101}", "flags.f", "use true, false or a percentage"),
        ("quota: {}", "quota", "did you mean 'quotas'?"),
        ("name: a\nname: b", "", "line 2: 'name' is there twice, keep one"),
        ("a: [1", "", "line 1: not YAML"),
        ("a: &x [1]\nb: *x", "", "line 2: write the value out"),
        ("[" * 30 + "]" * 30, "", "nest at most 20 levels"),
        ("? [a]\n: b", "", "use plain text as a key"),
        ("", "", "must be an object with named fields"),
        ("a: \x00", "", "not YAML"),
        ("d: 2026-13-45", "", "not YAML"),
        ("x: " + "y" * 1_100_000, "", "has more than 1048576 bytes"),
        ("!!python/object:os.system {}", "", "not YAML"),
    ],
)
def test_fault_is_named_by_its_place_in_the_yaml(
    tmp_path: Path, text: str, path: str, says: str
) -> None:
    """The path is the one that stands in the file; the text says what to write."""
    found = faults(tmp_path, text)
    assert [fault for place, fault in found if place == path and says in fault], found


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    """One run shows everything there is to mend."""
    (tmp_path / "a.yaml").write_text("name: a b", "utf-8")
    (tmp_path / "b.yaml").write_text("[", "utf-8")
    (tmp_path / "c.yaml").write_text(SMALL.format(name="same"), "utf-8")
    (tmp_path / "d.yaml").write_text(SMALL.format(name="same"), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_tenants(tmp_path)
    files = [Path(problem.file).name for problem in caught.value.problems]
    assert files == ["a.yaml", "a.yaml", "b.yaml", "d.yaml"]
    assert "d.yaml: name: c.yaml has the same, change one" in str(caught.value)


def test_directory_without_tenants_is_a_fault(tmp_path: Path) -> None:
    """A process for nobody is a mistake in the path."""
    with pytest.raises(ConfigError, match=r"has 0 \*.yaml files"):
        load_tenants(tmp_path)
    with pytest.raises(ConfigError, match="is no directory"):
        load_tenants(tmp_path / "none")


APPS = """
name: t
categories: {news: {}}
apps:
  ios: {platform: apns, team_id: ABCDE12345, key_id: ABCDE12345, topic: a.b, private_key: SECRET}
  droid: {platform: fcm, project_id: my-app, service_account: SECRET}
"""


def test_secret_files_lie_beside_their_yaml(tmp_path: Path) -> None:
    """A relative path starts at the YAML file, wherever the process runs."""
    (tmp_path / "t.yaml").write_text(
        APPS.replace("private_key: SECRET", "private_key: {file: k/a.p8}").replace(
            "SECRET", "{env: ACCOUNT}"
        ),
        "utf-8",
    )
    (tmp_path / "k").mkdir()
    (tmp_path / "k/a.p8").write_text(P256, "utf-8")
    credentials = resolve_credentials(load_tenants(tmp_path), environ={"ACCOUNT": ACCOUNT})
    assert credentials.get("t", "ios", ApnsCredential).private_key_pem == P256


def test_key_in_a_variable_may_have_escaped_line_breaks(tmp_path: Path) -> None:
    r"""Tools that cannot put line breaks into a variable write \n."""
    (tmp_path / "t.yaml").write_text(APPS.replace("SECRET", "{env: S}"), "utf-8")
    tenants = load_tenants(tmp_path)
    del tenants["t"].apps["droid"]
    credentials = resolve_credentials(tenants, environ={"S": P256.replace("\n", "\\n")})
    assert credentials.get("t", "ios", ApnsCredential).private_key_pem == P256


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory; put the key there"),
        (b"hello", "is no private key in PEM form"),
        (b"\xff\xfe", "is no text file"),
        (b"x" * 70_000, "has more than 65536 bytes"),
        (pem(ec.generate_private_key(ec.SECP384R1())).encode(), "is not a P-256 key"),
    ],
)
def test_bad_key_is_told_with_its_place(tmp_path: Path, content: bytes | None, says: str) -> None:
    """All secrets are tried; each fault names file, path in the YAML and remedy."""
    (tmp_path / "t.yaml").write_text(APPS.replace("SECRET", "{file: key}"), "utf-8")
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve_credentials(load_tenants(tmp_path), environ={})
    first, second = caught.value.problems
    assert (first.file, first.path) == (str(tmp_path / "t.yaml"), "apps.ios.private_key.file")
    assert says in first.fault
    assert second.path == "apps.droid.service_account.file"


def test_no_secret_is_in_an_error(tmp_path: Path) -> None:
    """A key that is wrong is still a secret."""
    (tmp_path / "t.yaml").write_text(APPS.replace("SECRET", "{env: S}"), "utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve_credentials(load_tenants(tmp_path), environ={"S": "geheim"})
    assert "geheim" not in str(caught.value)


ISSUER = (
    "{issuer: https://id.example.com, audience: a, jwks: {file: keys.json}, roles: {r: analyst}}"
)


def test_an_issuer_of_tokens_is_named_once_for_all_tenants(tmp_path: Path) -> None:
    """By two tenants, or twice by one, is a fault; the other tenant is named."""
    access = f"access: {{issuers: [{ISSUER}]}}\n"
    (tmp_path / "s.yaml").write_text(SMALL.format(name="s") + access)
    (path, fault), *_ = faults(tmp_path, SMALL.format(name="t") + access)
    assert (path, "tenant 's'" in fault) == ("access.issuers.0", True)
    (tmp_path / "s.yaml").unlink()
    twice = f"access: {{issuers: [{ISSUER}, {ISSUER}]}}\n"
    ((path, fault),) = faults(tmp_path, SMALL.format(name="t") + twice)
    assert "access.issuers: give every pair" in fault


def test_an_issuers_file_of_keys_is_beside_the_tenants(tmp_path: Path) -> None:
    """It comes back as a full path."""
    text = SMALL.format(name="t") + f"access: {{issuers: [{ISSUER}]}}\n"
    (tmp_path / "t.yaml").write_text(text)
    (issuer,) = load_tenants(tmp_path)["t"].access.issuers
    assert issuer.jwks.file == str(tmp_path / "keys.json")
