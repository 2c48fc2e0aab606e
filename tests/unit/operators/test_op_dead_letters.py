"""dead_letters: which are meant, what puts one back, and what may be shown of it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from operators.backoff import first_attempt_at_ms
from operators.dead_letter_view import SHOWN_CHARS, content_of, summary, whole
from operators.dead_letters import STAGES, Filed, RefusedError, Replay, Wanted, is_cut, tenant_of
from operators.decode import Decode
from operators.encode import MAX_RAW_BYTES, Encode
from operators.settle import Settle, Settled
from schemas import topics
from schemas.outcomes import Reason, Status
from schemas.pipeline import (
    Answer,
    Chunk,
    Content,
    DeadLetter,
    Delivery,
    Outcome,
    Platform,
    Timer,
    TokenDeath,
)
from schemas.segment_lists import ListHead
from schemas.stream import Record, Source
from tests.unit.operators.builders import NOW_MS, delivery, event, messages, notice, only, tenant

EXAMPLES = Path(__file__).parents[3] / "schemas/v1/examples"
BUSY = Answer(Status.RETRY, Reason.THROTTLED, 429, "QUOTA_EXCEEDED")
ODD = Answer(Status.REJECTED, Reason.UNLISTED, 418, "teapot")
SOURCE = Source("deliveries.fcm.normal", 2, 44)
pack = msgspec.msgpack.Encoder().encode
DEATH = pack(TokenDeath("acme", "u", "d", Platform.FCM, "secret", 5, Reason.FEEDBACK))


def on_slot(timer: Timer) -> Record:
    return Record("timers", timer.key, pack(timer), timer.due_at_ms // 1_000 % 8)


def replay(letter: DeadLetter, ttl_s: float | None = None, now_ms: int = NOW_MS) -> Record:
    return Replay(now_ms=now_ms, by="ann@ops", timer=on_slot, ttl_s=ttl_s)(letter)


def refusal(letter: DeadLetter, **more: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        replay(letter, **more)
    return str(caught.value)


def letter(topic: str, raw: bytes, **changes: Any) -> DeadLetter:
    return DeadLetter(**{
        "topic": topic, "partition": 3, "offset": 17, "error": "bad", "raw": raw, "at_ms": NOW_MS
    } | changes)  # fmt: skip


def given_up(answer: Answer = BUSY, **changes: Any) -> DeadLetter:
    """Make the letter that settle makes."""
    one = Settled(delivery(**changes), answer, SOURCE, NOW_MS)
    (found,) = only(DeadLetter, Settle({"acme": tenant()})([one], NOW_MS)[1])
    return found


def again(letter: DeadLetter, **more: Any) -> Delivery:
    return msgspec.msgpack.decode(replay(letter, **more).value or b"", type=Delivery)


def example(kind: str, **changes: Any) -> bytes:
    document = json.loads(min((EXAMPLES / kind).glob("*.json")).read_text("utf-8"))
    return json.dumps({**document, **changes}).encode()


# -- replaying deliveries


def test_a_replayed_delivery_is_the_same_message_at_its_next_attempt() -> None:
    """Same ids, topic and key; all history, then who replayed it; a latency that means nothing."""
    dead = given_up(attempt=6, history=("one",), holds=2, expires_at_ms=NOW_MS + 9_999)
    record = replay(dead)
    assert (record.topic, record.key) == ("deliveries.fcm.normal", b"acme/u1")
    assert again(dead) == delivery(
        attempt=7,
        attempts_before=6,
        held=True,
        expires_at_ms=NOW_MS + 9_999,
        history=(
            "one",
            f"{NOW_MS} attempt 6: retry throttled 429 QUOTA_EXCEEDED",
            f"{NOW_MS} replayed by ann@ops",
        ),
    )


def test_the_retry_policy_begins_anew_after_a_replay() -> None:
    """Six more attempts and then a second letter, with both lives in its history."""
    on_way, ends = again(given_up(attempt=6)), []
    step, now_ms = Settle({"acme": tenant()}), NOW_MS + 86_400_000
    assert first_attempt_at_ms(on_way, now_ms) == now_ms
    while not ends:
        _, (out,) = step([Settled(on_way, BUSY, SOURCE, now_ms)], now_ms)
        ends = only(DeadLetter, [out])
        if type(out) is Timer:
            on_way = msgspec.msgpack.decode(out.value, type=Delivery)
    assert on_way.attempt == 12
    assert len(ends[0].history) == 1 + 1 + 6
    assert again(ends[0]).attempts_before == 12


def test_an_unlisted_answer_is_replayed_as_the_second_attempt() -> None:
    """Its outcomes differ from those of the first."""
    assert (again(given_up(ODD)).attempt, again(given_up(ODD)).attempts_before) == (2, 1)


def test_what_has_expired_is_replayed_with_a_new_time_to_live_only() -> None:
    """The refusal says when it expired and what helps."""
    dead = given_up(attempt=6, expires_at_ms=NOW_MS)
    assert refusal(dead) == "it expired at 2026-02-02T02:40:00Z: --ttl gives it a new time to live"
    assert again(dead, ttl_s=60).expires_at_ms == NOW_MS + 60_000
    assert again(given_up(attempt=6), ttl_s=1.5).expires_at_ms == NOW_MS + 1_500


def test_a_delivery_that_was_never_tried_comes_back_as_it_is() -> None:
    """An older release could not read it: its attempt is still to be made."""
    found = again(letter("deliveries.fcm.normal", pack(delivery()), key=b"acme/u1"))
    assert (found.attempt, found.attempts_before) == (1, 0)
    assert found.history == (f"{NOW_MS} replayed by ann@ops",)


# -- replaying the rest


def test_an_event_goes_back_as_it_came() -> None:
    """Byte by byte under its key; without one, under its id."""
    raw = event()
    assert replay(letter("events.high", raw, key=b"k")) == Record("events.high", b"k", raw)
    assert replay(letter("events.high", raw)) == Record("events.high", b"m-1", raw)


def test_what_cannot_be_read_still_is_refused() -> None:
    """It would only come back; the error says what is wrong. An event needs its own id."""
    nameless = json.loads(event())
    del nameless["id"]
    raw = json.dumps(nameless).encode()
    assert refusal(letter("events.low", raw)).startswith("it still cannot be read: id: is missing")
    for topic in (
        "events.low",
        "chunks.low",
        "deliveries.apns.low",
        "devices",
        "users",
        "tokens.dead",
        "outcomes",
        "feedback",
        "timers",
    ):
        for bad in (b"", b"\xc1", b"{}", pack([1])):
            assert "still cannot be read" in refusal(letter(topic, bad)), topic


def test_a_replayed_event_is_routed_once_under_its_own_identity() -> None:
    """Its dedup key is the event's, and never before seen, as it was never read."""
    record = replay(letter("events.normal", event(idempotency_key="k-1")))
    (work,), outs = Decode({"acme": tenant()})(messages(record.topic, record.value), NOW_MS)
    assert (work.draft.notice.message_id, work.dedup_key, outs) == ("m-1", "k-1", [])


