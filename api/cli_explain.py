"""`clarion explain`: why somebody did or did not get a message."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from api.explained import Explained
    from schemas.settings import Settings
    from state.profiles import Profile

app = App(name="explain", help="Why did this user (not) get it?", help_format="plaintext")


@app.default
def explain(
    *,
    message: Annotated[str, Parameter(help="the event's id")] = "",
    user: Annotated[str, Parameter(help="of its users this one, with all devices")] = "",
    tenant: Annotated[str | None, Parameter(help="needed when several have this id")] = None,
    event: Annotated[
        str, Parameter(help="instead: an event's file, id, or place such as events.high/0/12")
    ] = "",
    json: Annotated[bool, Parameter(help="one JSON object, for machines")] = False,
) -> int:
    """Print the chain of decisions: rule, the state it saw, the provider's answer, times.

    Exit code 1 when nothing is known; then it says what may be the cause.
    """
    if bool(message) == bool(event):
        raise CommandError("give either --message or --event")
    if user and event:
        raise CommandError("--user: goes with --message; --event is about the event as a whole")
    if tenant == "":
        raise CommandError("--tenant: must not be empty, leave it out to search all")
    found = _explained(message or event, user, tenant, is_event=bool(event))
    if json:
        from msgspec.json import encode  # noqa: PLC0415 - what --help need not wait for

        print(encode(found).decode())  # noqa: T201 - a command's output
    else:
        from api.explain_text import lines  # noqa: PLC0415 - as above

        for line in lines(found):
            print(line)  # noqa: T201 - as above
    return 0 if found.steps or found.groups else 1


def _explained(asked: str, user: str, tenant: str | None, *, is_event: bool) -> "Explained":
    from api import explain as service  # noqa: PLC0415 - what --help need not wait for
    from flows.clock import business_clock  # noqa: PLC0415 - as above
    from flows.event_lookup import read_record  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from sinks.outcome_history import OutcomeHistory  # noqa: PLC0415 - as above

    try:
        settings = load_settings()
    except BadSettingsError as error:
        raise CommandError(str(error)) from error
    event_at = partial(read_record, {**settings.kafka.client_options(), "log_level": 0})
    with _clickhouse(settings) as client:
        outcomes, now_ms = OutcomeHistory(client), business_clock(settings.clock)()
        if is_event and (raw := _content(asked)) is not None:
            return service.explain_event(outcomes, raw, now_ms=now_ms, event_at=event_at)
        at = service.source_in(asked) if is_event else None
        # What could not be read has its coordinates for an id.
        if at is not None and not outcomes.tenants(asked):
            record = event_at(at)
            if record is None:
                raise CommandError(f"--event {asked}: there is no such record (any more)")
            return service.explain_event(outcomes, record, now_ms=now_ms, event_at=event_at)
        try:
            return service.explain(
                outcomes,
                asked,
                now_ms=now_ms,
                tenant=tenant,
                user_id=user,
                profile_of=partial(_profile, settings),
                event_at=event_at,
            )
        except service.AmbiguousError as error:
            raise CommandError(f"{error} with --tenant") from error


def _content(asked: str) -> bytes | None:
    """Give a file's bytes; None when it is none, so that it is an id."""
    path = Path(asked)
    try:
        if path.is_file():
            return path.read_bytes()
    except (OSError, ValueError) as error:
        raise CommandError(f"--event {asked}: {error}") from error
    if asked.endswith(".json"):
        raise CommandError(f"--event {asked}: there is no such file")
    return None


def _profile(settings: "Settings", tenant: str, user_id: str) -> "Profile | None":
    """Read a profile as it is now; None where there is none. Raises NoProfileError."""
    from api.explain import NoProfileError  # noqa: PLC0415 - what --help need not wait for
    from flows.config import ConfigError, load_tenants  # noqa: PLC0415 - as above
    from flows.live_redis import live_redis  # noqa: PLC0415 - as above
    from state.errors import StateError  # noqa: PLC0415 - as above
    from state.profiles import RedisProfiles  # noqa: PLC0415 - as above

    try:
        known = load_tenants(settings.tenants_dir).get(tenant)
        if known is None:
            raise NoProfileError(f"tenant {tenant} is not configured here")
        with live_redis(settings) as client:
            return RedisProfiles(client).get_many(tenant, known.shards, [user_id])[0]
    except (ConfigError, StateError) as error:
        raise NoProfileError(str(error)) from error


@contextmanager
def _clickhouse(settings: "Settings") -> "Iterator[Client]":
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415 - what --help need not wait for
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above

    from flows.compose_stores import clickhouse_of  # noqa: PLC0415 - as above
    from sinks.clickhouse import connect  # noqa: PLC0415 - as above

    client: Any = None
    try:
        client = connect(clickhouse_of(settings))
        yield client
    except (ClickHouseError, HTTPError, OSError) as error:
        raise CommandError(f"ClickHouse at {settings.clickhouse.url}: {error}") from error
    finally:
        if client is not None:
            client.close()
