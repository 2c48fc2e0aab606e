"""campaigns: all slices of a run have the version of the template with which it began."""

from typing import Any

import msgspec

from operators.campaigns import TickCampaigns, encode_run, run_key
from operators.find_template import FindTemplate
from operators.recall import campaign_control
from operators.work import Outbound
from schemas.campaigns import Campaign, Control, ControlState, Run, run_id_of
from schemas.definitions import Definition, Kind
from schemas.pipeline import Chunk, Notice, Timer
from schemas.topics import CAMPAIGNS
from state.memory import MemoryDefinitions, MemorySegments
from state.progress import MemoryProgress
from state.segments import EVERYONE
from tests.unit.operators.builders import NOW_MS, messages, tenant
from tests.unit.operators.test_op_find_template import World, book

USERS = [f"u{n}" for n in range(100)]


def run_of(template: dict[str, Any]) -> Run:
    message = {"type": "t", "category": "news", "audience": {"everyone": True},
               "template": template}  # fmt: skip
    whole = {"id": "c", "tenant": "acme", "message": message, "users_per_minute": 400}
    spec = Campaign.model_validate(whole).model_dump_json().encode()
    return Run(run_id_of("c", "s1", NOW_MS), "acme", "c", "s1", spec, NOW_MS)


def versions(world: World, template: dict[str, Any]) -> list[int]:
    """Tick a run to its end, publishing another version after each tick; give chunks' versions."""
    definitions, segments = MemoryDefinitions(), MemorySegments()
    control = Control(state=ControlState.RUNNING, start_id="s1").model_dump_json().encode()
    name = campaign_control("c")
    definitions.apply([Definition(Kind.CONTROL, "acme", name, 1, control, NOW_MS)])
    segments.add("acme", 4, EVERYONE, USERS)
    ticks = TickCampaigns(
        {"acme": tenant()},
        definitions=definitions,
        segments=segments,
        progress=MemoryProgress(),
        figures=lambda _run, _campaign: None,
        wall_ms=lambda: NOW_MS,
        templates=FindTemplate(world),
    )
    found: list[int] = []
    now_ms, raw = NOW_MS, encode_run(run_of(template))
    titles = ["a"]
    while raw and len(titles) < 20:
        _, outs = ticks(messages(CAMPAIGNS, raw), now_ms)
        chunks = [one.value for one in outs if isinstance(one, Outbound)]
        for chunk in chunks:
            assert isinstance(chunk, Chunk)
            found.append(msgspec.msgpack.decode(chunk.notice, type=Notice).template_version)
        (timer,) = [one for one in outs if isinstance(one, Timer)] or [None]
        raw, now_ms = (timer.value, timer.due_at_ms) if timer else (b"", now_ms)
        titles.append("b")
        world.books["t"] = book(*titles)
    return found


def test_a_run_keeps_the_version_that_was_in_use_at_its_first_tick() -> None:
    """In every slice, whatever is published meanwhile."""
    found = versions(World(t=book("a")), {"name": "t"})
    assert len(found) > 4
    assert set(found) == {1}


def test_a_version_that_the_campaign_names_stays_that_version() -> None:
    """There is nothing to pin."""
    found = versions(World(t=book("a", "b", "c")), {"name": "t", "version": 2})
    assert set(found) == {2}


def test_the_run_is_keyed_by_its_campaign() -> None:
    """So its ticks stay in order, also with the versions that they carry."""
    run = msgspec.structs.replace(run_of({"name": "t"}), templates={"t": 1})
    assert run_key(run) == b"acme/c"
    assert msgspec.msgpack.decode(encode_run(run), type=Run) == run
