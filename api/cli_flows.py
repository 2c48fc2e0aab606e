"""`clarion flows`: run, list and draw the dataflows."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

app = App(name="flows", help="Run, list and draw the dataflows.", help_format="plaintext")

FLOWS = {
    "route": "events to deliveries: who gets what, when and where",
    "deliver": "deliveries to a provider; one process per platform",
    "campaigns": "runs of campaigns to slices of their audiences",
    "timers": "due times to topics: schedules, quiet hours, retries",
    "outcomes": "decisions and feedback to ClickHouse, exactly once",
    "registry": "registrations to profiles in Redis",
}


@app.command
def run(
    name: str,
    *,
    platform: Annotated[str | None, Parameter(help="apns, fcm or webpush; for deliver")] = None,
) -> None:
    """Run one flow in this process until SIGTERM; settings come from the environment."""
    from flows.config import ConfigError  # noqa: PLC0415 - half a second that --help need not wait
    from flows.insecure import InsecureError, check_secure  # noqa: PLC0415 - as above
    from flows.run import run_flow  # noqa: PLC0415 - as above
    from schemas.pipeline import Platform  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above

    try:
        settings = load_settings()
        check_secure(settings)
        run_flow(settings, name, Platform(platform) if platform else None)
    except (BadSettingsError, ConfigError, InsecureError, ValueError) as error:
        raise CommandError(str(error)) from error


@app.command
def ls() -> None:
    """List the flows."""
    for name, purpose in FLOWS.items():
        print(f"{name:10} {purpose}")  # noqa: T201 - a command's output


@app.command
def draw(directory: Path) -> None:
    """Write a Mermaid diagram of every flow into a directory."""
    from flows.diagrams import draw_all  # noqa: PLC0415 - imports every flow

    for path in draw_all(directory):
        print(path)  # noqa: T201 - a command's output


@app.command
def topics(
    *,
    partitions: Annotated[int, Parameter(help="of the topics that carry events")] = 12,
    replicas: int = 3,
) -> None:
    """Create the topics that are missing, and the ClickHouse tables."""
    from flows.insecure import InsecureError, check_secure  # noqa: PLC0415 - as below
    from flows.setup import prepare_stores  # noqa: PLC0415 - imports all clients
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above

    try:
        settings = load_settings()
        check_secure(settings)
        for line in prepare_stores(settings, partitions=partitions, replicas=replicas):
            print(line)  # noqa: T201 - a command's output
    except (BadSettingsError, InsecureError) as error:
        raise CommandError(str(error)) from error
