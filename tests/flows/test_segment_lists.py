"""Uploaded segments: through the command and the registry, crashed, replayed and rebuilt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flow_harness import Runner, Stores, run_through_crashes

from api.cli import run
from flows import rebuild
from flows.list_upload import ListUpload
from schemas.pipeline import DeadLetter
from schemas.segment_lists import head_key
from schemas.segments import parse
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DEAD_REGISTRY, SEGMENTS
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.uploads import RedisUploads

pytestmark = pytest.mark.usefixtures("no_clickhouse")
SHARDS = 4


def upload(stores: Stores, name: str, mode: Any, parts: list[list[str]], base: str = "") -> None:
    with ListUpload(stores.kafka, tenant="acme", segment="vip", upload=name) as to:
        for users in parts:
            to.put(users, mode, base)
        to.finish(mode, {})


def members(redis: RedisClient, text: str = "vip") -> set[str]:
    segments = RedisSegments(redis)
    return {user for n in range(SHARDS) for user in segments.members("acme", n, parse(text))}


def numbered(first: int, last: int) -> list[str]:
    return [f"u{n}" for n in range(first, last)]


def history(stores: Stores) -> set[str]:
    """Write a list, changes to it, a replacement and changes to that; give who is in it then."""
    upload(stores, "1-a", "replace", [numbered(n, n + 5) for n in range(0, 100, 5)])
    upload(stores, "2-b", "add", [numbered(n, n + 5) for n in range(100, 200, 5)], "1-a")
    upload(stores, "3-c", "replace", [numbered(n, n + 5) for n in range(0, 300, 5)])
    upload(stores, "4-d", "remove", [numbered(n, n + 5) for n in range(0, 100, 5)], "3-c")
    upload(stores, "5-e", "add", [numbered(1_000, 1_010)], "1-a")  # to what was replaced
    upload(stores, "6-f", "add", [numbered(0, 2)], "3-c")
    stores.put([Record(SEGMENTS, head_key("acme", "vip"), b"\xc1")])
    return {*numbered(0, 2), *numbered(100, 300)}


def test_a_list_is_whole_after_crashes_and_after_a_rebuild(
    stores: Stores, settings: Settings, redis: RedisClient
) -> None:
    """What was uploaded is in the topic, so an emptied Redis gets it back."""
    meant = history(stores)
    run_through_crashes(Runner(settings, "registry"))
    assert members(redis) == meant
    assert len({letter.raw for letter in stores.decoded(DEAD_REGISTRY, DeadLetter)}) == 1
    assert [*rebuild.rebuild(settings)][-1].phase == "done"
    assert members(redis) == meant
    redis.run("FLUSHALL")
    assert [*rebuild.rebuild(settings, batch=7)][-1].phase == "done"
    assert members(redis) == meant
    assert RedisUploads(redis).of("acme", "vip")["3-c"] == 60


def test_an_upload_that_was_given_up_leaves_nothing(
    stores: Stores, settings: Settings, redis: RedisClient
) -> None:
    """Neither members nor records: its parts are cleared from the topic."""

    def broken() -> Iterator[str]:
        yield from numbered(0, 2_500)
        raise OSError("the disk is gone")

    with (
        pytest.raises(OSError, match="disk"),
        ListUpload(stores.kafka, tenant="acme", segment="vip", upload="1-a") as to,
    ):
        to.put(broken(), "replace")
    Runner(settings, "registry").run()
    assert members(redis) == set()
    assert RedisUploads(redis).of("acme", "vip") == {}
    assert [value is None for value in stores.read(SEGMENTS)] == [False, False, True, True]


@pytest.mark.usefixtures("registry", "stores")
def test_the_commands_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Upload, add, remove, replace, look, count and remove again."""
    of = ["--tenant", "acme"]
    file = tmp_path / "vip.csv"
    file.write_text("name,user_id\n" + "".join(f"n,u{n}\n" for n in range(2_500)) + "x\n")
    assert run(["segments", "upload", "vip", str(file), *of]) == 0
    told = capsys.readouterr()
    assert "2500 users read, 1 lines left out; it has 2500 members now" in told.out
    assert f"{file}:2502: user_id: the line has 1 columns only" in told.err
    assert run(["segments", "upload", "vip", str(file), *of, "--strict"]) == 1
    assert "1 bad lines, 0 allowed: nothing was changed" in capsys.readouterr().err
    more = tmp_path / "more.ndjson"
    more.write_text('{"user_id": "u0"}\n"new"\n')
    assert run(["segments", "upload", "vip", str(more), *of, "--mode", "add"]) == 0
    assert "2501 members" in capsys.readouterr().out
    assert run(["segments", "upload", "vip", str(more), *of, "--mode", "remove"]) == 0
    assert "2499 members" in capsys.readouterr().out
    assert run(["segments", "upload", "few", str(more), *of]) == 0
    assert run(["segments", "upload", "vip", str(more), *of]) == 0
    assert "it has 2 members" in capsys.readouterr().out
    assert run(["segments", "estimate", "vip - few", *of]) == 0
    assert capsys.readouterr().out == "0\n"
    assert run(["segments", "members", "vip & few", *of, "--limit", "1"]) == 0
    assert capsys.readouterr().out in {"u0\n", "new\n"}
    assert run(["segments", "ls", *of, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["kind"], row["members"]) for row in rows] == [
        ("few", "list", 2),
        ("vip", "list", 2),
    ]
    assert run(["segments", "show", "vip", *of]) == 0
    assert len(json.loads(capsys.readouterr().out)["uploads"]) == 1
    assert run(["segments", "rm", "vip", *of]) == 0
    assert run(["segments", "show", "vip", *of]) == 1
    assert "there is no segment 'vip'" in capsys.readouterr().err


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["upload", "everyone", "F"], "name: 'everyone' and names that begin with"),
        (["upload", "a b", "F"], "name: use 1 to 64 letters"),
        (["upload", "vip", "none.csv"], "file: there is no none.csv"),
        (["upload", "vip", "F", "--column", "id"], "column: there is no 'id' in the header"),
        (["upload", "vip", "F", "--mode", "add"], "upload it with --mode replace first"),
        (["upload", "buyers", "F"], "holds the users whose own records name it"),
        (["estimate", "buyers &"], "expression: a segment name is missing"),
        (["estimate", "buyers & nope"], "expression: no segment named nope"),
        (["members", "buyers", "--limit", "-1"], "limit: use 0"),
        (["rm", "nope"], "name: there is no segment 'nope'"),
        (["rm", "buyers"], "comes from users' own records"),
    ],
)
def test_mistakes_are_named(
    redis: RedisClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """The field and the fix, and exit code 1."""
    RedisSegments(redis).add("acme", SHARDS, "buyers", ["u1"])
    file = tmp_path / "f.csv"
    file.write_text("user_id,name\nu1,x\n")
    given = [str(file) if word == "F" else word for word in arguments]
    assert run(["segments", *given, "--tenant", "acme"]) == 1
    assert said in capsys.readouterr().err


def test_an_unknown_tenant_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With those there are."""
    monkeypatch.setenv("CLARION_TENANTS_DIR", str(settings.tenants_dir))
    assert run(["segments", "ls", "--tenant", "nobody"]) == 1
    assert "tenant: there is no 'nobody', use one of acme" in capsys.readouterr().err