def test_an_expired_event_or_chunk_is_refused() -> None:
    """A new time to live is its producer's to give."""
    said = "it expired at 2026-02-02T02:40:00Z: its producer must send it anew"
    old = event(expires_at="2026-02-02T02:40:00Z")
    assert refusal(letter("events.low", old), ttl_s=9) == said
    chunk = pack(Chunk(pack(notice(expires_at_ms=NOW_MS)), ("u1",)))
    assert refusal(letter("chunks.low", chunk), ttl_s=9) == said


def test_a_chunk_goes_back_under_its_key() -> None:
    """Its tenant is configured again."""
    chunk = pack(Chunk(pack(notice()), ("u1",)))
    record = replay(letter("chunks.low", chunk, key=b"m-1:u1"))
    assert record == Record("chunks.low", b"m-1:u1", chunk)


@pytest.mark.parametrize(
    ("topic", "raw", "key"),
    [
        ("devices", example("device_registration"), b"acme/u-1/d-1"),
        ("users", example("user_profile"), b"acme/u-1"),
        ("preferences", example("user_preferences"), b"acme/u-1"),
        ("tokens.dead", DEATH, b"acme/u/d"),
    ],
)
def test_a_registration_goes_back_under_its_key(topic: str, raw: bytes, key: bytes) -> None:
    """One is made of what it says when the letter has none: compacted topics want one."""
    named = {} if topic == "tokens.dead" else json.loads(raw)
    parts = [named[name] for name in ("tenant", "user_id", "device_id") if name in named]
    made = "/".join(parts).encode() or key
    assert replay(letter(topic, raw, key=b"own")) == Record(topic, b"own", raw)
    assert replay(letter(topic, raw)) == Record(topic, made, raw)


