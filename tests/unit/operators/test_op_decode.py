"""decode: records to work, and what is no event to dead letters."""

import json

import msgspec
import pytest

from operators.decode import DRAFTS_KEPT, EVERYONE, Decode
from operators.encode import MAX_RAW_BYTES, Encode
from operators.work import Decided, Work
from schemas.pipeline import Chunk, DeadLetter, Outcome, Platform, Priority, Texts
from schemas.stream import Record, Source
from schemas.tenant import Tenant
from tests.unit.operators.builders import (
    NOW_MS,
    FakeMessage,
    event,
    keyed,
    messages,
    notice,
    only,
    said,
    tenant,
)

encode = msgspec.msgpack.encode
DAY_MS = 86_400_000


def decode(*values: bytes | None, topic: str = "events.normal", at_ms: int = NOW_MS - 5) -> Decided:
    return Decode({"acme": tenant()})(messages(topic, *values, at_ms=at_ms), NOW_MS)


def one(raw: bytes, topic: str = "events.normal") -> Work:
    (work,), outs = decode(raw, topic=topic)
    assert outs == []
    return work


def test_a_good_event_becomes_work_for_its_users() -> None:
    """Users, texts and identities are the event's."""
    work = one(event(audience={"users": ["u1", "u2"]}, collapse_key="k", campaign_id="c"))
    said = work.draft.notice
    assert (work.users, work.devices, work.shard) == (("u1", "u2"), (), -1)
    assert (said.message_id, said.collapse_key, said.campaign_id) == ("m-1", "k", "c")
    assert said.texts == {"": Texts("Hello", "World")}
    assert work.source == Source("events.normal", 0, 0)


@pytest.mark.parametrize("priority", list(Priority))
def test_the_topic_gives_the_priority(priority: Priority) -> None:
    """Bulk cannot call itself critical."""
    work = one(event(priority="critical"), f"events.{priority}")
    assert work.draft.notice.priority is priority


def test_a_named_device_stays_beside_its_user() -> None:
    """Devices are parallel to users."""
    pairs = [{"user_id": "u1", "device_id": "a"}, {"user_id": "u2", "device_id": "b"}]
    work = one(event(audience={"devices": pairs}))
    assert (work.users, work.devices) == (("u1", "u2"), ("a", "b"))


def test_a_device_named_twice_counts_once() -> None:
    """Two chunks would send to it twice."""
    pair = {"user_id": "u1", "device_id": "a"}
    assert one(event(audience={"devices": [pair, pair]})).devices == ("a",)


@pytest.mark.parametrize(
    ("audience", "expression"),
    [
        ({"segment": "a & b"}, "a & b"),
        ({"everyone": True}, EVERYONE),
        ({"topic": "sports"}, "topic.sports"),
        ({"group": "tv"}, "group.tv"),
    ],
)
def test_a_segment_is_an_expression_and_no_user(audience: dict, expression: str) -> None:
    """Its users are found later, shard by shard."""
    work = one(event(audience=audience))
    assert (work.users, work.draft.notice.expression) == ((), expression)
    assert work.draft.notice.device_group == audience.get("group", "")


def test_locales_are_found_under_one_spelling() -> None:
    """pt_BR, which the contract allows, is pt-br inside."""
    work = one(event(content={"title": "Hi", "locales": {"pt_BR": {"title": "Oi"}}}))
    assert work.draft.notice.texts["pt-br"].title == "Oi"


def test_a_locale_without_an_image_takes_the_base_image() -> None:
    """Image and url are replaced only when given."""
    content = {"title": "Hi", "image": "https://x.example/i", "locales": {"de": {"title": "Ho"}}}
    assert one(event(content=content)).draft.notice.texts["de"].image == "https://x.example/i"


def test_overrides_are_kept_by_platform() -> None:
    """Only platforms that have any appear."""
    content = {"title": "Hi", "platforms": {"fcm": {"android": {"ttl": "3s"}}}}
    assert one(event(content=content)).draft.notice.overrides == {
        Platform.FCM: {"android": {"ttl": "3s"}}
    }


def test_the_ttl_counts_from_reading_without_a_business_clock() -> None:
    """Decode has no clock of its own."""
    assert one(event(ttl_s=60)).draft.notice.expires_at_ms == NOW_MS + 60_000


def test_the_ttl_counts_from_when_kafka_took_the_event() -> None:
    """An outage of ten minutes does not give a code of one minute a new life."""
    decoder = Decode({"acme": tenant()}, business_ms=lambda wall_ms: wall_ms)
    took_ms = NOW_MS - 600_000
    (work,), _ = decoder(messages("events.normal", event(ttl_s=60), at_ms=took_ms), NOW_MS)
    assert work.draft.notice.expires_at_ms == took_ms + 60_000


