"""Processes come, go, die and hang in the middle of a copy on a real Kafka."""

import time
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.integration.copying import PARTITIONS, Copying, copying, pause, resume
from tests.integration.feed import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
SOME = 2_000


def members(copy: Copying) -> dict[str, int]:
    """Give how many partitions each instance has."""
    admin = AdminClient({"bootstrap.servers": copy.bootstrap})
    group = copy.copy("0").group
    told = admin.describe_consumer_groups([group])[group].result(PATIENCE_S)
    return {
        member.group_instance_id: len(member.assignment.topic_partitions) for member in told.members
    }


def run_until_shared(copy: Copying, *instances: str) -> None:
    """Go on until just these instances share the partitions."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        copy.run(more=100)
        parts = members(copy)
        if (
            set(parts) == set(instances)
            and all(parts.values())
            and sum(parts.values()) == PARTITIONS
        ):
            return
        assert time.monotonic() < deadline, parts


def test_a_zombie_is_fenced_and_writes_nothing(bootstrap: str, unique: str, tmp_path: Path) -> None:
    """A process that hung wakes up beside its successor: it ends by itself, the copy is exact."""
    with copying(bootstrap, unique, tmp_path) as copy:
        zombie = copy.start("0", supervised=False)
        copy.run(more=SOME)
        pause(zombie)
        try:
            heir = copy.start("0", supervised=False)
            copy.run(more=SOME)
        finally:
            resume(zombie)
        deadline, poll = time.monotonic() + PATIENCE_S, Event()
        while zombie.returncode() is None:
            assert time.monotonic() < deadline, zombie.tail()
            poll.wait(0.05)
        assert zombie.returncode() not in {0, -9, -15}
        copy.run(more=SOME)
        assert heir.returncode() is None, heir.tail()
        fed = copy.finish()
        assert heir.stop() == 0
        assert copy.committed.found == fed


def test_processes_are_added_and_removed(bootstrap: str, unique: str, tmp_path: Path) -> None:
    """Partitions move from one to three processes and back while records keep coming."""
    with copying(bootstrap, unique, tmp_path) as copy:
        copy.start("0")
        run_until_shared(copy, "0")
        copy.start("1")
        copy.start("2")
        run_until_shared(copy, "0", "1", "2")
        assert copy.stop("0") == 0
        run_until_shared(copy, "1", "2")
        copy.start("3")
        run_until_shared(copy, "1", "2", "3")
        for instance in ("1", "2"):
            assert copy.stop(instance) == 0
        run_until_shared(copy, "3")
        assert copy.finish() == copy.committed.found
        assert not copy.deaths


def test_killed_processes_start_again(bootstrap: str, unique: str, tmp_path: Path) -> None:
    """Killed in the middle of transactions, again and again: the copy is exact."""
    with copying(bootstrap, unique, tmp_path) as copy:
        for instance in ("0", "1"):
            copy.start(instance)
        for turn in range(6):
            copy.run(more=SOME // 2)
            copy.kill(str(turn % 2))
        assert copy.finish() == copy.committed.found
        assert len(copy.deaths) >= 6


def test_a_stop_leaves_nothing_open(bootstrap: str, unique: str, tmp_path: Path) -> None:
    """SIGTERM ends with 0, no transaction is open, and offsets stand for what was written."""
    with copying(bootstrap, unique, tmp_path) as copy:
        copy.start("0")
        copy.run(more=SOME)
        assert copy.stop("0") == 0
        admin = AdminClient({"bootstrap.servers": bootstrap})
        places = [TopicPartition(copy.target, index) for index in range(PARTITIONS)]
        ends = [
            {
                place.partition: future.result(PATIENCE_S).offset
                for place, future in admin.list_offsets(
                    {each: OffsetSpec.latest() for each in places}, isolation_level=level
                ).items()
            }
            for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        ]
        assert ends[0] == ends[1]
        copy.committed.catch_up()
        asked = Consumer({"bootstrap.servers": bootstrap, "group.id": copy.copy("0").group})
        sources = [TopicPartition(copy.source, index) for index in range(PARTITIONS)]
        done = asked.committed(sources, PATIENCE_S)
        asked.close()
        assert sum(max(0, each.offset) for each in done) == copy.committed.found.total()
        copy.start("0")
        copy.run(more=SOME)
        assert copy.finish() == copy.committed.found