def test_definitions_lists_and_user_events_go_back_under_their_keys() -> None:
    """These have no user in their key, or none at all."""
    definition = {
        "kind": "segment", "tenant": "acme", "name": "s", "body": {},
        "updated_at": "2026-02-02T00:00:00Z",
    }  # fmt: skip
    for topic, key, raw in (
        (topics.DEFINITIONS, b"segment/acme/s", json.dumps(definition).encode()),
        (topics.SEGMENTS, b"acme/vip", pack(ListHead("acme", "vip", "1-a", 2))),
        (topics.USER_EVENTS, b"u", example("user_event")),
        (topics.AUDIT, b"acme", example("audit_entry")),
    ):
        assert replay(letter(topic, raw, key=key)) == Record(topic, key, raw)
    keyless = replay(letter(topics.USER_EVENTS, example("user_event")))
    assert keyless.key == b"acme/u-1041"
    assert replay(letter(topics.AUDIT, example("audit_entry"))).key is None


def test_an_empty_registration_is_no_tombstone() -> None:
    """Else a replay would remove somebody."""
    assert "empty" in refusal(letter("devices", b"", key=b"acme/u1/d1"))


def test_an_outcome_and_feedback_go_back() -> None:
    """Under the key that the letter has, or none."""
    outcome = pack(Outcome("id", NOW_MS, "acme", "m-1", Status.SENT, Reason.ACCEPTED))
    assert replay(letter("outcomes", outcome)) == Record("outcomes", None, outcome)
    feedback = example("feedback")
    assert replay(letter("feedback", feedback, key=b"k")) == Record("feedback", b"k", feedback)


