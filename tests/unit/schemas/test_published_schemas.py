"""The published schemas and examples: current, valid, and readable by the models."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from schemas import export
from schemas.events import decode_event
from schemas.pipeline import Priority

ROOT = Path(export.__file__).parent
EXAMPLES = [
    pytest.param(version, message, path, id=f"v{version}-{message}-{path.stem}")
    for version, message in export.PUBLISHED
    for path in sorted((ROOT / f"v{version}" / "examples" / message).glob("*.json"))
]


@pytest.mark.parametrize("path", sorted(export.documents()))
def test_committed_schema_is_what_the_models_say(path: str) -> None:
    """A model cannot change without its published schema; run `clarion schemas export`."""
    assert (ROOT / path).read_text("utf-8") == export.documents()[path]


def test_events_in_the_docs_are_valid() -> None:
    """What docs/producers.md shows can be sent."""
    blocks = (ROOT.parent / "docs/producers.md").read_text("utf-8").split("```json\n")[1:]
    first, audiences, template, variants, platforms = (block.split("```")[0] for block in blocks)
    event = json.loads(first)
    assert decode_event(first.encode()).tenant == "acme"
    for audience in audiences.splitlines():
        assert decode_event(json.dumps({**event, "audience": json.loads(audience)}).encode())
    assert decode_event(json.dumps({**event, **json.loads(f"{{{variants}}}")}).encode()).variants
    content = {"title": "x", **json.loads(f"{{{platforms}}}")}
    assert decode_event(json.dumps({**event, "content": content}).encode())
    del event["content"]
    assert decode_event(json.dumps({**event, **json.loads(f"{{{template}}}")}).encode())


def test_nothing_else_is_published() -> None:
    """Every schema file and every example belongs to a published message."""
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("v[0-9]*/*.json")}
    assert files == set(export.documents())
    assert len(EXAMPLES) == len(list(ROOT.glob("v[0-9]*/examples/*/*.json")))


@pytest.mark.parametrize(("version", "message"), list(export.PUBLISHED))
def test_every_message_has_examples(version: int, message: str) -> None:
    """A contract without an example is not published; and it is valid JSON Schema."""
    assert [case for case in EXAMPLES if case.values[:2] == (version, message)]
    Draft202012Validator.check_schema(export.schema_of(version, message))


@pytest.mark.parametrize(("version", "message", "path"), EXAMPLES)
def test_example_is_valid_for_model_and_schema(version: int, message: str, path: Path) -> None:
    """Published examples, which are never edited, stay readable."""
    raw = path.read_bytes()
    export.PUBLISHED[version, message].model_validate_json(raw)
    Draft202012Validator(export.schema_of(version, message)).validate(json.loads(raw))
    if message == "event":
        assert decode_event(raw).schema_version == 1


def test_v0_example_reads_as_the_event_it_always_meant() -> None:
    """Upcast maps every old name to its new one."""
    event = decode_event((ROOT / "v0/examples/event/urgent.json").read_bytes())
    assert event.model_dump(exclude_none=True, mode="json") == {
        "schema_version": 1,
        "id": "legacy-1",
        "tenant": "acme",
        "type": "order.shipped",
        "category": "order.shipped",
        "priority": Priority.HIGH,
        "audience": {"users": ["u-1041", "u-1042"]},
        "content": {
            "title": "Your order is on its way",
            "body": "It arrives tomorrow.",
            "url": "https://acme.example/orders/4711",
            "data": {"order_id": "4711"},
            "locales": {},
        },
        "variables": {},
        "created_at": "2026-01-05T08:00:00Z",
        "ttl_s": 86400,
        "sandbox": False,
    }


BASE: dict[str, Any] = {
    "id": "m-1",
    "tenant": "acme",
    "type": "t",
    "category": "c",
    "audience": {"users": ["u"]},
    "content": {"title": "Hello"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "a b"},
        {"audience": {"users": ["a"], "segment": "b"}},
        {"audience": {}},
        {"template": {"name": "x"}},
        {"content": None},
        {"created_at": "yesterday"},
        {"ttl_s": 0},
        {"extra": 1},
        {"content": {"title": "a", "locales": {"no such tag!": {}}}},
    ],
)
def test_json_schema_refuses_what_the_model_refuses(changes: dict[str, Any]) -> None:
    """Producers can check with any JSON Schema library and get the same answer."""
    document = {**BASE, **changes}
    with pytest.raises(ValueError):  # noqa: PT011 - the words are tested with the rules
        decode_event(json.dumps(document).encode())
    with pytest.raises(ValidationError):
        Draft202012Validator(export.schema_of(1, "event")).validate(document)


def test_json_schema_wants_an_id() -> None:
    """The published contract is the Kafka producers': they give the id."""
    assert "id" in export.schema_of(1, "event")["required"]
