"""Dead letters on a broker: listed, shown, replayed and dropped, each once."""

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from flow_harness import Runner, Stores

from api.cli import run
from flows import compose_deliver
from flows.clock import wall_ms
from flows.dead_letters import DeadLetters, FencedError, Resolution, Resolver, _portions
from operators.dead_letters import Filed, Wanted
from schemas import topics
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, DeadLetter, Delivery, Outcome, Platform, Priority
from schemas.stream import Record, Source

BUSY = Answer(Status.RETRY, Reason.THROTTLED, 429, "QUOTA_EXCEEDED")
SENT = Answer(Status.SENT, Reason.ACCEPTED, 200)
LETTERS, QUEUE = topics.DEAD_DELIVERIES[Platform.FCM], topics.DELIVERIES["fcm", "high"]
pack = msgspec.msgpack.Encoder().encode


class OneAnswerSink:
    """Gives the same answer to all, and counts what reached it."""

    platform = Platform.FCM

    def __init__(self) -> None:
        self.answer = BUSY
        self.sent: Counter[str] = Counter()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, delivery: Delivery) -> Answer:
        self.sent[delivery.delivery_id] += 1
        return self.answer


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> OneAnswerSink:
    """Give the sink that deliver will use."""
    made = OneAnswerSink()
    monkeypatch.setattr(compose_deliver, "make_sink", lambda *_given: made)
    return made


def delivery(number: int = 1, **changes: Any) -> Delivery:
    now_ms = wall_ms()
    return Delivery(**{
        "delivery_id": f"d{number}", "message_id": f"m{number}", "tenant": "acme", "app": "a",
        "user_id": f"u{number}", "device_id": "d", "platform": Platform.FCM,
        "priority": Priority.HIGH, "category": "transactional", "type": "t", "token": "secret-t",
        "content": b"\x90", "accepted_at_ms": now_ms, "created_at_ms": now_ms,
        "registered_at_ms": 1, "attempt": 6,
    } | changes)  # fmt: skip


def letter(number: int = 1, **changes: Any) -> DeadLetter:
    lines = (f"{wall_ms()} attempt 6: retry throttled 429",)
    raw = pack(delivery(number, **changes))
    return DeadLetter(QUEUE, 0, number, "throttled", raw, wall_ms(), lines, b"acme/u")


def put(stores: Stores, *letters: DeadLetter, topic: str = LETTERS) -> None:
    stores.put([Record(topic, None, pack(one)) for one in letters])


class Dlq:
    """The command, run in this process against the test's broker."""

    def __init__(self, stores: Stores, capsys: pytest.CaptureFixture[str]) -> None:
        self._bootstrap, self._capsys = stores.bootstrap, capsys
        self.error = ""

    def __call__(self, *words: str, code: int = 0) -> list[Any]:
        """Run it with --json; give its lines. code: the exit code that it must have."""
        self._capsys.readouterr()  # what flows have logged
        found = run(["dlq", *words, "--json", "--bootstrap", self._bootstrap])
        said = self._capsys.readouterr()
        self.error = said.err
        assert found == code, said
        return [json.loads(line) for line in said.out.splitlines()]

    def text(self, *words: str) -> str:
        """Run it as people do; give what it prints."""
        assert run(["dlq", *words, "--bootstrap", self._bootstrap]) == 0
        return self._capsys.readouterr().out


@pytest.fixture
def dlq(stores: Stores, capsys: pytest.CaptureFixture[str]) -> Dlq:
    """Give the command."""
    return Dlq(stores, capsys)


