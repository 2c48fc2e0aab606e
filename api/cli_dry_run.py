"""`clarion dry-run`: whom an event would reach, and why not the others."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from flows.rehearsal import Reach
    from schemas.events import Event

app = App(
    name="dry-run", help="Whom would this event reach? Sends nothing.", help_format="plaintext"
)

SAY_EVERY_S = 1.0


@app.default
def dry_run(
    file: Annotated[Path, Parameter(help="one event as JSON; - for standard input")],
    /,
    *,
    users_limit: Annotated[int, Parameter(help="stop after so many users; 0 looks at all")] = 0,
    json: Annotated[bool, Parameter(help="one JSON object, for machines")] = False,
) -> int:
    """Run an event through route's rules on live state. Nothing is sent, counted or kept.

    An event whose send_at lies ahead is asked about for that time. Exit code 1 when it reaches
    nobody.
    """
    import time  # noqa: PLC0415 - what --help need not wait for

    from flows.clock import business_clock  # noqa: PLC0415 - as above
    from flows.compose_rehearsal import live_rehearsal  # noqa: PLC0415 - as above
    from flows.config import ConfigError  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from state.errors import StateError  # noqa: PLC0415 - as above

    if users_limit < 0:
        raise CommandError(f"--users-limit {users_limit}: give 0 for all, or a number above it")
    event = _event(file)
    reach: Reach | None = None
    said_at = time.monotonic()
    try:
        settings = load_settings()
        now_ms = business_clock(settings.clock)()
        with live_rehearsal(settings) as rehearsal:
            for reach in rehearsal.run(event, now_ms, users_limit=users_limit):
                if time.monotonic() - said_at >= SAY_EVERY_S:
                    said_at = time.monotonic()
                    _progress(reach)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    except StateError as error:
        raise CommandError(f"Redis: {error}") from error
    if reach is None:
        raise CommandError(f"{file}: nothing came of it")
    if json:
        from msgspec.json import encode  # noqa: PLC0415 - what --help need not wait for

        print(encode(reach).decode())  # noqa: T201 - a command's output
    else:
        from api.dry_run_text import lines  # noqa: PLC0415 - as above

        for line in lines(reach):
            print(line)  # noqa: T201 - as above
    return 0 if reach.reached or any(one.status == "deferred" for one in reach.decided) else 1


def _event(file: Path) -> "Event":
    from schemas.events import MAX_EVENT_BYTES, BadEventError, decode_event  # noqa: PLC0415 - what --help need not wait for

    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(MAX_EVENT_BYTES + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(MAX_EVENT_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    try:
        return decode_event(raw, id_required=False)
    except BadEventError as error:
        raise CommandError(f"{file}: {error}") from error


def _progress(reach: "Reach") -> None:
    sys.stderr.write(
        f"{reach.users:,} users looked at, {reach.parts_done:,} parts of"
        f" {reach.parts_known:,} known\n"
    )
    sys.stderr.flush()
