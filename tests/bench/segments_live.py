"""Segments through the registry process: how soon a change counts, and how fast a list is taken."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from flows.compose_stores import clickhouse_of
from flows.list_upload import ListUpload
from sandbox.stack import FlowSpec, Stack
from schemas.definitions import DefinitionRecord, Kind
from schemas.pipeline import Priority
from schemas.registry import registry_key
from schemas.stream import Record
from schemas.topics import DEFINITIONS, USERS
from sinks.clickhouse import connect
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from tests.bench import people
from tests.bench.result import BenchError, Plan, Result, middle
from tests.bench.stand import load, running, settings_of, stand

REGISTRY = FlowSpec("registry", None, tuple(Priority))
SHARDS = 16
CHANGES = 50
POLL_S = 0.002
TIMEOUT_S = 120.0
_MB = 1_048_576


def measure(plan: Plan) -> list[Result]:
    """Change users one by one and wait for each to join; then upload a list."""
    with stand(shards=SHARDS) as stack:
        client = RedisClient(settings_of(stack).redis.url)
        with running(stack, REGISTRY):
            results = [_changes(stack, client, plan), _upload(stack, client, plan)]
        client.close()
    return results


def _changes(stack: Stack, client: RedisClient, plan: Plan) -> Result:
    said = DefinitionRecord(
        kind=Kind.SEGMENT, tenant=people.TENANT, name="swiss", updated_at=datetime.now(UTC),
        body={"rule": {"field": "country", "value": "CH"}},
    )  # fmt: skip
    settings, segments = settings_of(stack), RedisSegments(client)
    load(settings, [Record(DEFINITIONS, said.key, said.to_json())])
    _wait(lambda: "swiss" in segments.exists(people.TENANT, ["swiss"]))
    clickhouse, waits_ms = connect(clickhouse_of(settings)), []
    for number in range(plan.pick(CHANGES, 10)):
        user = people.user_id(number)
        value = {"tenant": people.TENANT, "user_id": user, "country": "CH"}
        at = {"updated_at": datetime.now(UTC).isoformat()}
        record = Record(USERS, registry_key(people.TENANT, user), json.dumps(value | at).encode())
        began_s, expected = time.monotonic(), number + 1
        load(settings, [record])
        _wait(lambda e=expected: segments.count(people.TENANT, SHARDS, "swiss") == e)  # type: ignore[misc]
        waits_ms.append((time.monotonic() - began_s) * 1_000)
        if not number:  # the process connects to ClickHouse at its first commit
            _wait(lambda: clickhouse.query("SELECT count() FROM users").first_row[0] > 0)
    clickhouse.close()
    return Result(
        "segment_change",
        middle(waits_ms[1:]),  # the first one warms up
        "ms",
        target=1_000,
        at_most=True,
        detail={"changes": len(waits_ms) - 1, "slowest_ms": round(max(waits_ms[1:]))},
    )


def _upload(stack: Stack, client: RedisClient, plan: Plan) -> Result:
    users, segments = plan.pick(1_000_000, 50_000), RedisSegments(client)
    before, began_s = _used(client), time.monotonic()
    kafka = settings_of(stack).kafka.client_options()
    with ListUpload(kafka, tenant=people.TENANT, segment="list", upload="1-a") as upload:
        upload.put(map(people.user_id, range(users)), "replace")
        upload.finish("replace", {})
    sent_s = time.monotonic() - began_s
    _wait(lambda: "list" in segments.exists(people.TENANT, ["list"]))
    took_s = time.monotonic() - began_s
    found = segments.count(people.TENANT, SHARDS, "list")
    if found != users:
        raise BenchError(f"{found} members instead of {users}")
    return Result(
        "segment_upload",
        round(took_s, 1),
        "s",
        detail={
            "members": users,
            "members_per_s": round(users / took_s),
            "sent_s": round(sent_s, 1),
            "redis_mb_per_million_members": round((_used(client) - before) / _MB * 1e6 / users),
        },
    )


def _used(client: RedisClient) -> int:
    return int(client.run("INFO", "memory")["used_memory"])


def _wait(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise BenchError(f"the registry did not follow within {TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)
