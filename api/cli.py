"""The `clarion` command: its groups are modules api/cli_<group>.py, imported when they are used."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

SUMMARY = "Stream-native notification delivery."

GROUPS = {
    "demo": "See it work: the whole pipeline against simulated providers.",
    "up": "Run everything on this machine.",
    "flows": "Run, list and draw the dataflows.",
    "events": "Send and check events.",
    "dry-run": "Whom would this event reach?",
    "explain": "Why did this user (not) get this message?",
    "campaigns": "Define, start, steer and watch campaigns.",
    "templates": "Write, check and publish templates.",
    "backtest": "What would other rules have done?",
    "dlq": "Look at, replay and drop dead letters.",
    "tokens": "See and end frozen pruning of dead tokens.",
    "registry": "Restore users and devices in Redis.",
    "segments": "Upload, define and count segments.",
    "api": "Serve the HTTP API.",
    "keys": "API keys: make, change, rotate, revoke.",
    "audit": "See who did what through the API.",
    "sandbox": "Run the provider simulators.",
    "clickhouse": "Let analysts read a tenant's rows.",
    "secrets": "Make and rotate the master key.",
    "config": "Check settings and tenants.",
    "schemas": "List and export the wire contracts.",
}
"""Group -> what it is for, so that `--help` need not import it; `app` in api/cli_<group>.py."""

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class CommandError(Exception):
    """A command failed for a reason that its user can read: shown without a traceback, exit 1."""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 30 ms that only --version needs

    try:
        return version("clarion")
    except PackageNotFoundError:
        return "0 (not installed)"


def groups() -> dict[str, str]:
    """Give the groups whose modules there are."""
    return {
        group: purpose
        for group, purpose in GROUPS.items()
        if find_spec(_module_of(group)) is not None
    }


def _module_of(group: str) -> str:
    return f"api.cli_{group.replace('-', '_')}"


def overview() -> str:
    """Say what there is: shown without importing cyclopts, which takes half a second."""
    lines = [f"  {group:9} {purpose}" for group, purpose in groups().items()]
    return "\n".join(
        [
            "Usage: clarion COMMAND",
            "",
            SUMMARY,
            "",
            *lines,
            "",
            "clarion COMMAND --help says more; clarion --version tells the version.",
            "",
        ]
    )


def build() -> "App":
    """Build the command with all groups that there are."""
    from cyclopts import App  # noqa: PLC0415 - slow to import, see overview

    # Help texts are plain: Markdown would double the time to start.
    app = App(name="clarion", help=SUMMARY, version=_version, help_format="plaintext")
    for group, purpose in groups().items():
        app.command(f"{_module_of(group)}:app", name=group, help=purpose)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; give the exit code: 0, 1 failed, 2 wrong usage.

    An error is one line on stderr (or one per fault); CLARION_TRACEBACK=1 shows where it arose.
    """
    if list(arguments) in ([], ["--help"], ["-h"]):
        sys.stdout.write(overview())
        return 0
    from cyclopts import CycloptsError  # noqa: PLC0415 - slow to import, see overview

    try:
        result = build()(
            list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        _say(f"{' '.join(str(error).split())} Try: clarion --help")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; keep the interpreter from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # the last line of defence: people get a sentence
        if os.environ.get("CLARION_TRACEBACK"):
            raise
        _say(str(error) if isinstance(error, CommandError) else _whole(error))
        return FAILED
    return result if isinstance(result, int) else 0


def _whole(error: BaseException) -> str:
    """Name an error and, when another was behind it, that one first: a dataflow's engine wraps."""
    text = f"{type(error).__name__}: {error}"
    if error.__cause__ is None:
        return text
    return f"{_whole(error.__cause__)} (then {text})"


def _say(text: str) -> None:
    sys.stderr.write(f"clarion: {text}\n")


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))
