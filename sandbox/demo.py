"""The demo: real flights in, pushes out on three simulated platforms, every decision counted."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.checkpoint import produce
from flows.clock import wall_ms
from flows.compose_stores import clickhouse_of
from sandbox import demo_campaign, demo_counts, demo_report
from sandbox.demo_tenant import sandbox_tenant
from sandbox.flights import Flight, airports, destination_counts, load_flights
from sandbox.passengers import Population
from sandbox.replay import Replay, events
from sandbox.stack import NOT_DURABLE, Stack
from schemas.pipeline import Platform
from schemas.settings import ClockSettings
from schemas.stream import Record
from sinks.clickhouse import connect

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
FLIGHTS_A_DAY = 842  # at least; the first days of 2013
SECONDS_A_DAY = 9.0  # of wall time for a day of flights
LEAD_S = 10.0  # for the flows to start, while passengers register
SLOT_S = 2.0  # of wall time in a slot of the timer wheel
DRAIN_TIMEOUT_S = 120.0
REGISTER_TIMEOUT_S = 300.0
STEADY_S = 1.0
CAMPAIGN_RUNS = 1  # a run of a campaign is one message among the events
BATCH = 500
IN_FLIGHT = 64


class DemoError(RuntimeError):
    """The demo could not run to its end; the message says which part failed."""


class Plan(NamedTuple):
    """How large the demo is. flights: None for the whole year."""

    flights: int | None = 2_500
    users: int = 6_000
    seed: int = 2013
    sales_per_day: int = 10
    passengers_per_flight: float = 3.0


def run(plan: Plan, *, as_json: bool, directory: Path | None = None) -> int:
    """Run the demo; give the exit code: 0 when all identities hold, else 1."""
    console = Console(
        file=sys.stderr if as_json else sys.stdout, width=None if sys.stdout.isatty() else 120
    )
    with _directory(directory) as where:
        result = Demo(plan, where, console).run()
    demo_report.show_explained(console, *result["explained"])
    if as_json:
        sys.stdout.write(json.dumps(demo_report.machine(result), indent=1) + "\n")
    else:
        demo_report.show(console, result)
    return 0 if result["identity_ok"] else 1


class Demo:
    """One run. Raises StartError or DemoError, with the stack ended."""

    def __init__(self, plan: Plan, directory: Path, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._directory = directory
        self._bars = Progress(
            TextColumn("{task.description:24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def run(self) -> dict[str, Any]:
        """Run all stages and give the figures."""
        with self._bars:
            flights = self._load()
            stack = Stack(self._directory, sandbox_tenant)
            try:
                return self._run(stack, flights)
            finally:
                stack.stop()

    def _load(self) -> list[Flight]:
        bar = self._bars.add_task("Load flights", total=None)
        wanted = self._plan.flights
        days = None if wanted is None else -(-wanted // FLIGHTS_A_DAY) + 1
        flights = load_flights(days=days)[:wanted]
        self._bars.update(bar, total=len(flights), completed=len(flights))
        return flights

    def _run(self, stack: Stack, flights: list[Flight]) -> dict[str, Any]:
        bar = self._bars.add_task("Start the stack", total=3)
        self._console.print(NOT_DURABLE, style="dim")
        shift_ms = shift_of(flights)
        first_ms = flights[0].scheduled_at_ms + shift_ms - HOUR_MS
        speed = DAY_MS / (SECONDS_A_DAY * 1_000)
        clock = ClockSettings(
            origin_ms=first_ms, wall_origin_ms=wall_ms() + int(LEAD_S * 1_000) + 5_000, speed=speed
        )
        stack.options = {
            "clock": clock,
            "timers": {"slots": 64, "slot_s": SLOT_S * speed},
            # The simulators share this machine: a longer line in front of them is only latency.
            "flow": {"in_flight": IN_FLIGHT},
        }
        settings = stack.start_stores()
        self._bars.advance(bar)
        population = self._population(stack, flights)
        producer = Producer({**settings.kafka.client_options(), "linger.ms": 5})
        stack.launch_flows()
        self._bars.advance(bar)
        client = connect(clickhouse_of(settings))
        watch = demo_campaign.Watch(settings)
        try:
            self._register(stack, producer, client, population, first_ms - DAY_MS)
            stack.await_flows()
            self._bars.advance(bar)
            produce(producer, demo_campaign.records(first_ms + HOUR_MS))
            replay = events(
                flights,
                population,
                shift_ms=shift_ms,
                seed=self._plan.seed,
                passengers_per_flight=self._plan.passengers_per_flight,
                sales_per_day=self._plan.sales_per_day,
            )
            started = time.monotonic()
            self._replay(stack, producer, replay, clock, flights[-1].scheduled_at_ms + shift_ms)
            self._drain(stack, client, replay, watch)
            took_s = time.monotonic() - started
            result = self._count(stack, client, replay, took_s)
            return {**result, "campaign": watch.figures()}
        finally:
            watch.close()
            client.close()

    def _population(self, stack: Stack, flights: list[Flight]) -> Population:
        if stack.keys is None:
            raise RuntimeError("the stores are started by now")
        return Population(
            seed=self._plan.seed,
            users=self._plan.users,
            airports=airports(),
            destinations=destination_counts(flights),
            webpush_origin=f"https://127.0.0.1:{stack.simulator_ports[Platform.WEBPUSH]}",
            vapid_public_key=stack.keys.vapid_public_key,
        )

    def _register(
        self,
        stack: Stack,
        producer: Producer,
        client: Client,
        population: Population,
        at_ms: int,
    ) -> None:
        """Put all registrations on their topics and wait until the registry has them."""
        bar = self._bars.add_task("Register passengers", total=self._plan.users)
        batch: list[Record] = []
        for record in population.registrations(at_ms):
            batch.append(record)
            if len(batch) >= BATCH:
                produce(producer, batch)
                batch = []
        produce(producer, batch)
        _flush(producer)
        deadline = time.monotonic() + REGISTER_TIMEOUT_S
        done = 0
        while done < self._plan.users:
            self._check(stack, deadline, "the registry did not take all passengers in time")
            time.sleep(0.2)
            done = client.query("SELECT uniqExact(user_id) FROM users").result_rows[0][0]
            self._bars.update(bar, completed=done)

    def _replay(
        self,
        stack: Stack,
        producer: Producer,
        replay: Replay,
        clock: ClockSettings,
        last_ms: int,
    ) -> None:
        """Produce each event when the sandbox's clock shows its time."""
        hours = max(1, (last_ms - clock.origin_ms) // 3_600_000)
        bar = self._bars.add_task("Replay (hours of flights)", total=hours)
        batch: list[Record] = []
        for at_ms, record in replay:
            while (now_ms := clock.at(wall_ms())) < at_ms:
                produce(producer, batch)
                batch = []
                self._check(stack, None, "")
                self._bars.update(
                    bar, completed=min(hours, (now_ms - clock.origin_ms) // 3_600_000)
                )
                time.sleep(min(0.02, (at_ms - now_ms) / clock.speed / 1_000))
            batch.append(record)
            if len(batch) >= BATCH:
                produce(producer, batch)
                batch = []
        produce(producer, batch)
        _flush(producer)
        self._bars.update(bar, completed=hours)

    def _drain(
        self, stack: Stack, client: Client, replay: Replay, watch: demo_campaign.Watch
    ) -> None:
        """Wait until every event is over, nothing is held and the rows stand still."""
        events_in = replay.counts.records + CAMPAIGN_RUNS
        bar = self._bars.add_task("Drain (events over)", total=events_in)
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        last, steady_since = demo_counts.Progress(0, 0, 0), time.monotonic()
        while time.monotonic() < deadline:
            self._check(stack, None, "")
            now = demo_counts.progress(client)
            self._bars.update(bar, completed=min(events_in, now.events_over))
            if now != last:
                last, steady_since = now, time.monotonic()
            over = now.events_over >= events_in and not now.still_held and watch.is_over()
            if over and time.monotonic() - steady_since >= STEADY_S and not stack.lag():
                return
            time.sleep(0.25)
        self._console.print(f"Not drained after {DRAIN_TIMEOUT_S:.0f} s: {last}", style="red")

    def _count(self, stack: Stack, client: Client, replay: Replay, took_s: float) -> dict[str, Any]:
        result = demo_counts.figures(client)
        result["events_in"] = replay.counts.records + CAMPAIGN_RUNS
        result["provider_accepted"] = {p.value: stack.stats(p)["accepted"] for p in Platform}
        result["identities"] = {
            "every event has a terminal outcome": (
                result["events_in"],
                result["events_terminal"],
            ),
            "every outcome is there once": (result["outcome_rows"], result["outcome_ids"]),
            **{
                f"{p}: sent by ClickHouse's count, accepted by the provider's": (
                    result["sent"][p],
                    result["provider_accepted"][p],
                )
                for p in Platform
            },
        }
        result["identity_ok"] = all(a == b for a, b in result["identities"].values())
        result["events_per_s"] = round(result["events_in"] / took_s, 1)
        result["deliveries_per_s"] = round(sum(result["deliveries"].values()) / took_s, 1)
        result["seconds"] = round(took_s, 1)
        result["queries"] = {
            title: (sql.strip(), client.query(sql)) for title, sql in demo_counts.SHOWN.items()
        }
        result["explained"] = _explained(stack, client)
        return result

    @staticmethod
    def _check(stack: Stack, deadline: float | None, late: str) -> None:
        failed = stack.failed()
        if failed:
            raise DemoError(failed)
        if deadline is not None and time.monotonic() > deadline:
            raise DemoError(late)


def _explained(stack: Stack, client: Client) -> tuple[str, str]:
    """Ask why one message came when it did; give the command and its answer, or nothing twice."""
    found = client.query(demo_counts.TO_EXPLAIN).result_rows
    if not found:
        return "", ""
    message_id, user_id = found[0]
    words = ("explain", "--message", message_id, "--user", user_id)
    return " ".join(("clarion", *words)), stack.ask(*words)


def shift_of(flights: list[Flight]) -> int:
    """How far to shift 2013, in whole weeks, so that the last flight left just before now."""
    ahead_ms = wall_ms() - flights[-1].scheduled_at_ms - DAY_MS
    return ahead_ms // WEEK_MS * WEEK_MS


def _flush(producer: Producer) -> None:
    left = producer.flush(30)
    if left:
        raise DemoError(f"the broker did not take {left} records")


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="clarion-demo-", ignore_cleanup_errors=True) as made:
        yield Path(made)
