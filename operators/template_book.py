"""What people do to a template: edit a draft, publish it, go back, remove a version. All pure."""

from datetime import datetime

from schemas.template import Template
from schemas.template_book import MAX_VERSIONS, Edition, TemplateBook


class BookError(ValueError):
    """It cannot be done; the text says what to do instead."""


def with_draft(
    book: TemplateBook | None, template: Template, at: datetime, *, above: int = 0
) -> TemplateBook:
    """Put a draft: over the newest version while that is a draft, else as a new version.

    template: its own version number is not looked at. above: new numbers are larger than this one.
    Raises BookError.
    """
    editions = () if book is None else book.editions
    published = None if book is None else book.published
    last = editions[-1] if editions else None
    if last is not None and last.published_at is None:
        version, editions = last.template.version, editions[:-1]
    else:
        version = max(last.template.version if last else 0, above) + 1
    if len(editions) >= MAX_VERSIONS:
        raise BookError(f"there are {MAX_VERSIONS} versions: remove old ones first")
    draft = Edition(template=template.model_copy(update={"version": version}), edited_at=at)
    return TemplateBook(editions=(*editions, draft), published=published)


def with_published(book: TemplateBook, version: int | None, at: datetime) -> TemplateBook:
    """Put a version to use, the newest without a number. Raises BookError."""
    chosen = _edition(book, book.editions[-1].template.version if version is None else version)
    number = chosen.template.version
    if book.published == number:
        raise BookError(f"version {number} is published already")
    stamped = chosen.model_copy(update={"published_at": chosen.published_at or at})
    return TemplateBook(
        editions=tuple(stamped if one is chosen else one for one in book.editions),
        published=number,
    )


def rolled_back(book: TemplateBook, to: int | None, at: datetime) -> TemplateBook:
    """Go back to a version that was published before, the one before without a number.

    Raises BookError.
    """
    if book.published is None:
        raise BookError("nothing is published, there is nothing to go back from")
    current = book.published
    numbers = [one.template.version for one in book.editions if one.published_at is not None]
    if to is None:
        earlier = [number for number in numbers if number < current]
        if not earlier:
            raise BookError(f"no version before {current} was published")
        to = earlier[-1]
    elif _edition(book, to).template.version not in numbers:
        raise BookError(f"version {to} is a draft: publish it instead")
    return with_published(book, to, at)


def without(book: TemplateBook, version: int) -> TemplateBook:
    """Remove a version that is not in use. Raises BookError."""
    chosen = _edition(book, version)
    if book.published == version:
        raise BookError(f"version {version} is published: publish another one first")
    if len(book.editions) == 1:
        raise BookError("it is the only version: remove the whole template")
    return book.model_copy(
        update={"editions": tuple(one for one in book.editions if one is not chosen)}
    )


def _edition(book: TemplateBook, version: int) -> Edition:
    found = book.edition(version)
    if found is None:
        known = ", ".join(str(one.template.version) for one in book.editions)
        raise BookError(f"there is no version {version}, only {known}")
    return found
