"""`clarion templates`: write, check, look at and publish templates."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from schemas.pipeline import Platform
    from schemas.template import Template

app = App(name="templates", help="Write, check and publish templates.", help_format="plaintext")

LIST = "clarion templates ls"
TenantOption = Annotated[str, Parameter(help="whose templates")]
JsonFlag = Annotated[bool, Parameter(help="JSON, for machines")]
VersionOption = Annotated[int | None, Parameter(help="else the newest, draft or not")]
FileOption = Annotated[Path | None, Parameter(help="look at this file instead; changes nothing")]


@app.command
def put(
    name: str,
    file: Annotated[Path, Parameter(help="YAML or JSON: texts by locale, see docs/templates.md")],
    *,
    tenant: TenantOption,
) -> None:
    """Put a template up as a draft: over the last draft, or as a new version after a published one.

    Messages do not use it before it is published.
    """
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_files import read_template  # noqa: PLC0415 - as above
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    template = read_template(file)
    with opened(tenant, see=LIST) as stores:
        version = Shelf(stores).put(name, template).number
    _print(f"{name} version {version}: draft; clarion templates publish {name} --tenant {tenant}")


@app.command
def publish(
    name: str, *, tenant: TenantOption, version: VersionOption = None, json: JsonFlag = False
) -> None:
    """Check a version and put it to use: new messages have it within a second.

    Messages under way keep the version that they began with. Faults stop it; warnings are shown.
    """
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_files import line_of, unpublishable  # noqa: PLC0415 - as above
    from api.template_shelf import LintError, Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        try:
            number, _, warnings = Shelf(stores).publish(name, version)
        except LintError as error:
            raise unpublishable(error) from error
    if json:
        found = [one._asdict() for one in warnings]
        _print(_json({"name": name, "version": number, "warnings": found}))
        return
    for one in warnings:
        _print(line_of(one))
    _print(f"{name} version {number}: published")


@app.command
def rollback(
    name: str,
    *,
    tenant: TenantOption,
    to: Annotated[int | None, Parameter(help="else the version published before")] = None,
) -> None:
    """Go back to a version that was published before."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        number = Shelf(stores).rollback(name, to).number
    _print(f"{name} version {number}: published")


@app.command
def ls(*, tenant: TenantOption, json: JsonFlag = False) -> None:
    """List the templates with their versions; those of the tenant's file, too."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        shelf = Shelf(stores)
        rows: list[tuple[str, int, str, Template]] = [
            (name, one.template.version, book.state(one.template.version), one.template)
            for name, book in shelf.books().items()
            for one in book.editions
        ]
        rows += [
            (name, one.version, "in the tenant's file", one)
            for name, versions in sorted(shelf.tenant.templates.items())
            for one in versions
        ]
    for name, version, state, template in rows:
        locales = sorted(template.texts)
        row = {"name": name, "version": version, "state": state, "locales": locales}
        _print(_json(row) if json else f"{name} {version}: {state}, {', '.join(locales)}")
    if not rows and not json:
        _print("none")


@app.command
def show(name: str, *, tenant: TenantOption, version: VersionOption = None) -> None:
    """Print a version as YAML, as `templates put` takes it."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        template, state = Shelf(stores).version(name, version)
    _print(f"# {name} version {template.version}: {state}\n{_yaml(template)}".rstrip())


@app.command
def diff(name: str, old: int, new: int, *, tenant: TenantOption) -> None:
    """Show what differs between two versions."""
    from difflib import unified_diff  # noqa: PLC0415 - what --help need not wait for

    from api.segment_stores import opened  # noqa: PLC0415 - as above
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        before, after = (
            _yaml(Shelf(stores).version(name, number)[0]).splitlines() for number in (old, new)
        )
    names = (f"{name} version {old}", f"{name} version {new}")
    for line in unified_diff(before, after, *names, lineterm=""):
        _print(line)


@app.command
def lint(
    name: str,
    *,
    tenant: TenantOption,
    version: VersionOption = None,
    file: FileOption = None,
    json: JsonFlag = False,
) -> None:
    """Check a version as publishing does: variables, sizes, personal data. Errors exit with 1."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_files import line_of  # noqa: PLC0415 - as above
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        shelf = Shelf(stores)
        found = shelf.lint(_chosen(shelf, name, version, file))
    for one in found:
        _print(_json(one._asdict()) if json else line_of(one))
    errors = sum(one.severity == "error" for one in found)
    if errors:
        raise CommandError(f"{name}: {errors} errors")
    if not json:
        _print(f"{name}: no errors")


@app.command
def preview(
    name: str,
    *,
    tenant: TenantOption,
    platform: Annotated[str, Parameter(help="apns, fcm or webpush")],
    user: Annotated[str, Parameter(help="else one made up of the template's examples")] = "",
    locale: Annotated[str, Parameter(help="instead of the user's")] = "",
    variables: Annotated[str, Parameter(help="JSON, over the template's examples")] = "{}",
    version: VersionOption = None,
    file: FileOption = None,
) -> None:
    """Print the request that a user's device would get, as the sink builds it, with its size."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_preview import previewed  # noqa: PLC0415 - as above
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    chosen, given = _platform(platform), _variables(variables)
    with opened(tenant, see=LIST) as stores:
        template = _chosen(Shelf(stores), name, version, file)
        found = previewed(stores, template, chosen, user=user, locale=locale, variables=given)
    _print(_json({"template": name, "version": template.version, **found}, indent=2))
    if problem := found.get("problem"):
        raise CommandError(f"{platform}: it would not be sent: {problem}")


@app.command
def rm(
    name: str,
    *,
    tenant: TenantOption,
    version: Annotated[int | None, Parameter(help="only this version")] = None,
) -> None:
    """Remove a template, or one version that is not in use.

    Messages under way that had it go on with the version in use, or end as unknown_template.
    """
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.template_shelf import Shelf  # noqa: PLC0415 - as above

    with opened(tenant, see=LIST) as stores:
        Shelf(stores).remove(name, version)
    _print(f"{name}{'' if version is None else f' version {version}'}: removed")


def _chosen(shelf: Any, name: str, version: int | None, file: Path | None) -> "Template":
    from api.template_files import read_template  # noqa: PLC0415 - what --help need not wait for

    if file is not None:
        return read_template(file)
    template: Template = shelf.version(name, version)[0]
    return template


def _platform(name: str) -> "Platform":
    from schemas.pipeline import Platform  # noqa: PLC0415 - what --help need not wait for

    try:
        return Platform(name)
    except ValueError:
        raise CommandError(f"platform: no {name!r}, use apns, fcm or webpush") from None


def _variables(text: str) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - what --help need not wait for

    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CommandError(f"variables: give a JSON object: {error}") from error


def _yaml(template: "Template") -> str:
    import yaml  # noqa: PLC0415 - what --help need not wait for

    dumped = template.model_dump(mode="json", exclude_defaults=True, exclude={"version"})
    return yaml.safe_dump(dumped, allow_unicode=True, sort_keys=False, width=1_000)


def _json(value: Any, *, indent: int = 0) -> str:
    import msgspec  # noqa: PLC0415 - what --help need not wait for

    raw = msgspec.json.encode(value)
    return (msgspec.json.format(raw, indent=indent) if indent else raw).decode()


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
