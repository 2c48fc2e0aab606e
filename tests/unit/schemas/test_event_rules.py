"""One fact per rule of the event: what is refused, and how the message names it."""

import json
from typing import Any

import pytest

from schemas.events import MAX_EVENT_BYTES, BadEventError, Event, decode_event
from schemas.pipeline import Priority

BASE: dict[str, Any] = {
    "schema_version": 1,
    "id": "m-1",
    "tenant": "acme",
    "type": "order.shipped",
    "category": "transactional",
    "audience": {"users": ["u-1"]},
    "content": {"title": "Hello"},
}


def raw(**changes: Any) -> bytes:
    return json.dumps({**BASE, **changes}).encode()


def fault(data: bytes | None) -> str:
    with pytest.raises(BadEventError) as caught:
        decode_event(data)
    return str(caught.value)


def test_minimal_event_has_sensible_defaults() -> None:
    """Priority is normal, nothing expires, and the id is the dedup key."""
    event = decode_event(raw())
    assert event.priority is Priority.NORMAL
    assert event.dedup_key == "m-1"
    assert (event.created_at_ms, event.send_at_ms) == (0, 0)
    assert event.expires_at_ms(accepted_at_ms=5) == 0
    assert not event.sandbox


def test_repeated_users_count_once_in_order() -> None:
    """A user id given twice is one recipient; the order stays."""
    event = decode_event(raw(audience={"users": ["b", "a", "b", "c", "a"]}))
    assert event.audience.model_dump() == {"users": ("b", "a", "c")}


def test_idempotency_key_wins_over_id() -> None:
    """Two events with one idempotency key are one."""
    assert decode_event(raw(idempotency_key="k")).dedup_key == "k"


def test_times_become_epoch_milliseconds() -> None:
    """Any offset is understood; fractions of milliseconds are cut off."""
    event = decode_event(raw(created_at="2026-01-05T09:00:00.1239+01:00"))
    assert event.created_at_ms == 1767600000123


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"ttl_s": 60}, 61_000),
        ({"ttl_s": 60, "send_at": "2026-01-05T08:00:00Z"}, 1767600060000),
        ({"expires_at": "2026-01-05T08:00:00Z"}, 1767600000000),
    ],
)
def test_expiry_counts_from_send_at_else_from_acceptance(
    changes: dict[str, Any], expected: int
) -> None:
    """ttl_s starts when the message may go out; expires_at stands by itself."""
    assert decode_event(raw(**changes)).expires_at_ms(accepted_at_ms=1_000) == expected


def test_category_default_applies_without_own_expiry() -> None:
    """The category's ttl is used when the event gives none."""
    assert decode_event(raw()).expires_at_ms(accepted_at_ms=1_000, default_ttl_s=2) == 3_000


def test_encoded_event_decodes_to_itself() -> None:
    """to_json loses nothing."""
    event = decode_event(raw(send_at="2026-01-05T08:00:00Z", variables={"n": [1, {"a": None}]}))
    assert decode_event(event.to_json()) == event


def test_api_may_leave_the_id_to_clarion() -> None:
    """Without an id the API gets a new one each time; Kafka producers must give it."""
    data = json.dumps({k: v for k, v in BASE.items() if k != "id"}).encode()
    assert decode_event(data, id_required=False).id != decode_event(data, id_required=False).id
    assert fault(data).startswith("id: is missing")


