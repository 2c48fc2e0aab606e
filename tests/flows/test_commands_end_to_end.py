"""The commands people run first, as they run them."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sandbox.demo_report import MACHINE
from schemas.outcomes import Reason, Status

TIMEOUT_S = 100


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api", *arguments]


@pytest.mark.timeout(150)
def test_the_demo_holds_its_identities(tmp_path: Path) -> None:
    """A small demo exits 0 with its JSON last, every event over and every push counted twice."""
    done = subprocess.run(
        _command("demo", "--flights", "400", "--users", "400", "--json", "--dir", str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert tuple(result) == MACHINE
    assert result["identity_ok"] is True
    assert result["events_terminal"] == result["events_in"] > 0
    sent = sum(result["outcomes"][Status.SENT].values())
    assert sum(result["provider_accepted"].values()) == sent > 0
    assert all(count > 0 for count in result["provider_accepted"].values())
    assert result["outcomes"][Status.FAILED][Reason.TOKEN_UNREGISTERED] > 0
    assert result["dead_tokens_cleaned"] > 0
    campaign = result["campaign"]
    assert (campaign["phase"], campaign["users_routed"]) == ("finished", campaign["users"])
    assert campaign["users"] > 0
    assert Reason.QUIET_HOURS in result["outcomes"][Status.DEFERRED]
    # It ends with one decision explained, by the command that does so.
    assert "clarion explain --message" in done.stderr
    assert "The user now:" in done.stderr


@pytest.mark.timeout(150)
def test_up_prints_what_to_try_and_ends_all_its_children(tmp_path: Path) -> None:
    """`clarion up` comes up, SIGINT ends it with 0, and nothing of it is left."""
    ports = ("kafka", "redis", "clickhouse", "apns", "fcm", "webpush", "api")
    options = [part for name in ports for part in (f"--{name}-port", "0")]
    process = subprocess.Popen(
        _command("up", "--dir", str(tmp_path), *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        seen = ""
        while "Watch a flow" not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        assert "survive no crash" in seen
        assert "clarion events send" in seen
        pasted = _try_the_commands(seen)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 10
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    _gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    if not pasted:
        pytest.skip("curl is not installed: all but the commands was tried")


def _try_the_commands(printed: str) -> bool:
    """Paste what is printed: the last of the four commands tells that the push was accepted.

    Gives False when there is nothing to paste it into.
    """
    lines = printed.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("export CLARION_API="))
    commands = [lines[first], *(line for line in lines[first:] if line.startswith("curl -s "))]
    assert len(commands) == 5, printed
    if shutil.which("curl") is None:
        return False
    script = "\n".join(f"{one}; echo" for one in commands)
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert answers[0]["device_token"].startswith("cdt_")
    assert answers[1]["opted_out_categories"] == ["marketing"]
    assert answers[2] == {"id": "hello-1"}
    assert answers[3]["steps"][-1]["reason"] == Reason.ACCEPTED
    return True


def test_a_taken_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    """One line, exit 1, before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            _command("up", "--dir", str(tmp_path), "--apns-port", str(port)),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} for apns is taken" in done.stderr
    assert "Traceback" not in done.stderr
