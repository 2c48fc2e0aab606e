"""sizes: what is measured is what the sinks decide by."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outcomes import Reason
from schemas.pipeline import Answer, Content, Platform
from sinks.apns_payload import Payload, Unsendable, build_payload
from sinks.fcm_message import FcmMessages
from sinks.preview import preview
from sinks.sizes import size_of
from sinks.webpush_payload import WebPushPayloads
from tests.unit.operators.builders import NOW_MS, delivery

_TEXT = st.one_of(
    st.text(max_size=300),
    st.tuples(st.sampled_from(['"', "\x01", "日", "a", "\U0001f600"]), st.integers(0, 4_200)).map(
        lambda given: given[0] * given[1]
    ),
)
_CONTENTS = st.builds(
    Content,
    title=_TEXT,
    body=_TEXT,
    url=st.sampled_from(["", "https://x.example/", "app://x"]),
    data=st.dictionaries(st.text("abc", min_size=1, max_size=5), _TEXT, max_size=2),
)


def is_refused_for_size(platform: Platform, content: Content) -> bool:
    """Ask the sink's own builder."""
    raw = msgspec.msgpack.encode(content)
    if platform is Platform.APNS:
        built = build_payload(raw)
        return isinstance(built, Unsendable) and built.reason is Reason.PAYLOAD_TOO_LARGE
    if platform is Platform.FCM:
        made = FcmMessages().build(delivery(content=raw), now_ms=NOW_MS)
    else:
        made = WebPushPayloads().build(raw)  # type: ignore[assignment]
    return isinstance(made, Answer) and made.reason is Reason.PAYLOAD_TOO_LARGE


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(Platform)), _CONTENTS)
def test_over_the_limit_is_what_the_sink_refuses(platform: Platform, content: Content) -> None:
    """Exactly, whatever the characters cost in JSON."""
    size = size_of(platform, content)
    assert size is not None
    assert (size[0] > size[1]) is is_refused_for_size(platform, content)


@pytest.mark.parametrize(
    ("platform", "override"),
    [
        (Platform.APNS, {"nope": 1}),
        (Platform.FCM, {"nope": 1}),
        (Platform.FCM, {"token": "x"}),
        (Platform.WEBPUSH, {"nope": 1}),
        (Platform.WEBPUSH, {"payload": 5}),
    ],
)
def test_what_is_unsendable_anyway_has_no_size(platform: Platform, override: object) -> None:
    """The sink says what is wrong."""
    assert size_of(platform, Content("t", override=override)) is None  # type: ignore[arg-type]


def test_voip_may_be_larger() -> None:
    """As Apple allows."""
    content = Content(override={"push_type": "voip"}, data={"k": "x" * 4_500})
    assert size_of(Platform.APNS, content) == (4_500 + len('{"aps":{},"data":{"k":""}}'), 5_120)


@pytest.mark.parametrize("platform", list(Platform))
def test_a_preview_is_the_sinks_own_request(platform: Platform) -> None:
    """Byte for byte, as JSON."""
    raw = msgspec.msgpack.encode(Content("Title", "Body", data={"k": "v"}))
    one = delivery(platform=platform, content=raw, token="t", collapse_key="c")
    made = preview(one, topic="com.example", now_ms=NOW_MS)
    assert not made.problem
    if platform is Platform.APNS:
        built = build_payload(raw)
        assert isinstance(built, Payload)
        assert made.payload == msgspec.json.decode(built.body)
        assert (made.headers["apns-topic"], made.headers["apns-collapse-id"]) == (
            "com.example",
            "c",
        )
    elif platform is Platform.FCM:
        request = FcmMessages().build(one, now_ms=NOW_MS)
        assert isinstance(request, bytes)
        assert made.payload == msgspec.json.decode(request)
    else:
        assert made.payload == {"title": "Title", "body": "Body", "data": {"k": "v"}}
        assert made.headers["topic"] == "c"


def test_a_preview_says_why_it_would_not_be_sent() -> None:
    """With the size that the platform counts."""
    raw = msgspec.msgpack.encode(Content(body="x" * 5_000))
    made = preview(delivery(platform=Platform.WEBPUSH, content=raw), topic="", now_ms=NOW_MS)
    assert made.problem.startswith("payload_too_large: the payload is 5011 bytes")
    assert (made.payload, made.size_bytes, made.limit_bytes) == (None, 5_011, 3_993)
