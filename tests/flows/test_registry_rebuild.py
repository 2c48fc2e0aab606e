"""registry rebuild: what Redis held comes back from Kafka, while the live flow goes on."""

import json
import random
import threading
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from flow_harness import Runner, Stores

from api.cli import run
from flows import rebuild
from flows.checkpoint import produce
from schemas.outcomes import Reason
from schemas.pipeline import DeadLetter, Platform, TokenDeath
from schemas.registry import registry_key
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DEAD_REGISTRY, DEVICES, PREFERENCES, TOKEN_DEATHS, USERS
from state.profiles import Profile
from state.redis_client import RedisClient

pytestmark = pytest.mark.usefixtures("no_clickhouse")
USER_COUNT = 60
DIED_MS = 1_767_225_602_500  # 2026-01-01T00:00:02.5Z
_profile = msgspec.msgpack.Decoder(Profile).decode
_encode = msgspec.msgpack.Encoder().encode


def held(redis: RedisClient) -> dict[str, Any]:
    """Give everything that Redis holds: not how often it was written, nor whom a token left."""
    found: dict[str, Any] = {}
    for raw in redis.run("KEYS", "*"):
        key = raw.decode("latin-1")
        if redis.run("TYPE", raw) == b"set":
            found[key] = sorted(redis.run("SMEMBERS", raw))
        elif ":p:" in key:
            stored = _profile(redis.run("GET", raw))
            kept_ms = stored.preferences_at_ms if stored.opted_out_all else 0
            found[key] = (
                sorted(map(msgspec.structs.astuple, stored.devices)),
                msgspec.structs.replace(stored, version=0, devices=(), preferences_at_ms=kept_ms),
            )
        else:
            found[key] = msgspec.msgpack.decode(redis.run("GET", raw))[:3]
    return found


def device(number: int, token: int, at_s: int, *, name: str = "phone") -> Record:
    user = f"u{number}"
    value = {
        "tenant": "acme", "user_id": user, "device_id": name, "platform": "apns", "app": "ios",
        "token": f"{token:064x}", "registered_at": f"2026-01-01T00:{at_s // 60:02}:{at_s % 60:02}Z",
    }  # fmt: skip
    return Record(DEVICES, registry_key("acme", user, name), json.dumps(value).encode())


def user(number: int, segments: list[str], at_s: int) -> Record:
    value = {
        "tenant": "acme", "user_id": f"u{number}", "segments": segments,
        "updated_at": f"2026-01-01T00:{at_s // 60:02}:{at_s % 60:02}Z",
    }  # fmt: skip
    return Record(USERS, registry_key("acme", f"u{number}"), json.dumps(value).encode())


def preferences(number: int, at_s: int) -> Record:
    value = {
        "tenant": "acme", "user_id": f"u{number}", "opt_out_all": True,
        "updated_at": f"2026-01-01T00:{at_s // 60:02}:{at_s % 60:02}Z",
    }  # fmt: skip
    return Record(PREFERENCES, registry_key("acme", f"u{number}"), json.dumps(value).encode())


def death(number: int, token: int) -> Record:
    one = TokenDeath(
        "acme", f"u{number}", "phone", Platform.APNS, f"{token:064x}", DIED_MS,
        Reason.TOKEN_UNREGISTERED, "ios",
    )  # fmt: skip
    return Record(TOKEN_DEATHS, registry_key("acme", f"u{number}", "phone"), _encode(one))


def tombstone(topic: str, *names: str) -> Record:
    return Record(topic, registry_key("acme", *names), None)


def history() -> list[list[Record]]:
    """Registrations, changes and ends, in portions; within one, the order does not matter."""
    users = range(USER_COUNT)
    return [
        [
            *(device(n, n, 1) for n in users),
            *(device(n, 1_000 + n, 1, name="tablet") for n in users if n % 3 == 0),
            *(user(n, ["buyers", f"s{n % 4}"], 1) for n in users),
            *(preferences(n, 1) for n in users if n % 5 == 0),
            Record(DEVICES, b"acme/u1/x", b"{}"),
        ],
        [
            *(device(n, 2_000 + n, 2) for n in users if n % 7 == 0),  # a new token
            *(device(n, n - 1, 2) for n in users if n % 10 == 4),  # the token of another user
            *(user(n, ["sellers"], 2) for n in users if n % 6 == 0),
            *(tombstone(DEVICES, f"u{n}", "tablet") for n in users if n % 9 == 0),
            *(tombstone(USERS, f"u{n}") for n in users if n % 10 == 1),
            *(tombstone(PREFERENCES, f"u{n}") for n in users if n % 25 == 0),
            *(death(n, n) for n in users if n % 10 == 8),
            *(death(n, n) for n in users if n % 7 == 0 and n % 10 != 8),  # replaced already
        ],
        [
            *(device(n, 3_000 + n, 3) for n in users if n % 20 == 1),  # of a user who is back
            *(device(n, n, 3) for n in users if n % 20 == 8),
        ],
    ]