def test_an_exhausted_delivery_is_listed_replayed_and_sent_once(
    stores: Stores, sink: OneAnswerSink, dlq: Dlq
) -> None:
    """A dry run changes nothing, and a second replay does nothing."""
    stores.put([Record(QUEUE, b"acme/u1", pack(delivery(history=("5 attempt 5: x",))))])
    flow = Runner(stores.settings(), "deliver", Platform.FCM)
    flow.run()
    (listed,) = dlq("ls", "--stage", "fcm", "--tenant", "acme", "--reason", "throttled")
    assert (listed["id"], listed["error"]) == ("dead.fcm/0/0", "throttled: QUOTA_EXCEEDED")
    (shown,) = dlq("show", listed["id"])
    assert [line.split()[1:3] for line in shown["history"]] == [
        ["attempt", "5:"],
        ["attempt", "6:"],
    ]
    assert "secret" not in json.dumps(shown)

    (would,) = dlq("replay", listed["id"], "--dry-run")
    assert (would["action"], would["to"]) == ("would be replayed", QUEUE)
    assert len(stores.read(QUEUE)) == 1
    assert stores.read(topics.DEAD_RESOLVED) == []

    (done,) = dlq("replay", listed["id"])
    assert (done["action"], done["to"]) == ("replayed", QUEUE)
    sink.answer = SENT
    flow.run()
    (again,) = dlq("replay", listed["id"])
    assert again["action"] == "left alone"
    assert again["why"].startswith("it was replayed by ")
    assert len(stores.read(QUEUE)) == 2
    assert sink.sent == {"d1": 2}
    outcomes = stores.decoded(topics.OUTCOMES, Outcome)
    found = {(o.outcome_id, o.message_id, o.attempt, o.status) for o in outcomes}
    assert found == {("d1.6.failed", "m1", 6, Status.FAILED), ("d1.7.sent", "m1", 7, Status.SENT)}
    assert dlq("ls") == []
    assert "replayed by" in dlq("ls", "--all")[0]["resolved"]


def test_many_are_replayed_only_when_told_so(stores: Stores, dlq: Dlq) -> None:
    """Without a terminal to ask at, --yes says it; what has expired is refused and stays."""
    put(stores, letter(1), letter(2, expires_at_ms=5), letter(3))
    dlq("replay", "--stage", "fcm", code=1)
    assert "2 letters: look with --dry-run, then replay them with --yes" in dlq.error
    assert stores.read(topics.DEAD_RESOLVED) == []
    said = {one["id"]: one for one in dlq("replay", "--stage", "fcm", "--yes", code=1)}
    assert [one["action"] for one in said.values()] == ["refused", "replayed", "replayed"]
    assert "--ttl gives it a new time to live" in said["dead.fcm/0/1"]["why"]
    assert [one["id"] for one in dlq("ls")] == ["dead.fcm/0/1"]
    dlq("replay", "--stage", "fcm", "--ttl", "1h")
    back = {one.delivery_id: one for one in stores.decoded(QUEUE, Delivery)}
    assert {(one.attempt, one.attempts_before) for one in back.values()} == {(7, 6)}
    assert back["d2"].expires_at_ms > wall_ms()
    assert "no dead letters" in dlq.text("ls")


def test_everything_needs_to_be_said(stores: Stores, dlq: Dlq) -> None:
    """Neither command works without a filter; an unknown letter is an error."""
    put(stores, letter(1))
    for verb in ("replay", "drop"):
        dlq(verb, "--yes", code=1)
        assert "say which letters" in dlq.error
    (said,) = dlq("drop", "dead.fcm/0/7", code=1)
    assert said["why"].startswith("there is no such letter")
    dlq("show", "dead.fcm/0/7", code=1)
    assert len(dlq("ls")) == 1


def test_a_dropped_letter_is_neither_listed_nor_replayed(stores: Stores, dlq: Dlq) -> None:
    """The limit takes the oldest."""
    put(stores, letter(1), letter(2), letter(3))
    assert "2 letters; there are more" in dlq.text("ls", "--limit", "2")
    (dropped,) = dlq("drop", "--stage", "fcm", "--limit", "1", "--yes")
    assert (dropped["id"], dropped["action"]) == ("dead.fcm/0/0", "dropped")
    assert [one["id"] for one in dlq("ls")] == ["dead.fcm/0/1", "dead.fcm/0/2"]
    assert dlq("replay", "dead.fcm/0/0")[0]["action"] == "left alone"
    assert stores.read(QUEUE) == []


def test_filters_by_time_and_what_is_no_letter(stores: Stores, dlq: Dlq) -> None:
    """An old one and a record that somebody else put there."""
    old = msgspec.structs.replace(letter(1), at_ms=wall_ms() - 7_200_000)
    put(stores, old, letter(2))
    stores.put([Record(LETTERS, None, b"?")])
    assert [one["id"][-1] for one in dlq("ls", "--since", "1h")] == ["1", "2"]
    assert [one["id"][-1] for one in dlq("ls", "--until", "1h")] == ["0"]
    assert [one["id"][-1] for one in dlq("ls", "--since", "2020-01-01T00:00:00Z")] == [
        "0",
        "1",
        "2",
    ]
    (said,) = dlq("replay", "dead.fcm/0/2", code=1)
    assert said["action"] == "refused"


