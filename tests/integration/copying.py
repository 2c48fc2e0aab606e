"""Copy processes that run while things around them break, with a supervisor as in production."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from sandbox.processes import Child
from tests.integration.copy_process import Copy
from tests.integration.feed import AHEAD, PATIENCE_S, Committed, Feed
from tests.servers.topics import create

PARTITIONS = 6
MOST_DEATHS = 20  # beyond that, something else is wrong
OPTIONS = {
    "log_level": "0",
    # A process that is gone for good gives its partitions up after this time, not after 10 s.
    "session.timeout.ms": "3000",
    "heartbeat.interval.ms": "500",
    "topic.metadata.refresh.interval.ms": "5000",
}


class Copying:
    """A stream onto one topic, copied to another by processes that may come and go."""

    def __init__(
        self, bootstrap: str, name: str, directory: Path, *, exactly_once: bool = True
    ) -> None:
        self.bootstrap = bootstrap
        self.source, self.target = f"{name}-in", f"{name}-out"
        self.name = name
        self.deaths: list[str] = []
        self._directory = directory
        self._exactly_once = exactly_once
        self._children: dict[str, Child] = {}
        admin = AdminClient({"bootstrap.servers": bootstrap})
        wanted = [
            NewTopic(topic, num_partitions=PARTITIONS) for topic in (self.source, self.target)
        ]
        create(admin, wanted)
        self.feed = Feed(bootstrap, self.source)
        self.committed = Committed(bootstrap, self.target)

    def copy(self, instance: str) -> Copy:
        """Give what an instance is told."""
        return Copy(
            self.bootstrap,
            self.source,
            self.target,
            self.name,
            instance,
            OPTIONS,
            self._exactly_once,
        )

    def start(self, instance: str, *, supervised: bool = True) -> Child:
        """Start a process. supervised: start it again when it dies."""
        log = self._directory / f"{instance}-{time.monotonic_ns()}.log"
        child = Child(
            f"copy {instance}",
            [
                sys.executable,
                "-m",
                "tests.integration.copy_process",
                json.dumps(self.copy(instance)),
            ],
            log=log,
        )
        child.start()
        if supervised:
            self._children[instance] = child
        return child

    def stop(self, instance: str) -> int | None:
        """End a process with SIGTERM; give its exit code."""
        return self._children.pop(instance).stop(timeout_s=PATIENCE_S)

    def kill(self, instance: str) -> None:
        """Kill a process at once; the supervisor will find it dead."""
        self._children[instance].kill()

    def run(self, *, more: int) -> None:
        """Go on until this many more records are committed than now."""
        wanted = self.committed.catch_up() + more
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.committed.read()) < wanted:
            self.feed.limit = found + AHEAD
            self._supervise()
            assert time.monotonic() < deadline, self._state()

    def finish(self) -> Counter[bytes]:
        """End the stream, wait until all of it is copied; give it. committed has what was found."""
        fed = self.feed.end()
        deadline = time.monotonic() + PATIENCE_S
        while len(self.committed.found) < len(fed):
            self._supervise()
            assert time.monotonic() < deadline, self._state()
            self.committed.read()
        for instance in list(self._children):
            self.stop(instance)
        self.committed.catch_up()
        return fed

    def close(self) -> None:
        """End what still runs."""
        self.feed.end()
        for child in self._children.values():
            child.kill()
        self.committed.close()

    def _supervise(self) -> None:
        for instance, child in list(self._children.items()):
            if child.returncode() is not None:
                self.deaths.append(child.tail())
                assert len(self.deaths) <= MOST_DEATHS, self._state()
                self.start(instance)

    def _state(self) -> str:
        tails = "\n".join(f"{child.name}: {child.tail()}" for child in self._children.values())
        last = "\n".join(self.deaths[-2:])
        found = f"{self.committed.found.total()} committed, {len(self.deaths)} deaths"
        return f"{found}\n{last}\n{tails}"


def pause(child: Child) -> None:
    """Stop a process in its tracks."""
    os.kill(child.pid, signal.SIGSTOP)


def resume(child: Child) -> None:
    """Let it go on."""
    os.kill(child.pid, signal.SIGCONT)


@contextmanager
def copying(
    bootstrap: str,
    name: str,
    directory: Path,
    kind: type[Copying] = Copying,
    *,
    exactly_once: bool = True,
) -> Iterator[Copying]:
    """Make the topics and begin the stream; end all in the end."""
    made = kind(bootstrap, name, directory, exactly_once=exactly_once)
    try:
        yield made
    finally:
        made.close()
