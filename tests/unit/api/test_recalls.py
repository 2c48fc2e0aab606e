"""Taking messages back; old recalls go on the way."""

import pytest

from api.publishing import DefinitionWriter
from api.recalls import KEPT_MS, RecallError, cancel_message
from operators.recall import message_control
from schemas.campaigns import ControlState, control_of
from schemas.definitions import MAX_PER_KIND, Definition, Kind
from tests.unit.api.test_campaigns import Bench
from tests.unit.operators.builders import NOW_MS


def cancel(bench: Bench, message_id: str, now_ms: int = NOW_MS) -> None:
    writer = DefinitionWriter(bench.kafka, bench.definitions)
    cancel_message("acme", message_id, definitions=bench.definitions, writer=writer, now_ms=now_ms)


def test_a_message_taken_back_has_a_control() -> None:
    bench = Bench()
    cancel(bench, "m-1")
    found = bench.definitions.get(Kind.CONTROL, "acme", message_control("m-1"))
    assert found is not None
    assert control_of(found).state is ControlState.CANCELLED


@pytest.mark.parametrize("message_id", ["m" * 120, "m" * 128, "ü" * 128])
def test_any_id_can_be_taken_back_and_once_is_enough(message_id: str) -> None:
    """Also one that is as long as ids may be; a repeat writes nothing."""
    bench = Bench()
    cancel(bench, message_id)
    cancel(bench, message_id)
    ((name, found),) = bench.definitions.all(Kind.CONTROL, "acme").items()
    assert name == message_control(message_id)
    assert found.version == 1


def test_recalls_older_than_any_message_are_swept() -> None:
    """Those of campaigns stay: a campaign may be paused for long."""
    bench = Bench()
    cancel(bench, "old")
    bench.campaigns.put({"id": "c", "message": {"type": "t", "category": "news",
        "audience": {"segment": "buyers"}, "content": {"title": "x"}}})  # fmt: skip
    bench.campaigns.start("c")
    cancel(bench, "new", NOW_MS + KEPT_MS + 1)
    left = bench.definitions.all(Kind.CONTROL, "acme")
    assert list(left) == ["campaign:c", "message:new"]


def test_there_is_an_end_to_what_is_kept() -> None:
    bench = Bench()
    many = [Definition(Kind.CONTROL, "acme", f"message:{n}", 1, b"{}", NOW_MS)
            for n in range(MAX_PER_KIND)]  # fmt: skip
    bench.definitions.apply(many)
    with pytest.raises(RecallError, match="10000 messages"):
        cancel(bench, "one more")
