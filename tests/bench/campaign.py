"""A campaign from start to finish on the whole stack: how long, how steady, and was it foreseen.

    python -m tests.bench.campaign --users 1000000

All flows, the embedded stores and the simulated providers share the machine. A first campaign to a
tenth of the users is what the estimate of the real one learns its speed from.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import psutil
from clickhouse_connect.driver.client import Client
from rich.console import Console

from api.campaigns import Campaigns, Estimate
from api.publishing import DefinitionWriter, Publisher
from flows.compose_stores import clickhouse_of
from flows.config import load_tenants
from operators.registration import decode_registrations, with_change
from sandbox.demo_tenant import sandbox_tenant
from sandbox.flights import airports
from sandbox.passengers import TENANT, Population
from sandbox.stack import Stack
from schemas.campaigns import Phase
from schemas.pipeline import Platform
from schemas.settings import Settings
from schemas.stream import Source
from sinks.campaign_figures import CampaignFigures
from sinks.clickhouse import connect
from state.definitions import RedisDefinitions
from state.profiles import Change, Profile, RedisProfiles
from state.progress import RedisProgress
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import EVERYONE
from tests.bench import machine
from tests.bench.result import BenchError
from tests.bench.stand import settings_of
from tests.unit.operators.builders import FakeMessage

SHARDS = 16
PER_BATCH = 5_000
LOOK_S = 5.0
LONGEST_S = 3_600.0
FIRST, SECOND = "a-tenth", "everyone"
TENTH = "tenth"


@dataclass
class Figures:
    """What was measured. rss_mb: the largest in the first half and in the second, by part."""

    users: int = 0
    devices: int = 0
    register_s: float = 0.0
    estimate_s: float = 0.0
    took_s: float = 0.0
    off_percent: float = 0.0
    users_per_s: float = 0.0
    deliveries_per_s: float = 0.0
    decided_users: int = 0
    doubled: int = 0
    rss_mb: dict[str, list[float]] = field(default_factory=dict)


def _profiles(population: Population, at_ms: int) -> Iterator[tuple[str, Profile]]:
    """Give every user's profile, made as the registry makes it."""
    records = population.records(registered_at_ms=at_ms)
    for user in population:
        messages: list[Any] = [
            FakeMessage(one.value, Source(one.topic, 0, 0), one.key, at_ms)
            for one in records.of(user)
        ]
        changes, _ = decode_registrations(messages, at_ms)
        profile: Profile | None = None
        for change in changes:
            profile = with_change(profile, change)
        if profile is not None:
            yield user.user_id, profile


