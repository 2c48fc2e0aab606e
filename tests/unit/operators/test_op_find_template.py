"""find_template: a message keeps the version that was in use when it came."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from operators.decode import Decode
from operators.find_template import FindTemplate, Shelf
from operators.render import Renderer
from operators.template_book import rolled_back, with_draft, with_published, without
from operators.work import Draft
from schemas.definitions import Definition, Kind
from schemas.pipeline import Content
from schemas.template import Template
from schemas.template_book import TemplateBook
from schemas.tenant import Tenant
from tests.unit.operators.builders import NOW_MS, device, event, messages, profile, tenant

AT = datetime(2026, 1, 5, tzinfo=UTC)
IN_FILE = {"file": {"version": 2, "texts": {"en": {"title": "file"}}}}


def template(title: str) -> Template:
    return Template.model_validate({"texts": {"en": {"title": title}}})


def shelf(book: TemplateBook) -> Shelf:
    body = book.model_dump_json().encode()
    return Shelf(Definition(Kind.TEMPLATE, "acme", "t", 1, body, 0))


def book(*titles: str) -> TemplateBook:
    made: TemplateBook | None = None
    for title in titles:
        made = with_published(with_draft(made, template(title), AT), None, AT)
    assert made is not None
    return made


class World:
    """What is published, which a test may change; one decode that sees it."""

    def __init__(self, **books: TemplateBook) -> None:
        self.books = self.seen = books
        self.tenant: Tenant = tenant(templates=IN_FILE)
        self.decode = Decode({"acme": self.tenant}, templates=FindTemplate(self))

    def of(self, _tenant: str) -> Mapping[str, Shelf]:
        return {name: shelf(one) for name, one in self.seen.items()}

    def refresh(self) -> None:
        self.seen = self.books

    def draft(self, name: str = "t", **more: Any) -> Draft:
        raw = event(content=None, template={"name": name, **more})
        (work,), _ = self.decode(messages("events.normal", raw), NOW_MS)
        assert isinstance(work.draft, Draft)
        return work.draft

    def chunk(self, draft: Draft) -> Draft:
        """Give what another process makes of a chunk of this draft."""
        fresh = Decode({"acme": self.tenant}, templates=FindTemplate(self))
        chunk = msgspec.msgpack.encode(((draft.as_bytes()), ("u1",)))
        (work,), _ = fresh(messages("chunks.normal", chunk), NOW_MS)
        assert isinstance(work.draft, Draft)
        return work.draft


def title(draft: Draft) -> str:
    raw = Renderer(draft).content(profile(), device())
    return msgspec.msgpack.decode(raw, type=Content).title


def test_the_published_version_is_used_and_pinned() -> None:
    """Not a draft after it."""
    world = World(t=with_draft(book("a", "b"), template("c"), AT))
    draft = world.draft()
    assert title(draft) == "b"
    assert (draft.notice.template_version, draft.notice.template_pinned) == (2, True)


def test_a_message_under_way_keeps_its_version() -> None:
    """Its chunks, in another process and after another version was published."""
    world = World(t=book("a"))
    draft = world.draft()
    world.books["t"] = book("a", "b")
    assert title(world.chunk(draft)) == "a"
    assert title(world.draft()) == "b"
    world.books["t"] = rolled_back(world.books["t"], None, AT)
    assert title(world.draft()) == "a"


def test_a_version_that_this_process_has_not_seen_yet_is_looked_up() -> None:
    """A campaign never mixes versions, however soon its chunks come."""
    world = World(t=book("a"))
    world.seen = dict(world.books)
    draft = World(t=book("a", "b")).draft()
    world.books["t"] = book("a", "b")
    assert title(world.draft()) == "a"
    assert title(world.chunk(draft)) == "b"


def test_a_version_asked_for_is_that_version() -> None:
    """As long as it was published once."""
    world = World(t=with_draft(book("a", "b"), template("c"), AT))
    assert title(world.draft(version=1)) == "a"
    draft = world.draft(version=3)
    assert draft.plan is None
    assert not draft.notice.template_pinned


def test_a_pinned_version_that_was_removed_gives_way_to_the_current_one() -> None:
    """Other words are better than no message; one that was asked for by number is an error."""
    world = World(t=book("a", "b"))
    pinned, asked = World(t=book("a")).draft(), world.draft(version=1)
    world.books["t"] = without(world.books["t"], 1)
    assert title(world.chunk(pinned)) == "b"
    assert world.chunk(asked).plan is None


def test_the_tenants_file_still_counts() -> None:
    """Until something is published under the same name."""
    world = World()
    draft = world.draft("file")
    assert title(draft) == "file"
    assert (draft.notice.template_version, draft.notice.template_pinned) == (2, True)
    world.books["file"] = with_draft(None, template("new"), AT, above=2)
    assert title(world.draft("file")) == "file"
    world.books["file"] = with_published(world.books["file"], None, AT)
    assert title(world.draft("file")) == "new"
    assert title(world.chunk(draft)) == "file"
    assert title(world.draft("file", version=2)) == "file"


def test_variants_keep_their_versions_too() -> None:
    """Each has its own template."""
    world = World(t=book("a"), s=book("x"))
    raw = event(
        template={"name": "t"},
        content=None,
        variants=[
            {"name": "one", "weight": 1},
            {"name": "two", "weight": 1, "template": {"name": "s"}},
        ],
    )
    (work,), _ = world.decode(messages("events.normal", raw), NOW_MS)
    world.books |= {"t": book("a", "b"), "s": book("x", "y")}
    assert [title(one) for one in world.chunk(work.draft).variants] == ["a", "x"]


def test_a_body_that_cannot_be_read_is_as_good_as_none() -> None:
    """Messages that name it are refused, and others go on."""
    world = World()
    bad = Shelf(Definition(Kind.TEMPLATE, "acme", "t", 1, b'{"editions": 5}', 0))
    world.of = lambda _tenant: {"t": bad}  # type: ignore[method-assign]
    assert world.draft().plan is None
    assert title(world.draft("file")) == "file"


def test_a_version_is_made_ready_once() -> None:
    """Also when its definition was read again, unless its words are others."""
    world = World(t=book("a"))
    first = world.draft().plan
    world.books["t"] = with_draft(world.books["t"], template("draft"), AT)
    assert world.draft().plan is first
    world.books["t"] = book("other")
    assert title(world.draft()) == "other"