def test_a_producers_fast_clock_does_not_prolong_the_ttl() -> None:
    """A record from the future counts as taken now."""
    decoder = Decode({"acme": tenant()}, business_ms=lambda wall_ms: wall_ms)
    batch = messages("events.normal", event(ttl_s=60), at_ms=NOW_MS + DAY_MS)
    (work,), _ = decoder(batch, NOW_MS)
    assert work.draft.notice.expires_at_ms == NOW_MS + 60_000


def test_without_a_ttl_the_category_gives_one() -> None:
    """Three days for news."""
    assert one(event()).draft.notice.expires_at_ms == NOW_MS + 3 * DAY_MS


def test_a_scheduled_message_lives_from_its_time() -> None:
    """The TTL counts from send_at."""
    said = one(event(send_at="2026-03-01T00:00:00Z", ttl_s=10)).draft.notice
    assert said.expires_at_ms == said.send_at_ms + 10_000


def test_the_idempotency_key_goes_before_the_id() -> None:
    """It is what makes two events one."""
    assert one(event(idempotency_key="k-9")).dedup_key == "k-9"


def test_bad_bytes_become_a_dead_letter_with_coordinates() -> None:
    """Raw bytes, error and place are kept."""
    works, outs = decode(b"\x00 no event")
    (letter,) = only(DeadLetter, outs)
    assert works == []
    assert (letter.topic, letter.partition, letter.offset) == ("events.normal", 0, 0)
    assert (letter.raw, letter.at_ms) == (b"\x00 no event", NOW_MS)
    assert "not JSON" in letter.error


def test_a_dead_letter_keeps_the_key() -> None:
    """So that a replay lands where the record was."""
    message = keyed(messages("events.normal", b"?")[0], b"m-1")
    assert [one.key for one in only(DeadLetter, Decode({})([message], NOW_MS)[1])] == [b"m-1"]


def test_bad_bytes_leave_an_outcome() -> None:
    """Its coordinates stand in for the unknown id."""
    (outcome,) = only(Outcome, decode(b"{}")[1])
    assert (outcome.message_id, outcome.reason) == ("events.normal/0/0", "bad_event")


def test_one_bad_event_does_not_stop_the_others() -> None:
    """The rest of the batch goes on."""
    works, _ = decode(event(id="a"), b"?", None, event(id="b"))
    assert [w.draft.notice.message_id for w in works] == ["a", "b"]


@pytest.mark.parametrize("raw", [None, b"", b"null", b"[]", b"\xff\xfe", b'{"id":' * 1_000])
def test_no_bytes_are_an_error(raw: bytes | None) -> None:
    """Whatever comes becomes a letter and an outcome."""
    works, outs = decode(raw)
    assert works == []
    assert [type(out) for out in outs] == [DeadLetter, Outcome]


def test_a_huge_dead_letter_still_fits_into_a_record() -> None:
    """What is cut is said."""
    raw = b"x" * 1_000_000
    letters = only(DeadLetter, decode(raw)[1])
    (record,) = Encode(dead_letters="dead.route", timer=lambda _t: Record("", b"", b""))(letters)
    letter = msgspec.msgpack.decode(record.value or b"", type=DeadLetter)
    assert len(record.value or b"") < 1_000_000
    assert letter.raw == raw[:MAX_RAW_BYTES]
    assert letter.error.endswith("(cut from 1000000 bytes)")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"tenant": "other"}, "unknown_tenant"), ({"category": "other"}, "unknown_category")],
)
def test_what_is_not_configured_is_refused_with_its_name(change: dict, reason: str) -> None:
    """It is a well-formed event, so there is an outcome and no dead letter."""
    works, outs = decode(event(**change))
    (outcome,) = outs
    assert works == []
    assert (outcome.message_id, outcome.status, outcome.reason) == ("m-1", "rejected", reason)
    assert outcome.detail == "'other' is not configured"


def chunk(**changes: object) -> bytes:
    fields = {"notice": encode(notice()), "users": ("u1",), **changes}
    return encode(Chunk(**fields))


def test_a_chunk_decodes_to_work() -> None:
    """Users, devices, shard and held come back; it is not checked for duplicates again."""
    raw = chunk(devices=("d1",), held=True)
    work = one(raw, "chunks.low")
    assert (work.users, work.devices, work.shard, work.held) == (("u1",), ("d1",), -1, True)
    assert (work.dedup_key, work.draft.notice) == ("", notice())


def test_chunks_of_one_notice_share_a_draft() -> None:
    """So that a text is rendered once."""
    works, _ = decode(chunk(), chunk(users=("u2",)), topic="chunks.low")
    assert works[0].draft is works[1].draft


def test_chunks_of_two_notices_do_not_share_a_draft() -> None:
    """Their texts differ."""
    other = chunk(notice=encode(notice(message_id="m-2")))
    works, _ = decode(chunk(), other, topic="chunks.low")
    assert works[0].draft is not works[1].draft


def test_a_draft_gives_back_the_bytes_that_it_came_from() -> None:
    """A chunk that goes round is the same record again."""
    assert one(chunk(), "chunks.low").draft.as_bytes() == encode(notice())


