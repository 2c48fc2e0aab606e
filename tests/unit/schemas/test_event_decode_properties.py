"""What holds for any input: decode ends in an Event or a BadEventError, nothing else."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import BadMessageError, decode
from schemas.event_v0 import EventV0
from schemas.events import BadEventError, Event, decode_event
from schemas.registry import DeviceRegistration, UserProfile
from schemas.upcast import upcast

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from([*Event.model_fields, *EventV0.model_fields, "x"])
VALID: dict[str, Any] = {
    "id": "m-1",
    "tenant": "acme",
    "type": "t",
    "category": "c",
    "audience": {"users": ["u"]},
    "content": {"title": "Hello"},
}


def ends_well(raw: bytes) -> None:
    try:
        event = decode_event(raw)
    except BadEventError as error:
        assert 0 < len(str(error).encode()) <= 2_000  # noqa: PT017 - either end is right
    else:
        assert decode_event(event.to_json()) == event


@given(st.binary(max_size=200))
def test_any_bytes_end_well(raw: bytes) -> None:
    """Arbitrary bytes never raise anything but BadEventError."""
    ends_well(raw)


@given(JSON)
def test_any_json_ends_well(document: Any) -> None:
    """Arbitrary JSON never raises anything but BadEventError."""
    ends_well(json.dumps(document).encode())


@settings(max_examples=150)
@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_value_in_any_field_ends_well(changes: dict[str, Any]) -> None:
    """A valid event with some fields replaced is read or explained, and reads back the same."""
    ends_well(json.dumps({**VALID, **changes}).encode())


@given(st.dictionaries(st.sampled_from([*UserProfile.model_fields]), JSON, max_size=6), JSON)
def test_registry_messages_end_well(changes: dict[str, Any], other: Any) -> None:
    """The other messages never raise anything but BadMessageError either."""
    base = {"tenant": "a", "user_id": "u", "updated_at": "2026-01-05T08:00:00Z"}
    for model in (UserProfile, DeviceRegistration):
        for document in ({**base, **changes}, other):
            try:
                decode(model, json.dumps(document).encode())
            except BadMessageError as error:
                assert len(str(error).encode()) <= 2_000  # noqa: PT017 - either end is right


TEXT = st.text(st.characters(min_codepoint=0x21, exclude_characters="\x7f"), min_size=1, max_size=9)
TEXT = TEXT.filter(lambda text: text.isprintable())
V0: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "schema_version": st.just(0),
        "id": TEXT,
        "tenant": st.just("acme"),
        "kind": st.sampled_from(["promo", "order.shipped"]),
        "recipients": st.lists(TEXT, min_size=1, max_size=5),
        "message": st.fixed_dictionaries({"text": TEXT}, optional={"link": TEXT}),
    },
    optional={
        "urgency": st.sampled_from(["urgent", "normal", "bulk"]),
        "extra": st.dictionaries(TEXT, TEXT, max_size=3),
        "sent_at": st.integers(946_684_800, 4_102_444_800),
        "ttl": st.integers(1, 2_419_200),
    },
)


@given(V0)
def test_every_valid_v0_event_becomes_a_v1_event(document: dict[str, Any]) -> None:
    """Nothing that version 0 said is lost: id, text, users, time and expiry come through."""
    event = decode_event(json.dumps(document).encode())
    assert event == Event.model_validate_json(json.dumps(upcast(document, version=0, current=1)))
    assert event.id == document["id"]
    assert event.content is not None
    assert event.content.body == document["message"]["text"]
    assert event.created_at_ms == document.get("sent_at", 0) * 1000
    assert event.ttl_s == document.get("ttl")
