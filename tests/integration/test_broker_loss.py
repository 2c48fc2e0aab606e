"""A broker dies or restarts in the middle of a copy: nothing is lost, nothing comes twice."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.copying import Copying, copying
from tests.servers.apache_kafka import ApacheKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
SOME = 3_000

ROLES: dict[str, Callable[[ApacheKafka, Copying], int]] = {
    "leader": lambda kafka, copy: kafka.leader(copy.source),
    "transactions": lambda kafka, copy: kafka.transaction_coordinator(
        copy.copy("0").transactional_id
    ),
    "group": lambda kafka, copy: kafka.group_coordinator(copy.copy("0").group),
}


def _kill_one(cluster: ApacheKafka, copy: Copying, role: str) -> None:
    """Copy on without the node of this role, and on when it has come back."""
    for instance in ("0", "1"):
        copy.start(instance)
    copy.run(more=SOME)
    victim = ROLES[role](cluster, copy)
    cluster.kill(victim)
    copy.run(more=SOME)
    assert not cluster.runs(victim)
    cluster.start_node(victim)
    cluster.wait_until_in_sync()
    copy.run(more=SOME)


@pytest.mark.parametrize("role", ROLES)
def test_one_node_of_three_is_killed(
    cluster: ApacheKafka, unique: str, tmp_path: Path, role: str
) -> None:
    """The copy goes on without the leader or the coordinator, and is exact in the end."""
    with copying(cluster.bootstrap, unique, tmp_path) as copy:
        _kill_one(cluster, copy, role)
        assert copy.finish() == copy.committed.found


@pytest.mark.parametrize("role", ["leader", "group"])
def test_one_node_of_three_is_killed_under_a_flow_without_transactions(
    cluster: ApacheKafka, unique: str, tmp_path: Path, role: str
) -> None:
    """It goes on as well, and loses nothing."""
    with copying(cluster.bootstrap, unique, tmp_path, exactly_once=False) as copy:
        _kill_one(cluster, copy, role)
        assert set(copy.finish()) == set(copy.committed.found)


@pytest.mark.parametrize("restart", ["kill", "stop"])
def test_the_only_node_comes_back(
    single: ApacheKafka, unique: str, tmp_path: Path, restart: str
) -> None:
    """While it is away nothing moves; what it had acknowledged is there, once."""
    with copying(single.bootstrap, unique, tmp_path) as copy:
        for instance in ("0", "1"):
            copy.start(instance)
        copy.run(more=SOME)
        if restart == "kill":
            single.kill()
            single.start_node()
        else:
            single.restart()
        copy.run(more=SOME)
        assert copy.finish() == copy.committed.found
