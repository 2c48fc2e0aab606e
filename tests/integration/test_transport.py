"""The configurations of docs/security.md, on the servers that they are for."""

import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import redis

from sandbox.processes import Child, accepts, free_port
from sandbox.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, make_tls
from schemas.definitions import Definition, Kind
from schemas.pipeline import Platform
from state.definitions import RedisDefinitions
from state.errors import StateUnavailableError
from state.ledger import RedisLedger
from state.profiles import Device, Profile, RedisProfiles
from state.rates import RedisRates
from state.redis_client import RedisClient
from tests.integration.certificates import Issuer
from tests.integration.security_page import PAGE
from tests.servers.install import redis_server

pytestmark = pytest.mark.integration
PASSWORD = "change-me-to-something-long"


def snippet(language: str) -> str:
    """Give the page's code block of a language."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    return found[0]


class RedisUrls:
    """A server as the page has it. url: as Clarion's user."""

    def __init__(self, port: int, ca: Path) -> None:
        self._where = f"127.0.0.1:{port}/0?ssl_ca_certs={ca}"
        self.url = self.of("clarion", PASSWORD)
        self.plain = f"redis://clarion:{PASSWORD}@127.0.0.1:{port}/0"

    def of(self, user: str, password: str) -> str:
        return f"rediss://{user}:{password}@{self._where}"


@pytest.fixture
def tls_redis(tmp_path: Path) -> Iterator[RedisUrls]:
    """Start a Redis with the page's configuration and ACL file."""
    make_tls(tmp_path)
    (tmp_path / "users.acl").write_text(snippet("redis-acl"))
    port = free_port()
    paths = {
        "/etc/redis/server.pem": CERTIFICATE_FILE,
        "/etc/redis/server.key": KEY_FILE,
        "/etc/redis/ca.pem": CA_FILE,
        "/etc/redis/users.acl": "users.acl",
    }
    text = snippet("redis-conf").replace("6380", str(port))
    for there, here in paths.items():
        text = text.replace(there, str(tmp_path / here))
    (tmp_path / "redis.conf").write_text(f'{text}\nbind 127.0.0.1\nsave ""\ndir {tmp_path}\n')
    child = Child(
        "redis",
        [str(redis_server()), str(tmp_path / "redis.conf")],
        log=tmp_path / "redis.log",
    )
    child.start()
    child.wait_until(partial(accepts, port))
    yield RedisUrls(port, tmp_path / CA_FILE)
    child.stop()


def test_clarion_runs_on_redis_with_tls_and_these_rights(tls_redis: RedisUrls) -> None:
    """Strings, hashes, sets and scripts; the rights suffice."""
    client = RedisClient(tls_redis.url)
    definitions = RedisDefinitions(client)
    one = Definition(Kind.TEMPLATE, "acme", "t", 1, b"{}", 1)
    definitions.apply([one])
    assert definitions.get(Kind.TEMPLATE, "acme", "t") == one
    device = Device("d", Platform.APNS, "ios", "a" * 64, 1)
    profiles = RedisProfiles(client)
    profiles.update_many("acme", 4, {"u1": lambda _old: Profile("u1", 0, devices=(device,))})
    assert [p.user_id for p in profiles.get_many("acme", 4, ["u1"]) if p] == ["u1"]
    assert RedisRates(client).lease("k", 10.0, 1, 100, 1_000) == 1
    RedisLedger(client).claim("g", "t", [0], "me")
    client.close()


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "x")]
)
def test_dangerous_commands_and_other_keys_are_refused(
    tls_redis: RedisUrls, command: tuple[str, ...]
) -> None:
    """Also when the password leaks."""
    client = RedisClient(tls_redis.url)
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.run(*command)
    client.close()


def test_nobody_else_gets_in(tls_redis: RedisUrls) -> None:
    """No default user, no wrong password, no plain text, no unknown authority."""
    urls = [
        tls_redis.of("default", ""),
        tls_redis.of("clarion", "wrong"),
        tls_redis.plain,
        tls_redis.url.partition("?")[0],
    ]
    for url in urls:
        client = RedisClient(url, retries=0)
        with pytest.raises((StateUnavailableError, redis.AuthenticationError)):
            client.ping()
        client.close()
    ours = RedisClient(tls_redis.url, retries=0)
    ours.ping()  # it is there, and would have answered
    ours.close()


class Backend(BaseHTTPRequestHandler):
    """Stands for the API: it answers with the headers that reached it."""

    def do_GET(self) -> None:
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Give the authority whose clients the proxy knows."""
    return Issuer(tmp_path)


Ask = Callable[[tuple[str, str] | None], httpx.Response]


@pytest.fixture
def ask(tmp_path: Path, issuer: Issuer) -> Iterator[Ask]:
    """Start nginx with the page's configuration; give what asks through it."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    backend = HTTPServer(("127.0.0.1", 0), Backend)
    Thread(target=backend.serve_forever, daemon=True).start()
    make_tls(tmp_path)
    (tmp_path / "clients-ca.pem").write_bytes(issuer.pem)
    port = free_port()
    text = snippet("nginx").replace("listen 8443", f"listen 127.0.0.1:{port}")
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{backend.server_port}")
    text = text.replace("/etc/nginx", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off;\n{text}\n}}\n"
    )
    child = Child(
        "nginx",
        [nginx, "-e", f"{tmp_path}/error.log", "-c", f"{tmp_path}/nginx.conf"],
        log=tmp_path / "nginx.log",
    )
    child.start()
    child.wait_until(partial(accepts, port))

    def asking(certificate: tuple[str, str] | None) -> httpx.Response:
        context = ssl.create_default_context(cafile=tmp_path / CA_FILE)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.get(f"https://127.0.0.1:{port}/v1/keys")

    yield asking
    child.stop()
    backend.shutdown()
    backend.server_close()


def test_the_proxy_lets_in_whom_it_knows(ask: Ask, issuer: Issuer, tmp_path: Path) -> None:
    """A known subject of the right authority; no other subject, authority or nobody."""
    known = ask(issuer.issue("backend"))
    assert known.status_code == 200
    assert "backend" not in known.text  # no name goes on to the API
    assert ask(issuer.issue("stranger")).status_code == 403
    assert ask(None).status_code == 400
    (tmp_path / "other").mkdir()
    assert ask(Issuer(tmp_path / "other").issue("backend")).status_code == 400