@pytest.mark.parametrize(("due_ms", "slot"), [(NOW_MS + 3_000, 3), (NOW_MS - 9_000_000, 0)])
def test_a_timer_goes_to_its_slot_or_to_the_open_one(due_ms: int, slot: int) -> None:
    """A slot whose time has passed would be read only a lap later."""
    record = replay(letter("timers", pack(Timer("t", due_ms, "chunks.low", b"k", b"v"))))
    found = msgspec.msgpack.decode(record.value or b"", type=Timer)
    assert (record.topic, record.partition - NOW_MS // 1_000 % 8) == ("timers", slot)
    assert found == Timer("t", max(due_ms, NOW_MS), "chunks.low", b"k", b"v")


def test_a_cut_letter_cannot_be_replayed() -> None:
    """Its end is missing; the refusal says so."""
    (record,) = Encode(dead_letters="dead.route", timer=on_slot)(
        [letter("events.low", b"x" * 1_000_000)]
    )
    cut = msgspec.msgpack.decode(record.value or b"", type=DeadLetter)
    assert is_cut(cut)
    assert refusal(cut) == f"only the first {MAX_RAW_BYTES} bytes of the record were kept"
    assert not is_cut(letter("events.low", b"x" * MAX_RAW_BYTES))


def test_what_came_from_elsewhere_is_refused() -> None:
    """Such as a record on a dead-letter topic that is no letter."""
    assert "dead.fcm" in refusal(letter("dead.fcm", b"?"))


# -- which are meant


def filed(topic: str, offset: int, of: DeadLetter) -> Filed:
    return Filed(Source(topic, 0, offset), of)


ONE = filed("dead.fcm", 4, given_up(attempt=6))


@pytest.mark.parametrize(
    ("wanted", "means"),
    [
        (Wanted(), True),
        (Wanted(ids=frozenset({Source("dead.fcm", 0, 4)})), True),
        (Wanted(ids=frozenset({Source("dead.fcm", 0, 5)})), False),
        (Wanted(tenant="acme"), True),
        (Wanted(tenant="acm"), False),
        (Wanted(text="Quota"), True),
        (Wanted(text="teapot"), False),
        (Wanted(since_ms=NOW_MS), True),
        (Wanted(since_ms=NOW_MS + 1), False),
        (Wanted(until_ms=NOW_MS), False),
        (Wanted(until_ms=NOW_MS + 1), True),
        (Wanted(tenant="acme", text="teapot"), False),
    ],
)
def test_filters_must_all_hold(wanted: Wanted, means: object) -> None:
    """The text whatever its case, since included and until not."""
    assert wanted.means(ONE) is means


def test_only_the_topics_that_may_hold_such_letters_are_read() -> None:
    """By stages, and by the ids' own topics."""
    assert Wanted().topics() == list(STAGES.values())
    assert Wanted(stages=("fcm", "route")).topics() == ["dead.route", "dead.fcm"]
    ids = frozenset({Source("dead.fcm", 0, 4)})
    assert Wanted(ids=ids).topics() == ["dead.fcm"]
    assert Wanted(ids=ids, stages=("route",)).topics() == []


def test_every_topic_of_dead_letters_has_a_stage() -> None:
    """None is out of reach."""
    named = {topics.DEAD_ROUTE, topics.DEAD_REGISTRY, topics.DEAD_OUTCOMES}
    named |= {topics.DEAD_TIMERS, topics.DEAD_CAMPAIGNS}
    assert {*STAGES.values()} == named | {*topics.DEAD_DELIVERIES.values()}


def test_the_tenant_is_found_in_whatever_it_was() -> None:
    """And is empty where nobody can tell."""
    chunk = pack(Chunk(pack(notice()), ("u1",)))
    timer = pack(Timer("t", 1, "chunks.low", b"", chunk))
    assert tenant_of("events.low", event(audience={})) == "acme"
    assert tenant_of("timers", timer) == "acme"
    outcome = pack(Outcome("id", 1, "acme", "m", Status.SENT, Reason.ACCEPTED))
    assert tenant_of("outcomes", outcome) == "acme"
    for raw in (b"", b"\xff", b"[1]", b'{"tenant": 5}'):
        assert tenant_of("events.low", raw) == ""


# -- what is shown


def test_a_list_says_what_and_where_and_why() -> None:
    """In one line's worth."""
    assert summary(ONE) == {
        "id": "dead.fcm/0/4",
        "at": "2026-02-02T02:40:00Z",
        "tenant": "acme",
        "from": "deliveries.fcm.normal/2/44",
        "error": "throttled: QUOTA_EXCEEDED",
        "lines": 1,
    }


def test_a_letter_is_shown_whole_with_its_token_masked() -> None:
    """History with readable times, and the content as the user would see it."""
    content = pack(Content("Hello", "World"))
    one = given_up(attempt=6, content=content, token="secret-t", p256dh="secret-p", auth="secret-a")
    shown = whole(filed("dead.fcm", 4, one))
    text = json.dumps(shown)
    assert "secret" not in text
    assert shown["content"]["token"].startswith("~")
    assert shown["content"]["content"]["title"] == "Hello"
    line = "2026-02-02T02:40:00Z attempt 6: retry throttled 429 QUOTA_EXCEEDED"
    assert shown["history"] == [line]
    assert (shown["key"], shown["cut"], shown["bytes"]) == ("acme/u1", False, len(one.raw))


@pytest.mark.parametrize(
    ("topic", "raw"),
    [
        ("devices", example("device_registration", token="secret-t" + "a" * 80)),
        ("devices", b'{"token": "secret-t'),
        (
            "tokens.dead",
            pack(TokenDeath("a", "u", "d", Platform.FCM, "secret", 5, Reason.FEEDBACK)),
        ),
        ("outcomes", pack(Outcome("i", 1, "a", "m", Status.SENT, Reason.ACCEPTED, token="secret"))),
        ("timers", pack(Timer("t", 1, "deliveries.fcm.low", b"", pack(delivery(token="secret"))))),
        ("deliveries.fcm.low", b"\xc1secret"),
    ],
)
def test_no_token_is_ever_shown(topic: str, raw: bytes) -> None:
    """Wherever it lies, also in bytes that cannot be read."""
    assert "secret" not in json.dumps(content_of(topic, raw))


def test_an_unreadable_event_is_shown_as_text() -> None:
    """As far as a screen goes: it holds no token."""
    assert content_of("events.low", b"no \xff event") == "no \ufffd event"
    assert len(content_of("events.low", b"x" * 9_000)) == SHOWN_CHARS


def test_a_chunk_is_shown_with_its_notice() -> None:
    """Some of its users, and how many there are."""
    users = tuple(f"u{n}" for n in range(50))
    shown = content_of("chunks.low", pack(Chunk(pack(notice()), users)))
    assert (shown["notice"]["message_id"], len(shown["users"]), shown["user_count"]) == (
        "m-1",
        20,
        50,
    )