def test_a_transaction_takes_a_bounded_number_of_letters() -> None:
    """And of bytes; each letter is in one of them."""
    one = Resolution(Filed(Source(LETTERS, 0, 0), letter()), None)
    assert [len(part) for part in _portions([one] * 1_001)] == [500, 500, 1]
    large = msgspec.structs.replace(letter(), raw=bytes(20_000_000))
    big = Resolution(Filed(Source(LETTERS, 0, 0), large), None)
    assert [len(part) for part in _portions([big] * 3)] == [2, 1]
    assert list(_portions([])) == []


def resolver(stores: Stores) -> Resolver:
    return Resolver(stores.kafka, transactional_id="t.dlq", by="ann@ops", wall_ms=wall_ms)


def test_a_crash_leaves_neither_the_record_nor_the_mark(stores: Stores) -> None:
    """And the next replay finds the letter as it was; the dead one can do no more."""
    put(stores, letter(1))
    letters = DeadLetters(stores.kafka)
    (one,) = letters.letters(Wanted())
    to_do = [Resolution(one, Record(QUEUE, b"k", b"v"))]
    crashed, again = resolver(stores), resolver(stores)
    crashed.open()
    crashed._write(to_do)
    crashed._open_producer().flush(10)  # on the broker, in a transaction that never ends
    assert letters.marks() == {}
    again.open()
    assert stores.read(QUEUE) == []
    assert list(again.resolve(to_do)) == [to_do]
    assert stores.read(QUEUE) == [b"v"]
    assert [mark.action for mark in letters.marks().values()] == ["replayed"]
    assert list(again.resolve(to_do)) == []
    assert stores.read(QUEUE) == [b"v"]


def test_whoever_comes_later_knows_what_the_earlier_did(stores: Stores) -> None:
    """The marks are read after the earlier one can add none."""
    put(stores, letter(1), letter(2))
    first, second = DeadLetters(stores.kafka).letters(Wanted())
    earlier, later = resolver(stores), resolver(stores)
    earlier.open()
    assert list(earlier.resolve([Resolution(first, None)])) == [[Resolution(first, None)]]
    later.open()
    both = [Resolution(first, None), Resolution(second, None)]
    with pytest.raises(FencedError):
        list(earlier.resolve(both))
    assert list(later.resolve(both)) == [[Resolution(second, None)]]


def test_an_event_is_replayed_into_route_once(stores: Stores, dlq: Dlq) -> None:
    """It is not taken for a duplicate of itself, and a copy of it is."""
    event = {
        "id": "e1", "tenant": "acme", "type": "t", "category": "transactional",
        "audience": {"users": ["nobody"]}, "content": {"title": "x"},
    }  # fmt: skip
    raw = json.dumps(event).encode()
    source = topics.EVENTS[Priority.HIGH]
    copies = [DeadLetter(source, 0, n, "id: odd", raw, wall_ms(), key=b"e1") for n in range(2)]
    put(stores, *copies, topic=topics.DEAD_ROUTE)
    dlq("replay", "--stage", "route", "--yes")
    Runner(stores.settings(), "route").run()
    found = [(o.message_id, o.reason) for o in stores.decoded(topics.OUTCOMES, Outcome)]
    assert sorted(found) == [("e1", Reason.DUPLICATE_EVENT), ("e1", Reason.UNKNOWN_USER)]


def test_a_registration_that_was_overtaken_is_refused(stores: Stores, dlq: Dlq) -> None:
    """It would become the last word of its key again."""
    said = {"tenant": "acme", "user_id": "u1", "updated_at": "2026-01-01T00:00:00Z"}
    raw, key = json.dumps(said).encode(), b"acme/u1"
    stores.put([Record(topics.USERS, key, b"bad", 0), Record(topics.USERS, key, raw, 0)])
    stores.put([Record(topics.USERS, b"acme/u2", b"bad", 0)])
    bad = [
        DeadLetter(topics.USERS, 0, 0, "bad", raw, wall_ms(), key=key),
        DeadLetter(topics.USERS, 0, 2, "bad", raw, wall_ms(), key=b"acme/u2"),
    ]
    put(stores, *bad, topic=topics.DEAD_REGISTRY)
    refused, done = dlq("replay", "--stage", "registry", "--yes", code=1)
    assert (refused["id"], refused["action"]) == ("dead.registry/0/0", "refused")
    assert (done["id"], done["action"]) == ("dead.registry/0/1", "replayed")