def test_event_is_frozen() -> None:
    """An accepted event cannot be changed."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(decode_event(raw()), "tenant", "other")  # noqa: B010 - mypy knows that it is frozen


ONE_OF_FOUR = "audience: give exactly one of users, devices, segment, everyone, topic, group"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tenant": "a b"}, "tenant: use letters"),
        ({"tenant": "x" * 65}, "tenant: string must have at most 64"),
        ({"id": "a b"}, "id: use at least one character, no blanks"),
        ({"id": "x" * 129}, "id: string must have at most 128"),
        ({"id": ""}, "id: string must have at least 1"),
        ({"id": 5}, "id: must be a valid string"),
        ({"priority": "hgh"}, "priority: must be 'critical', 'high', 'normal' or 'low'"),
        ({"prioritty": "high"}, "prioritty: is no field here, did you mean 'priority'?"),
        ({"zzzz": 1}, "zzzz: is no field here, remove it"),
        ({"schema_version": 7}, "schema_version: must be one of 0, 1"),
        ({"schema_version": "1"}, "schema_version: must be one of 0, 1"),
        ({"schema_version": None}, "schema_version: must be one of 0, 1"),
        ({"audience": {}}, ONE_OF_FOUR),
        ({"audience": {"users": ["a"], "segment": "b"}}, ONE_OF_FOUR),
        ({"audience": {"user": ["a"]}}, ONE_OF_FOUR),
        ({"audience": "everyone"}, "audience: must be an object such as"),
        ({"audience": {"users": []}}, "audience.users: "),
        ({"audience": {"users": ["a", 3]}}, "audience.users.1: must be a valid string"),
        ({"audience": {"users": "a"}}, "audience.users: must be a list"),
        ({"audience": {"users": ["a"], "x": 1}}, "audience.x: is no field here"),
        ({"audience": {"devices": [{"user_id": "a"}]}}, "audience.devices.0.device_id: is missing"),
        ({"audience": {"segment": "a & "}}, "audience.segment: a segment name is missing"),
        ({"audience": {"everyone": False}}, "audience.everyone: must be True"),
        ({"content": None}, "give exactly one of content and template"),
        ({"template": {"name": "x"}}, "give exactly one of content and template"),
        ({"content": {}}, "content: give at least a title, a body or data"),
        ({"content": {"title": "x" * 501}}, "content.title: string must have at most 500"),
        ({"content": {"body": "x" * 4001}}, "content.body: string must have at most 4000"),
        ({"content": {"data": {"a": 1}}}, "content.data.a: must be a valid string"),
        ({"content": {"data": {f"k{n}": "x" * 4_000 for n in range(9)}}}, "data: more than 16384"),
        ({"content": {"title": "a", "image": "ftp://x"}}, "content.image: use an http:// or"),
        ({"content": {"title": "a", "url": "x y"}}, "content.url: use at least one character"),
        ({"content": {"title": "a", "locales": {"d": {}}}}, "content.locales.d"),
        (
            {"content": {"title": "a", "platforms": {"sms": {}}}},
            "content.platforms.sms: is no field here",
        ),
        (
            {"content": {"title": "a", "platforms": {"apns": {"x": "y" * 5000}}}},
            "platforms.apns: more than 4096",
        ),
        ({"variables": {"a": "x" * 70_000}}, "variables: more than 65536"),
        ({"variables": {"a": 2**64}}, "variables.a: use a finite number that fits in 64 bits"),
        ({"variables": {"a": [[[[[[[[1]]]]]]]]}}, "variables.a.0.0.0.0.0.0.0: nest at most 8"),
        ({"created_at": 1767600000}, "created_at: write a time with its offset"),
        ({"created_at": "1767600000"}, "created_at: write a time with its offset"),
        ({"created_at": "2026-01-05T08:00:00"}, "created_at: write a time with its offset"),
        ({"created_at": "2026-02-30T08:00:00Z"}, "created_at: write a time with its offset"),
        ({"created_at": "1999-12-31T23:59:59Z"}, "created_at: write a time with its offset"),
        ({"ttl_s": 0}, "ttl_s: must be greater than or equal to 1"),
        ({"ttl_s": "60"}, "ttl_s: must be a valid integer"),
        ({"ttl_s": 2_419_201}, "ttl_s: must be less than or equal to 2419200"),
        (
            {"ttl_s": 5, "expires_at": "2026-01-05T08:00:00Z"},
            "give at most one of expires_at and ttl_s",
        ),
        (
            {"send_at": "2026-01-05T08:00:00Z", "expires_at": "2026-01-05T09:00:00+01:00"},
            "expires_at: must be later than send_at",
        ),
        ({"collapse_key": "x" * 65}, "collapse_key: string must have at most 64"),
        ({"collapse_key": "ü"}, "collapse_key: use visible ASCII characters only"),
        ({"traceparent": "00-abc"}, "traceparent: use W3C Trace Context form"),
        (
            {"traceparent": f"ff-{'1' * 32}-{'1' * 16}-01"},
            "traceparent: use W3C Trace Context form",
        ),
        ({"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"}, "traceparent: trace id and parent id"),
        ({"traceparent": f"00-{'1' * 32}-{'0' * 16}-01"}, "traceparent: trace id and parent id"),
        ({"sandbox": 1}, "sandbox: must be a valid boolean"),
        ({"content": {"title": "a\0b"}}, "content.title: remove the NUL"),
        ({"variables": {"a": [{"b\0": 1}]}}, "variables.a.0: remove the NUL"),
    ],
)
def test_fault_is_named_with_its_field(changes: dict[str, Any], expected: str) -> None:
    """Each rule's message starts with the field's path and says what to do."""
    assert fault(raw(**changes)).startswith(expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "the message is empty"),
        (b"", "the message is empty"),
        (b"{", "not JSON: EOF"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "the message must be a JSON object"),
        (b"null", "the message must be a JSON object"),
        (b"[" * 100_000, "not JSON: recursion limit"),
        (b" " * (MAX_EVENT_BYTES + 1), "the message has 1048577 bytes: send at most 1048576"),
        (raw(variables={"a": 1}).replace(b'"a": 1', b'"a": NaN'), "variables.a: use a finite"),
        (raw(content={"title": "\ud800"}), "not JSON: unexpected end of hex escape"),
    ],
)
def test_bytes_that_are_no_event_are_explained(data: bytes | None, expected: str) -> None:
    """Whatever arrives, the message says what is wrong with it."""
    assert fault(data).startswith(expected)


def test_escaped_backslash_before_u0000_is_no_nul() -> None:
    """Only a real NUL is refused, not the text that spells it."""
    event = decode_event(raw(content={"title": r"\u0000"}))
    assert event.content is not None
    assert event.content.title == r"\u0000"


def test_message_is_bounded_whatever_is_wrong() -> None:
    """A thousand faults with long paths still make less than 2 kB, and the rest are counted."""
    text = fault(raw(**{f"ü{number}{'x' * 50}": 1 for number in range(1_000)}))
    assert len(text.encode()) < 2_000
    assert text.endswith("and 990 more")


def test_crowd_of_faults_is_told_by_its_largest_object() -> None:
    """One hostile megabyte cannot hold up a process with the listing of its faults."""
    text = fault(raw(content={"data": {str(number): 1 for number in range(50_000)}}))
    assert text == "content.data: has 50000 fields, use fewer; 50000 faults in all"


def test_faults_never_repeat_values() -> None:
    """What users are told stays out of logs."""
    text = fault(raw(content={"title": 5, "body": ["secret"]}, ttl_s="secret"))
    assert "secret" not in text


def test_python_callers_get_the_same_rules() -> None:
    """Event(...) in Python checks what decode_event checks."""
    with pytest.raises(ValueError, match="give exactly one of content and template"):
        Event.model_validate({**BASE, "content": None})