def variables(settings: Settings) -> dict[str, str]:
    """Give what a command needs to reach the same stores."""
    return {
        "CLARION_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "CLARION_REDIS__URL": settings.redis.url,
        "CLARION_TENANTS_DIR": str(settings.tenants_dir),
    }


def test_profiles_segments_and_owners_come_back_whole(
    stores: Stores,
    settings: Settings,
    redis: RedisClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also when it was stopped half-way and run again; dead letters are not written again."""
    for portion in history():
        stores.put(portion)
        Runner(settings, "registry").run()
    before = held(redis)
    assert len([key for key in before if ":p:" in key]) > USER_COUNT // 2
    redis.run("FLUSHALL")
    stopped = rebuild.rebuild(settings, batch=40)
    assert next(stopped).done < next(stopped).total
    stopped.close()
    assert held(redis) != before
    records = sum(len(portion) for portion in history())
    last = [*rebuild.rebuild(settings)][-1]
    assert (last.phase, last.records, last.done, last.total) == ("done", *[records] * 3)
    assert last.unreadable == 1
    assert held(redis) == before
    for name, value in variables(settings).items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert run(["registry", "rebuild", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["is_done"], told["records"], told["unreadable"]) == (True, records, 1)
    assert held(redis) == before
    assert len(stores.decoded(DEAD_REGISTRY, DeadLetter)) == 1


def test_open_and_aborted_transactions_do_not_hold_it_up(
    stores: Stores, settings: Settings, redis: RedisClient
) -> None:
    """Deaths come in transactions: what is not committed counts not, and is not waited for."""
    stores.put([device(n, n, 1) for n in range(4)])
    for end in ("commit_transaction", "abort_transaction", ""):
        producer = Producer({**stores.kafka, "transactional.id": f"t-{end}"})
        producer.init_transactions(10)
        producer.begin_transaction()
        number = ("commit_transaction", "abort_transaction", "").index(end)
        produce(producer, [death(number, number)])
        producer.flush(10)
        if end:
            getattr(producer, end)(10)
    assert [*rebuild.rebuild(settings)][-1].phase == "done"
    left = {key[-2:] for key, value in held(redis).items() if ":p:" in key and value[0]}
    assert left == {"u1", "u2", "u3"}


def test_a_live_flow_beside_it_loses_nothing_and_nothing_old_comes_back(
    stores: Stores, settings: Settings, redis: RedisClient
) -> None:
    """Both start at the beginning, and more comes in; a rebuild afterwards changes nothing."""
    stores.put(history()[0])
    finished = threading.Event()
    failures: list[BaseException] = []

    def beside() -> None:
        try:
            chance = random.Random(7)  # noqa: S311 - any choice will do
            producer = Producer(stores.kafka)
            for number, _ in enumerate(rebuild.rebuild(settings, batch=10)):
                n = chance.randrange(USER_COUNT)
                records = [
                    device(n, 5_000 + number, 10 + number % 100),
                    tombstone(DEVICES, f"u{(n + 1) % USER_COUNT}", "phone"),
                    tombstone(USERS, f"u{(n + 2) % USER_COUNT}"),
                    user((n + 3) % USER_COUNT, ["buyers"], 10 + number % 100),
                ]
                produce(producer, records[: 1 + number % 4] if number < 60 else [])
                assert producer.flush(10) == 0
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=beside)
    thread.start()
    Runner(settings, "registry").run(until=finished.is_set)
    thread.join()
    assert failures == []
    left = held(redis)
    redis.run("FLUSHALL")
    assert [*rebuild.rebuild(settings)][-1].phase == "done"
    assert held(redis) == left
