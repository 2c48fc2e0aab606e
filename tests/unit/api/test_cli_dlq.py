"""`clarion dlq`: what it asks for, before any broker is asked."""

import pytest

from api.cli import CommandError, run
from api.dlq_resolve import say
from api.dlq_which import Which, source_of
from schemas.stream import Source

NOW_MS = 1_770_000_000_000


def test_options_become_a_question() -> None:
    """A duration counts back from now; a time without a zone is UTC."""
    found = Which(
        stage=("fcm",), id=("dead.fcm/0/12",), since="90m", until="2026-02-02T02:40:00"
    ).wanted(NOW_MS)
    assert found.stages == ("fcm",)
    assert found.ids == {Source("dead.fcm", 0, 12)}
    assert (found.since_ms, found.until_ms) == (NOW_MS - 5_400_000, NOW_MS)
    assert Which(since="2026-02-02T03:40:00+01:00").wanted(0).since_ms == NOW_MS


@pytest.mark.parametrize(
    "text", ["", "12", "dead.fcm", "dead.fcm/0", "events.low/0/1", "dead.fcm/0/x"]
)
def test_a_wrong_id_is_explained(text: str) -> None:
    """Only letters have one."""
    with pytest.raises(CommandError, match="clarion dlq ls"):
        source_of(text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["replay"], "say which letters"),
        (["drop", "--yes"], "say which letters"),
        (["replay", "--stage", "fcm", "--ttl", "soon"], "--ttl: write a duration"),
        (["replay", "--stage", "fcm", "--ttl", "0"], "--ttl: write a duration"),
        (["drop", "--since", "yesterday"], "--since: write 2h"),
        (["show", "dead.fcm"], "is no letter's id"),
    ],
)
def test_faults_are_told_before_anything_is_asked(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 1; no broker is there."""
    assert run(["dlq", *words, "--bootstrap", "127.0.0.1:1"]) == 1
    shown = capsys.readouterr()
    assert says in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_an_unknown_stage_is_wrong_usage() -> None:
    """The stages are those that there are."""
    assert run(["dlq", "ls", "--stage", "sms"]) == 2


def test_what_could_steer_a_terminal_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors hold what others wrote."""
    say("a\x1b[2Jb\tü")
    assert capsys.readouterr().out == "a\ufffd[2Jb\ufffdü\n"
