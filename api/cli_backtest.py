"""`clarion backtest`: what other rules would have sent and suppressed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from api.cli import CommandError
from api.times import time_ms

if TYPE_CHECKING:
    from flows.backtest_run import Compared

app = App(
    name="backtest",
    help="What would other rules have done? Sends nothing.",
    help_format="plaintext",
)

SAY_EVERY_S = 1.0
MOST_EVENTS = 10_000_000


@app.default
def backtest(
    *,
    policy: Annotated[Path, Parameter(help="the tenant's YAML file with the rules to try")],
    since: Annotated[str, Parameter(name="--from", help="7d (ago), or 2026-02-02T08:00:00Z")],
    until: Annotated[str, Parameter(name="--to", help="as --from; now when not given")] = "",
    today: Annotated[bool, Parameter(help="also run the rules of now, to compare with")] = False,
    limit: Annotated[int, Parameter(help="read so many events at most, the oldest")] = 200_000,
    json: Annotated[bool, Parameter(help="one JSON object, for machines")] = False,
) -> None:
    """Run recorded events through other rules and compare with what was decided then.

    Per category and reason: what was, what would be, and the difference. Kafka keeps events for a
    week. Exit code 1 when there is none in that time.
    """
    if not 1 <= limit <= MOST_EVENTS:
        raise CommandError(f"--limit {limit}: give a number from 1 to {MOST_EVENTS}")
    with _readable_errors():
        from flows.clock import business_clock, wall_time  # noqa: PLC0415 - what --help need not wait for
        from flows.compose_backtest import live_backtest, read_policy  # noqa: PLC0415 - as above
        from schemas.settings import load_settings  # noqa: PLC0415 - as above

        settings = load_settings()
        now_ms = business_clock(settings.clock)()
        from_ms = time_ms("--from", since, now_ms)
        to_ms = time_ms("--to", until, now_ms) or now_ms
        _check_period(from_ms, to_ms, now_ms)
        rules, current = read_policy(settings, policy)
        wall_ms = wall_time(settings.clock)
        told: Compared | None = None
        said_at = time.monotonic()
        with live_backtest(
            settings, rules, current if today else None, from_ms, limit=limit
        ) as test:
            for told in test.run(wall_ms(from_ms), wall_ms(to_ms)):
                if time.monotonic() - said_at >= SAY_EVERY_S:
                    said_at = time.monotonic()
                    _progress(told)
    if told is None or not told.events:
        raise CommandError(
            f"no event of {rules.name} in that time: Kafka keeps events for a week;"
            " check --from, --to and the policy's name"
        )
    if json:
        from msgspec.json import encode  # noqa: PLC0415 - what --help need not wait for

        print(encode(told).decode())  # noqa: T201 - a command's output
        return
    from api.backtest_text import lines  # noqa: PLC0415 - as above

    for line in lines(told):
        print(line)  # noqa: T201 - as above


def _check_period(from_ms: int, to_ms: int, now_ms: int) -> None:
    if not from_ms:
        raise CommandError("--from: must not be empty, write 7d or 2026-02-02T08:00:00Z")
    if from_ms >= to_ms:
        raise CommandError("--to: must be later than --from")
    if from_ms > now_ms:
        raise CommandError("--from: lies ahead, and only what has been can be run again")


def _progress(told: "Compared") -> None:
    sys.stderr.write(f"{told.events:,} events, {told.events_per_s:,.0f}/s\n")
    sys.stderr.flush()


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Give errors that are no defects as sentences."""
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415 - what --help need not wait for
    from confluent_kafka import KafkaException  # noqa: PLC0415 - as above

    from flows.config import ConfigError  # noqa: PLC0415 - as above
    from flows.registry_log import StalledError  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError  # noqa: PLC0415 - as above
    from state.errors import StateError  # noqa: PLC0415 - as above

    try:
        yield
    except (BadSettingsError, ConfigError, StalledError) as error:
        raise CommandError(str(error)) from error
    except KafkaException as error:
        raise CommandError(f"Kafka: {error.args[0]}") from error
    except StateError as error:
        raise CommandError(f"Redis: {error}") from error
    except (ClickHouseError, OSError) as error:
        raise CommandError(f"ClickHouse: {error}") from error
