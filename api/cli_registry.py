"""`clarion registry`: what is known about users and devices."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from flows.rebuild import Progress

app = App(name="registry", help="Restore users and devices.", help_format="plaintext")

SAY_EVERY_S = 1.0


@app.command
def rebuild(
    *,
    json: Annotated[bool, Parameter(help="one JSON object a line, for machines")] = False,
) -> None:
    """Restore profiles, segments and token owners in Redis from the registry's topics.

    For a Redis that was emptied. Everything may keep running, and the command may be run again at
    any time: after it was stopped half-way, and also when nothing was lost.
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - what --help need not wait for

    from flows import rebuild as flow  # noqa: PLC0415 - as above
    from flows.config import ConfigError  # noqa: PLC0415 - as above
    from flows.registry_log import StalledError  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from state.errors import StateError  # noqa: PLC0415 - as above

    last: Progress | None = None
    said_at = time.monotonic()
    try:
        for last in flow.rebuild(load_settings()):
            if time.monotonic() - said_at >= SAY_EVERY_S:
                said_at = time.monotonic()
                _say(last, as_json=json, is_done=False)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    except (KafkaException, StateError, StalledError) as error:
        raise CommandError(f"{error}\nnot finished: run it again, from the beginning") from error
    if last is not None:
        _say(last, as_json=json, is_done=True)


def _say(progress: "Progress", *, as_json: bool, is_done: bool) -> None:
    if as_json:
        from msgspec.json import encode  # noqa: PLC0415 - what --help need not wait for

        line = encode(
            {
                **progress._asdict(),
                "elapsed_s": round(progress.elapsed_s, 3),
                "records_per_s": round(progress.records_per_s),
                "eta_s": round(progress.eta_s, 1),
                "is_done": is_done,
            }
        ).decode()
    elif is_done:
        line = (
            f"done: {progress.records} records in {progress.elapsed_s:.1f} s"
            f" ({progress.records_per_s:.0f}/s), {progress.unreadable} unreadable"
        )
    else:
        share = progress.done / progress.total if progress.total else 1.0
        line = (
            f"{progress.phase}: {share:.0%}, {progress.records} records,"
            f" {progress.records_per_s:.0f}/s, {progress.eta_s:.0f} s left"
        )
    print(line)  # noqa: T201 - a command's output
    sys.stdout.flush()