def test_drafts_are_kept_in_bounded_number() -> None:
    """The oldest go first."""
    decoder = Decode({"acme": tenant()})
    raws = [chunk(notice=encode(notice(message_id=f"m-{n}"))) for n in range(DRAFTS_KEPT + 5)]
    decoder(messages("chunks.low", *raws), NOW_MS)
    assert len(decoder._drafts) == DRAFTS_KEPT


@pytest.mark.parametrize(
    ("left", "reason"),
    [({}, "unknown_tenant"), ({"acme": tenant(categories={"x": {}})}, "unknown_category")],
)
def test_a_tenant_removed_under_way_leaves_an_outcome_with_the_message(
    left: dict[str, Tenant], reason: str
) -> None:
    """The message is known, so its outcome names it; the chunk is kept as a dead letter."""
    works, outs = Decode(left)(messages("chunks.low", chunk()), NOW_MS)
    (letter,), (outcome,) = only(DeadLetter, outs), only(Outcome, outs)
    assert works == []
    assert letter.raw == chunk()
    assert (outcome.message_id, outcome.tenant, outcome.reason) == ("m-1", "acme", reason)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"\xc1",
        encode("text"),
        chunk(notice=b"\xc1"),
        chunk(devices=("d1", "d2")),
        chunk(users=()),
        chunk(shard=2),
        chunk(shard=2, notice=encode(notice(expression="a &"))),
    ],
)
def test_a_broken_chunk_is_a_dead_letter(raw: bytes | None) -> None:
    """Also one that later steps would stumble over."""
    works, outs = decode(raw, topic="chunks.low")
    assert (works, [type(out) for out in outs]) == ([], [DeadLetter, Outcome])


def test_a_replay_gives_the_same_outcome_ids() -> None:
    """The coordinates identify a decision."""
    ids = [o.outcome_id for _ in range(2) for o in only(Outcome, decode(b"?", b"!")[1])]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


def test_version_0_is_read_as_version_1() -> None:
    """An old producer needs no change."""
    old = {
        "schema_version": 0,
        "id": "old-1",
        "tenant": "acme",
        "kind": "news",
        "recipients": ["u1"],
        "message": {"text": "Hi"},
    }
    assert one(json.dumps(old).encode()).draft.notice.texts[""].body == "Hi"


def test_the_wall_clock_time_of_acceptance_is_kept() -> None:
    """Latency is measured from it."""
    (work,), outs = Decode({"acme": tenant()})([FakeMessage(event(), at_ms=123)], NOW_MS)
    assert (work.draft.notice.accepted_at_ms, said(outs)) == (123, [])


def replaced(packed: bytes, place: int, by: bytes) -> bytes:
    """Put raw bytes in the place of one element of a msgpack array."""
    parts = [encode(part) for part in msgspec.msgpack.decode(packed)]
    parts[place] = by
    return b"\xdc" + len(parts).to_bytes(2, "big") + b"".join(parts)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (chunk(notice=replaced(encode(notice()), 0, b"\xa2\xff\xfe")), "not valid UTF-8"),
        (replaced(chunk(), 1, b"\x91\xa3\xed\xa0\x80"), "not valid UTF-8"),
        (
            chunk(notice=replaced(encode(notice()), 12, b"\x81\xa1a" + b"\x91" * 100_000)),
            "nested too deeply",
        ),
        (chunk(notice=replaced(encode(notice()), 4, encode("x" * 400_000))), "(not shown)"),
        (chunk(notice=encode(notice(tenant="t" * 300_000))), "longer than any event"),
        (chunk(shard=4, notice=encode(notice(expression="a"))), "the tenant has 4"),
    ],
)
def test_a_hostile_chunk_is_a_dead_letter_with_a_short_error(raw: bytes, error: str) -> None:
    """None of these may stop the flow."""
    works, (letter, outcome) = decode(raw, topic="chunks.low")
    assert works == []
    assert error in letter.error
    assert len(letter.error) < 400
    assert outcome.detail


@pytest.mark.parametrize("at", ["2999-01-01T00:00:00Z", "2026-02-02T02:40:00.001Z"])
def test_a_producers_clock_that_is_ahead_is_not_believed(at: str) -> None:
    """Analytics takes no time after 2100, and nothing was made after it was told."""
    assert one(event(created_at=at)).draft.notice.created_at_ms == NOW_MS


def test_content_that_no_chunk_could_carry_is_refused() -> None:
    """Also when it only becomes large as every locale takes over the link."""
    link = "https://e.example/" + "u" * 2_000
    locales = {f"l{a}{b}": {"title": "x"} for a in "abcdefghij" for b in "abcdefghij"}
    raw = event(content={"title": "x", "url": link, "image": link, "locales": locales})
    works, (letter, _) = decode(raw)
    assert (works, len(raw) < 10_000) == ([], True)
    assert "use at most 262144" in letter.error
