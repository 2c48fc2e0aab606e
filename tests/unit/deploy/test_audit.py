"""The check for known vulnerabilities fails for one, and says so when nothing was checked."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.audit import audit, judged

LOCK = """\
good==1.0 --hash=sha256:{zeros}
bad==2.0 --hash=sha256:{zeros}
""".format(zeros="0" * 64)
VULNERABILITY = {
    "id": "GHSA-xxxx-yyyy-zzzz",
    "summary": "bad",
    "details": "bad",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "bad", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


class Osv(BaseHTTPRequestHandler):
    """OSV's API, with one vulnerability. Source: google.github.io/osv.dev/post-v1-query."""

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_bad = asked["package"] == {"name": "bad", "ecosystem": "PyPI"}
        body = json.dumps({"vulns": [VULNERABILITY]} if is_bad else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Osv)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


def locked(directory: Path, text: str = LOCK) -> Path:
    path = directory / "requirements.lock"
    path.write_text(text)
    return path


def test_a_known_vulnerability_fails(osv: str, tmp_path: Path) -> None:
    """With the package, the advisory and the version that mends it; by pip-audit itself."""
    verdict = audit(locked(tmp_path), osv_url=osv)
    assert verdict.failed
    assert "bad 2.0: GHSA-xxxx-yyyy-zzzz, fixed in 2.1" in verdict.text
    assert "2 of 2 packages checked" in verdict.text


def test_without_any_it_passes(osv: str, tmp_path: Path) -> None:
    """And says how many were checked."""
    verdict = audit(locked(tmp_path, LOCK.splitlines()[0]), osv_url=osv)
    assert (verdict.failed, verdict.text) == (False, "1 of 1 packages checked")


def test_without_the_service_nothing_is_claimed(tmp_path: Path) -> None:
    """Port 9 answers nobody: not checked, and no failure."""
    verdict = audit(locked(tmp_path), osv_url="http://127.0.0.1:9/v1/query")
    assert not verdict.failed
    assert verdict.text.startswith("not checked: OSV cannot be reached")


def test_a_fault_of_ours_fails(tmp_path: Path) -> None:
    """A lock file that is not there is no network trouble."""
    assert audit(tmp_path / "none").failed


def test_what_was_skipped_is_named() -> None:
    """A package that the service does not know was not checked."""
    verdict = judged([{"name": "ours", "skip_reason": "not found"}])
    assert verdict.text == "0 of 1 packages checked; not checked: ours"
