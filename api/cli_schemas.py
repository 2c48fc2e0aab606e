"""`clarion schemas`: the published wire contracts."""

from pathlib import Path

from cyclopts import App

from api.cli import CommandError
from schemas.export import PUBLISHED, documents, path_of

app = App(name="schemas", help="List and export the wire contracts.")

DIRECTORY = Path("schemas")


@app.command(name="ls")
def list_schemas(*, directory: Path = DIRECTORY) -> None:
    """List the published messages, with how many examples each has.

    Parameters
    ----------
    directory: Path
        Where the schemas are.

    """
    for version, message in PUBLISHED:
        examples = list((directory / f"v{version}" / "examples" / message).glob("*.json"))
        print(f"{directory / path_of(version, message)}  {len(examples)} examples")  # noqa: T201 - a command's output


@app.command
def export(*, directory: Path = DIRECTORY, check: bool = False) -> None:
    """Write the JSON Schema of every published message.

    Parameters
    ----------
    directory: Path
        Where to write them.
    check: bool
        Write nothing; fail when a file is not what would be written.

    """
    stale = write_texts({directory / path: text for path, text in documents().items()}, check=check)
    if check and stale:
        raise CommandError(
            f"out of date: {', '.join(map(str, stale))}; run: clarion schemas export"
        )
    print(f"{len(PUBLISHED)} schemas, {len(stale)} {'written' if stale else 'changed'}")  # noqa: T201 - a command's output


def write_texts(texts: dict[Path, str], *, check: bool) -> list[Path]:
    """Write the files that differ, or only find them. Gives their paths."""
    stale: list[Path] = []
    for path, text in texts.items():
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return stale
