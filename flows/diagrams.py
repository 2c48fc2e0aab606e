"""A Mermaid diagram of every flow, drawn from the dataflow itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_mermaid

from flows import campaigns, deliver, outcomes, registry, route, timers

PARTS: dict[str, tuple[Callable[[Any], Dataflow], type[Any], dict[str, Any]]] = {
    "route": (route.build, route.RouteParts, {}),
    "deliver": (deliver.build, deliver.DeliverParts, {"platform": "platform"}),
    "timers": (timers.build, timers.TimersParts, {}),
    "campaigns": (campaigns.build, campaigns.CampaignsParts, {}),
    "outcomes": (outcomes.build, outcomes.OutcomesParts, {}),
    "registry": (registry.build, registry.RegistryParts, {}),
}


def diagrams() -> Iterator[tuple[str, str]]:
    """Give (flow, Mermaid text). Only the graph is built: nothing connects or runs."""
    for name, (build, parts, known) in PARTS.items():
        given: dict[str, Any] = dict.fromkeys(parts.__dataclass_fields__, _step)
        given |= {"source": TestingSource([]), "sink": TestingSink([]), **known}
        yield name, to_mermaid(build(parts(**given)))


def draw_all(directory: Path) -> list[Path]:
    """Write one Markdown page per flow; returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in diagrams():
        path = directory / f"{name}.md"
        path.write_text(f"# {name}\n\nDrawn by `make diagrams`.\n\n```mermaid\n{text}\n```\n")
        written.append(path)
    return written


def _step(*_items: Any) -> Any:
    """Stand in for a step; never called, as nothing runs."""
