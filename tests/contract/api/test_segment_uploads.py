"""Uploads of lists over HTTP: streamed, bounded, and seen all at once."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.web import body_file
from api.web.door import Door
from schemas.segment_lists import PART_USERS
from schemas.topics import SEGMENTS
from state.redis_segments import RedisSegments
from tests.contract.api.door_stand import AppliedOutbox, AsCaller

WHERE = "/v1/segments/vip/members"
CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}


async def put(client: Any, content: Any, headers: dict[str, str] = CSV, **query: Any) -> Any:
    return await client.put(WHERE, content=content, headers=headers, params=query)


def members(door: Door) -> int:
    return RedisSegments(door.redis).count("acme", 4, "vip")


async def test_a_list_is_replaced_added_to_and_taken_from(as_caller: AsCaller, door: Door) -> None:
    """CSV by its column, NDJSON by its field or by ids alone."""
    client = as_caller("marketer")
    answer = await put(client, "name,user_id\nx,u1\ny,u2\n")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["users"], told["members"], told["applied"]) == (2, 2, True)
    assert (await put(client, '{"id": "u3"}\n"u4"\n', NDJSON, mode="add", column="id")).json()[
        "members"
    ] == 4
    assert (await put(client, "u1\n", mode="remove")).json()["members"] == 3
    assert (await put(client, "u9\n")).json()["members"] == members(door) == 1
    told = (await client.get("/v1/segments/vip")).json()
    assert (told["kind"], len(told["uploads"])) == ("list", 1)


async def test_bad_lines_are_counted_and_the_first_are_told(as_caller: AsCaller) -> None:
    """The others go in; of 30 bad lines the first 20 are named."""
    lines = "\n".join(["user_id", "good", *(f"bad {n}" for n in range(30))])
    told = (await put(as_caller("marketer"), lines)).json()
    assert (told["users"], told["bad_lines"], len(told["bad"])) == (1, 30, 20)
    assert told["bad"][0] == {
        "line": 3, "fault": "user_id: use 1 to 128 characters without blanks",
    }  # fmt: skip


async def test_too_many_bad_lines_change_nothing(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox
) -> None:
    """422 names lines; the list that counts stays, and what was put up is cleared away."""
    client = as_caller("marketer")
    await put(client, "u1\nu2\n")
    good = "\n".join(f"n{n}" for n in range(2 * PART_USERS))
    answer = await put(client, f"user_id\n{good}\na b\n", max_bad=0)
    assert answer.status_code == 422
    assert "nothing was changed" in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == f"line {2 * PART_USERS + 2}"
    assert members(door) == 2
    parts = {record.key: record.value for record in outbox.of(SEGMENTS)}
    assert sum(value is not None for value in parts.values()) == 2  # the first upload's


async def test_a_client_that_leaves_changes_nothing(
    as_caller: AsCaller, door: Door, outbox: AppliedOutbox, app: Any
) -> None:
    """Half a body is no list."""
    await put(as_caller("marketer"), "u1\nu2\n")
    half = "\n".join(f"n{n}" for n in range(1_500)).encode()
    messages = [
        {"type": "http.request", "body": half, "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [
        (b"authorization", b"Bearer test:acme:marketer"),
        (b"content-type", b"text/csv"),
    ]
    scope = {
        "type": "http", "method": "PUT", "path": WHERE, "raw_path": WHERE.encode(),
        "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http",
        "client": None, "server": None, "root_path": "", "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    assert answers[0]["status"] == 400
    assert members(door) == 2
    parts = {record.key: record.value for record in outbox.of(SEGMENTS)}
    assert sum(value is not None for value in parts.values()) == 2


@pytest.mark.parametrize(
    ("content", "headers", "query", "status", "said"),
    [
        ("u1", {"Content-Type": "application/json"}, {}, 415, "text/csv"),
        ("u1", {**CSV, "Content-Encoding": "gzip"}, {}, 415, "Content-Encoding"),
        ("u1", CSV, {"mode": "add"}, 404, "upload it with mode replace first"),
        ("u1", CSV, {"mode": "merge"}, 422, "mode"),
        ("a,b\nu1,x\n", CSV, {}, 422, "name one with column: a, b"),
        ('{"id": "u1"}', NDJSON, {"max_bad": 0}, 422, "add it or name another with column"),
    ],
)
async def test_mistakes_are_named(
    as_caller: AsCaller, *, content: str, headers: Any, query: Any, status: int, said: str
) -> None:
    """In the words of the request, not of the command line."""
    answer = await put(as_caller("marketer"), content, headers, **query)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


async def test_other_kinds_are_not_overwritten(as_caller: AsCaller, door: Door) -> None:
    """409 for rules and for users' own records."""
    client = as_caller("marketer")
    await client.put("/v1/segments/vip", json={"rule": {"field": "country", "value": "CH"}})
    assert (await put(client, "u1\n")).status_code == 409
    RedisSegments(door.redis).add("acme", 4, "own", ["u1"])
    answer = await client.put("/v1/segments/own/members", content="u1\n", headers=CSV)
    assert answer.status_code == 409


async def test_memory_does_not_grow_with_the_body(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """A body of 8 MB goes through in a few MB."""
    outbox.applies = False
    block = "".join(f"user-{n:010}-padded-to-forty-characters\n" for n in range(2_000)).encode()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            outbox.records.clear()
            yield block

    client = as_caller("marketer")
    tracemalloc.start()
    answer = await put(client, body())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status_code, answer.json()["users"]) == (202, 200_000)
    assert peak < 4_000_000, peak


async def test_uploads_at_once_are_bounded(
    as_caller: AsCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than may be is told to come back; the first one is not hurt."""
    monkeypatch.setattr(body_file, "_free", body_file.BoundedSemaphore(1))
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"u1\n"
        began.set()
        await go_on.wait()
        yield b"u2\n"

    client = as_caller("marketer")
    first = asyncio.create_task(put(client, slow()))
    await began.wait()
    second = await put(client, "u3\n")
    assert (second.status_code, second.json()["code"]) == (503, "busy")
    go_on.set()
    assert (await first).json()["users"] == 2


async def test_one_upload_of_a_list_at_a_time(as_caller: AsCaller, door: Door) -> None:
    """The second one is told; two at once would clear away each other's parts."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"u1\n"
        began.set()
        await go_on.wait()
        yield b"u2\n"

    client = as_caller("marketer")
    await put(client, "u0\n")
    first = asyncio.create_task(put(client, slow()))
    await began.wait()
    assert (await put(client, "u3\n", mode="add")).status_code == 409
    assert (await client.delete("/v1/segments/vip")).status_code == 409
    other = await client.put("/v1/segments/other/members", content="u1\n", headers=CSV)
    assert other.status_code == 200
    go_on.set()
    assert (await first).json()["members"] == members(door) == 2
    assert (await put(client, "u4\n", mode="add")).json()["members"] == 3


async def test_kafka_that_is_away_is_503(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """The list stays as it was."""
    outbox.refuses = True
    answer = await put(as_caller("marketer"), "u1\n")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