def register(client: RedisClient, population: Population, at_ms: int) -> int:
    """Put all users into the shared state, a tenth into a segment; give how many devices."""
    profiles, segments = RedisProfiles(client), RedisSegments(client)
    left, devices, count = _profiles(population, at_ms), 0, 0
    while part := dict(islice(left, PER_BATCH)):
        devices += sum(len(profile.devices) for profile in part.values())
        count += len(part)
        changes: Mapping[str, Change] = {u: _becoming(p) for u, p in part.items()}
        profiles.update_many(TENANT, SHARDS, changes)
        segments.add(TENANT, SHARDS, EVERYONE, list(part))
        segments.add(TENANT, SHARDS, TENTH, [*part][: len(part) // 10])
    return devices


def _becoming(made: Profile) -> Change:
    return lambda _stored: made


class Bench:
    """The stack with its users."""

    def __init__(self, stack: Stack, population: Population, log: Console) -> None:
        settings: Settings = settings_of(stack)
        self._stack, self._log = stack, log
        self.client = RedisClient(settings.redis.url, timeout_s=60.0)
        self._clickhouse: Client = connect(clickhouse_of(settings))
        self._progress = RedisProgress(self.client)
        self._figures = CampaignFigures(lambda: connect(clickhouse_of(settings)))
        definitions = RedisDefinitions(self.client)
        publisher = Publisher(settings.kafka.client_options())
        self.campaigns = Campaigns(
            _tenant(settings),
            definitions=definitions,
            segments=RedisSegments(self.client),
            profiles=RedisProfiles(self.client),
            progress=self._progress,
            publisher=publisher,
            writer=DefinitionWriter(publisher, definitions),
        )
        self.population = population
        self.rss_mb: defaultdict[str, list[float]] = defaultdict(list)
        self._pause = Event()

    def define(self, name: str, audience: Mapping[str, Any]) -> None:
        """Define a campaign with words of its own in two languages."""
        content = {
            "title": "Up to 40 % off",
            "body": "Fly where you always wanted to.",
            "locales": {"de": {"title": "Bis zu 40 % günstiger", "body": "Jetzt abheben."}},
        }
        message = {"type": "sale", "category": "transactional", "audience": dict(audience),
                   "content": content}  # fmt: skip
        self.campaigns.put({"id": name, "message": message})

    def estimate(self, name: str) -> Estimate:
        """Estimate a campaign."""
        return self.campaigns.estimate(self.campaigns.get(name)[0], self._figures)

    def run(self, name: str) -> float:
        """Start a campaign and wait until its last outcome is there; give the seconds."""
        started = time.monotonic()
        self.campaigns.start(name)
        last, last_at = -1, started
        while True:
            self._pause.wait(LOOK_S)
            if failed := self._stack.failed():
                raise BenchError(failed)
            self._note_memory()
            outcomes = self._count(name)
            now = time.monotonic()
            if outcomes != last:
                last, last_at = outcomes, now
            run = self._progress.runs(TENANT, name)[0]
            self._log.print(f"{now - started:6.0f} s  {run.phase}  {outcomes} outcomes")
            if run.phase is Phase.FINISHED and now - last_at > 3 * LOOK_S:
                return self._lasted(name)
            if now - started > LONGEST_S:
                raise BenchError(f"not over after {LONGEST_S:.0f} s")

    def users(self, name: str) -> tuple[int, int, int]:
        """Give users with an end, deliveries sent, and deliveries with more than one end."""
        ends = "status IN ('sent', 'failed', 'rejected', 'suppressed', 'expired', 'unknown')"
        query = f"""
            SELECT uniqExactIf(user_id, {ends}), countIf(status = 'sent'),
                   count() - uniqExact(outcome_id)
                   + countIf({ends} AND delivery_id != '')
                   - uniqExactIf(delivery_id, {ends} AND delivery_id != '')
            FROM outcomes WHERE campaign_id = '{name}'
        """  # noqa: S608 - names of this file
        users, sent, doubled = self._clickhouse.query(query).result_rows[0]
        return users, sent, doubled

    def close(self) -> None:
        """Close all clients."""
        self._figures.close()
        self._clickhouse.close()
        self.client.close()

    def _count(self, name: str) -> int:
        query = f"SELECT count() FROM outcomes WHERE campaign_id = '{name}'"  # noqa: S608 - as above
        found: int = self._clickhouse.query(query).result_rows[0][0]
        return found

    def _lasted(self, name: str) -> float:
        query = f"""
            SELECT dateDiff('millisecond', min(occurred_at), max(occurred_at)) / 1000
            FROM outcomes WHERE campaign_id = '{name}' AND status != 'opened'
        """  # noqa: S608 - as above
        found: float = self._clickhouse.query(query).result_rows[0][0]
        return found

    def _note_memory(self) -> None:
        for child in psutil.Process().children(recursive=True):
            try:
                part = _part_of(child.cmdline())
                rss_mb = child.memory_info().rss / 2**20
            except psutil.NoSuchProcess:
                continue
            if part:
                self.rss_mb[part].append(round(rss_mb, 1))


def _part_of(command: list[str]) -> str:
    """Name a flow's process, "" for others."""
    if "run" not in command:
        return ""
    words = command[command.index("run") + 1 :]
    return "-".join(word.removeprefix("--platform=").removeprefix("--platform") for word in words)


def _tenant(settings: Settings) -> Any:
    return load_tenants(settings.tenants_dir)[TENANT]


def measure(users: int, log: Console) -> Figures:
    """Do it all once."""
    known = airports()
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory:
        stack = Stack(Path(directory), lambda keys: {**sandbox_tenant(keys), "shards": SHARDS})
        try:
            stack.start_stores()
            keys = stack.keys
            if keys is None:
                raise BenchError("the stores are started by now")
            population = Population(
                seed=1,
                users=users,
                airports=known,
                destinations=dict.fromkeys(["BOS", "LAX", "ORD", "MIA"], 1.0),
                webpush_origin=f"https://127.0.0.1:{stack.simulator_ports[Platform.WEBPUSH]}",
                vapid_public_key=keys.vapid_public_key,
            )
            stack.launch_flows()
            stack.await_flows()
            bench = Bench(stack, population, log)
            try:
                return _measure(bench, users)
            finally:
                bench.close()
        finally:
            stack.stop()


def _measure(bench: Bench, users: int) -> Figures:
    found = Figures(users=users)
    began = time.monotonic()
    found.devices = register(bench.client, bench.population, time.time_ns() // 1_000_000 - 60_000)
    found.register_s = round(time.monotonic() - began, 1)
    bench.define(FIRST, {"segment": TENTH})
    bench.define(SECOND, {"everyone": True})
    bench.run(FIRST)
    foreseen = bench.estimate(SECOND)
    bench.rss_mb.clear()
    found.estimate_s = round(foreseen.seconds or 0.0, 1)
    found.took_s = round(bench.run(SECOND), 1)
    found.off_percent = round(100 * (found.estimate_s / found.took_s - 1), 1)
    found.decided_users, sent, found.doubled = bench.users(SECOND)
    found.users_per_s = round(users / found.took_s, 1)
    found.deliveries_per_s = round(sent / found.took_s, 1)
    for part, line in sorted(bench.rss_mb.items()):
        half = len(line) // 2
        found.rss_mb[part] = [max(line[:half] or line), max(line[half:])]
    return found


def main() -> None:
    """Measure once, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.campaign", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    users = parser.parse_args().users
    log = Console(stderr=True, highlight=False)
    described = machine.describe()
    log.print(", ".join(f"{name} {value}" for name, value in described.items()))
    if warning := machine.warning(described):
        log.print(f"warning: {warning}", style="yellow")
    print(json.dumps(asdict(measure(users, log))))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
