"""Dead tokens on their way from an answer to the profile, and when they are not believed."""

import asyncio
import json

import msgspec
import pytest
import yaml
from flow_harness import TENANT, Runner, Stores

from api.cli import run
from flows import compose_deliver
from flows.clock import wall_ms
from schemas import metrics
from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, Delivery, Outcome, Platform, Priority, TokenDeath
from schemas.registry import registry_key
from schemas.stream import Record
from schemas.topics import DELIVERIES, DEVICES, OUTCOMES, TOKEN_DEATHS
from state.profiles import RedisProfiles
from state.redis_client import RedisClient

FIRST, DIED, AGAIN = (f"2026-01-01T00:00:0{second}Z" for second in (1, 2, 3))
FIRST_MS, DIED_MS, _AGAIN_MS = (1_767_225_600_000 + 1_000 * second for second in (1, 2, 3))
GONE = Answer(
    Status.FAILED, Reason.TOKEN_UNREGISTERED, 410, "Unregistered",
    token_action=TokenAction.DELETE, token_invalid_at_ms=DIED_MS,
)  # fmt: skip
OTHER_ENVIRONMENT = Answer(
    Status.FAILED, Reason.TOKEN_INVALID, 400, "BadDeviceToken", token_action=TokenAction.SUSPECT
)


class Apns:
    """Answers every delivery with what `answers` says for its user, or that its token is dead."""

    platform = Platform.APNS

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, delivery: Delivery) -> Answer:
        await asyncio.sleep(0)
        return self.answers.get(delivery.user_id, GONE)


@pytest.fixture
def apns(no_clickhouse: None, monkeypatch: pytest.MonkeyPatch) -> Apns:
    """Give what stands for Apple."""
    del no_clickhouse
    made = Apns()
    monkeypatch.setattr(compose_deliver, "make_sink", lambda *_given: made)
    return made


def registration(user: str, token: str, at: str) -> Record:
    value = {
        "tenant": "acme", "user_id": user, "device_id": "phone", "platform": "apns", "app": "ios",
        "token": token, "registered_at": at,
    }  # fmt: skip
    return Record(DEVICES, registry_key("acme", user, "phone"), json.dumps(value).encode())


def push(user: str, token: str) -> Record:
    """Make a delivery to the device as it first registered."""
    now = wall_ms()
    one = Delivery(
        f"d-{user}", f"m-{user}", "acme", "ios", user, "phone", Platform.APNS, Priority.HIGH,
        "transactional", "t", token, b"", now, now, FIRST_MS,
    )  # fmt: skip
    return Record(DELIVERIES["apns", "high"], user.encode(), msgspec.msgpack.encode(one))


def test_only_a_token_that_is_dead_since_its_registration_is_removed(
    stores: Stores, apns: Apns
) -> None:
    """By Apple's timestamp; not on a doubt, nor when the device registered again meanwhile."""
    tokens = {user: f"{n:064x}" for n, user in enumerate(["dead", "doubt", "same", "other"])}
    apns.answers["doubt"] = OTHER_ENVIRONMENT
    stores.put([registration(user, token, FIRST) for user, token in tokens.items()])
    settings = stores.settings()
    Runner(settings, "registry").run()
    # The pushes are on their way when two devices register again.
    stores.put([push(user, token) for user, token in tokens.items()])
    stores.put([registration("same", tokens["same"], AGAIN)])
    stores.put([registration("other", "ab" * 32, AGAIN)])
    Runner(settings, "registry").run()
    Runner(settings, "deliver", Platform.APNS).run()
    deaths = stores.decoded(TOKEN_DEATHS, TokenDeath)
    assert sorted(death.user_id for death in deaths) == ["dead", "other", "same"]
    assert {(death.invalid_at_ms, death.app) for death in deaths} == {(DIED_MS, "ios")}
    Runner(settings, "registry").run()
    found = RedisProfiles(RedisClient(stores.redis_url)).get_many("acme", 4, list(tokens))
    left = {p.user_id: [d.token for d in p.devices] for p in found if p is not None}
    assert left == {
        "dead": [], "doubt": [tokens["doubt"]], "same": [tokens["same"]], "other": ["ab" * 32],
    }  # fmt: skip


def test_a_burst_of_dead_tokens_freezes_pruning_until_it_is_resumed(
    stores: Stores,
    apns: Apns,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fewer than min_deaths leave, sends go on, operators are told; a command ends it."""
    tenant = {**TENANT, "hygiene": {"min_deaths": 20, "max_share": 0.5}}
    (stores._tenants / "acme.yaml").write_text(yaml.safe_dump(tenant))
    monkeypatch.setenv("CLARION_REDIS__URL", stores.redis_url)
    settings = stores.settings()
    gauge = metrics.PRUNING_FROZEN.labels("acme", "ios", "apns")
    withheld = metrics.DEATHS_WITHHELD.labels("acme", "ios", "apns")
    withheld_before = withheld._value.get()
    stores.put([push(f"u{n}", f"{n:064x}") for n in range(60)])
    Runner(settings, "deliver", Platform.APNS).run()
    assert len(stores.decoded(OUTCOMES, Outcome)) == 60
    deaths = len(stores.decoded(TOKEN_DEATHS, TokenDeath))
    assert deaths < 20
    assert withheld._value.get() - withheld_before == 60 - deaths
    assert gauge._value.get() == 1
    log = [line for line in capsys.readouterr().out.splitlines() if "pruning frozen" in line]
    assert len(log) == 1
    assert "error" in log[0]

    assert run(["tokens", "frozen", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["tenant"], told["app"], told["platform"]) == ("acme", "ios", "apns")
    assert told["dead"] >= 20
    assert run(["tokens", "frozen"]) == 0
    assert "the last token_unregistered" in capsys.readouterr().out

    # A process that starts anew knows of it.
    gauge.set(0)
    stores.put([push("late", "ee" * 32)])
    Runner(settings, "deliver", Platform.APNS).run(until=lambda: gauge._value.get() == 1)
    assert len(stores.decoded(TOKEN_DEATHS, TokenDeath)) == deaths

    assert run(["tokens", "resume", "acme", "ios", "--platform", "fcm"]) == 1
    assert run(["tokens", "resume", "acme", "ios"]) == 0
    assert run(["tokens", "frozen"]) == 0
    assert capsys.readouterr().out.endswith("none\n")
    stores.put([push(f"v{n}", f"{n:063x}f") for n in range(5)])
    apns.answers["v4"] = OTHER_ENVIRONMENT
    Runner(settings, "deliver", Platform.APNS).run()
    assert len(stores.decoded(TOKEN_DEATHS, TokenDeath)) == deaths + 4
