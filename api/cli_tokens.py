"""`clarion tokens`: apps whose dead tokens are not believed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from state.pruning import Pruning

app = App(name="tokens", help="See and end frozen pruning.", help_format="plaintext")


@app.command
def frozen(
    *,
    json: Annotated[bool, Parameter(help="one JSON object a line, for machines")] = False,
) -> None:
    """List the apps whose dead tokens are not pruned, because too many came at once."""
    from datetime import UTC, datetime  # noqa: PLC0415 - what --help need not wait for

    from msgspec.json import encode  # noqa: PLC0415 - as above
    from msgspec.structs import asdict  # noqa: PLC0415 - as above

    with _pruning() as pruning:
        found = pruning.frozen()
    for one in found:
        if json:
            print(encode(asdict(one)).decode())  # noqa: T201 - a command's output
            continue
        since = datetime.fromtimestamp(one.since_ms / 1_000, UTC).isoformat(timespec="seconds")
        print(  # noqa: T201 - as above
            f"{one.tenant} {one.app} {one.platform}: since {since}, {one.dead} of"
            f" {one.answered} answers called the token dead, the last {one.reason or 'unknown'}"
        )
    if not found and not json:
        print("none")  # noqa: T201 - as above


@app.command
def resume(
    tenant: str,
    app: str,
    *,
    platform: Annotated[str | None, Parameter(help="apns, fcm or webpush; else all three")] = None,
) -> None:
    """Believe an app's dead tokens again, from now on. What was withheld stays withheld."""
    from schemas.pipeline import Platform  # noqa: PLC0415 - what --help need not wait for
    from state.pruning import Credential  # noqa: PLC0415 - as above

    try:
        platforms = [Platform(platform)] if platform else list(Platform)
    except ValueError:
        raise CommandError(f"no platform {platform!r}: use apns, fcm or webpush") from None
    with _pruning() as pruning:
        ended = [one for one in platforms if pruning.resume(Credential(tenant, app, one))]
    if not ended:
        raise CommandError(f"{tenant} {app} is not frozen; see clarion tokens frozen")
    for one in ended:
        print(f"{tenant} {app} {one}: resumed, within a second everywhere")  # noqa: T201 - a command's output


@contextmanager
def _pruning() -> "Iterator[Pruning]":
    """Give the shared state that the settings name. Raises CommandError when it is away."""
    from flows.live_redis import live_redis  # noqa: PLC0415 - what --help need not wait for
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from state.errors import StateError  # noqa: PLC0415 - as above
    from state.pruning import RedisPruning  # noqa: PLC0415 - as above

    try:
        with live_redis(load_settings()) as client:
            yield RedisPruning(client)
    except (BadSettingsError, StateError) as error:
        raise CommandError(str(error)) from error
