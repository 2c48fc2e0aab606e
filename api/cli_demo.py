"""`clarion demo`: the main job on the embedded stack."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

app = App(name="demo", help="See it work on a year of real flights.", help_format="plaintext")


@app.default
def demo(
    *,
    flights: Annotated[str, Parameter(help="how many of the 336,776 flights of 2013, or all")] = (
        "2500"
    ),
    users: Annotated[int, Parameter(help="passengers with devices")] = 6_000,
    seed: int = 2013,
    json: Annotated[bool, Parameter(help="print one JSON object, last on stdout")] = False,
    dir: Annotated[Path | None, Parameter(help="keep data and logs here")] = None,  # noqa: A002 - the option is called --dir
) -> int:
    """Replay flights through the whole pipeline and count what came out.

    Exit code 1 when an identity fails: every event has a terminal outcome, and what ClickHouse
    counts as sent is what the simulators count as accepted.
    """
    plan: dict[str, Any] = {"users": users, "seed": seed, "flights": None}
    if flights != "all":
        if not flights.isdigit() or int(flights) < 1:
            raise CommandError(f"--flights {flights}: give a number, or all")
        plan["flights"] = int(flights)
    from sandbox.demo import DemoError, Plan, run  # noqa: PLC0415 - a second that --help need not wait
    from sandbox.processes import StartError  # noqa: PLC0415 - as above

    try:
        return run(Plan(**plan), as_json=json, directory=dir)
    except (DemoError, StartError) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
