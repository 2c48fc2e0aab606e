"""`clarion events` through the API."""

import json
from pathlib import Path

import pytest
from fastapi import FastAPI

from api.cli import run
from schemas.events import decode_event
from tests.contract.api.client_stand import EVENT, KEY, kept, on_port
from tests.contract.api.door_stand import AppliedOutbox

SEND = ["events", "send", "--category", "news", "--title", "Hi", "--user", "u1"]


def test_an_event_goes_through_the_api(
    app: FastAPI, outbox: AppliedOutbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its id is printed; the tenant is the key's."""
    with on_port(app) as url:
        assert run([*SEND, "--api", url, "--key", KEY]) == 0
    (event_id,) = kept(outbox)
    assert event_id in capsys.readouterr().out
    assert decode_event(outbox.records[0].value).tenant == "acme"


def test_address_and_key_may_stand_in_the_environment(
    app: FastAPI, outbox: AppliedOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLARION_API and CLARION_KEY, as the pages set them."""
    with on_port(app) as url:
        monkeypatch.setenv("CLARION_API", url)
        monkeypatch.setenv("CLARION_KEY", KEY)
        assert run(SEND) == 0
    assert len(kept(outbox)) == 1


def test_a_file_goes_through_the_api_and_its_faults_are_told_by_line(
    app: FastAPI,
    outbox: AppliedOutbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Good lines are sent; each bad one is named; the command fails."""
    file = tmp_path / "events.ndjson"
    lines = [{**EVENT, "id": "a"}, {"type": "t"}, {**EVENT, "id": "b"}]
    file.write_text("\n\n".join(map(json.dumps, lines)))
    with on_port(app) as url:
        assert run(["events", "produce", str(file), "--api", url, "--key", KEY]) == 1
    assert kept(outbox) == ["a", "b"]
    assert f"{file}:3: audience: is missing, add it; category" in capsys.readouterr().err


def test_a_message_is_taken_back_through_the_api(
    app: FastAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    """The API keeps it; without an API the tenant is needed."""
    with on_port(app) as url:
        assert run(["events", "cancel", "m-1", "--api", url, "--key", KEY]) == 0
    assert "m-1: cancelled" in capsys.readouterr().out
    assert run(["events", "cancel", "m-1"]) == 1
    assert "give --tenant, or --api and --key" in capsys.readouterr().err


def test_a_wrong_key_is_one_line(app: FastAPI, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what the API said; without a key, what to give."""
    with on_port(app) as url:
        assert run([*SEND, "--api", url, "--key", "nobody"]) == 1
        assert run([*SEND, "--api", url]) == 1
    refused, missing = capsys.readouterr().err.splitlines()
    assert "401 unauthenticated" in refused
    assert "give --key, or set CLARION_KEY" in missing
