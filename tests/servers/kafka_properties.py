"""The settings of a broker of the tests: quick where Kafka's defaults suit a data centre."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LISTENER = "PLAINTEXT"


class Ports(NamedTuple):
    """Where a node listens, on loopback: for clients and brokers, for controllers, and more.

    more: by the listener's name.
    """

    broker: int
    controller: int
    more: Mapping[str, int] = {}


def properties(
    node: int,
    ports: Sequence[Ports],
    data_dir: Path,
    more: Mapping[str, str],
    protocols: Mapping[str, str],
) -> dict[str, str]:
    """Give server.properties of one combined broker and controller. more: wins over the rest.

    protocols: of the further listeners, by name. Source: https://kafka.apache.org/documentation/#brokerconfigs
    """
    nodes = len(ports)
    replicas, in_sync = str(min(3, nodes)), str(2 if nodes > 2 else 1)
    voters = ",".join(f"{i}@127.0.0.1:{port.controller}" for i, port in enumerate(ports))
    open_to = {LISTENER: ports[node].broker, **ports[node].more}
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in open_to.items())
    spoken = {LISTENER: "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **protocols}
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": voters,
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{ports[node].controller}",
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(f"{a}:{b}" for a, b in spoken.items()),
        "log.dirs": str(data_dir),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # 50 partitions each by default: seconds of a first start, and of every recovery.
        "offsets.topic.num.partitions": "6",
        "transaction.state.log.num.partitions": "6",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "100",
        # After this time a dead broker's partitions move, and its successor may register.
        "broker.session.timeout.ms": "5000" if nodes > 1 else "1500",
        "broker.heartbeat.interval.ms": "500",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "250",
        "log.cleaner.backoff.ms": "250",
        "log.cleaner.dedupe.buffer.size": "4194304",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "num.recovery.threads.per.data.dir": "2",
        **more,
    }


def written(settings: Mapping[str, str]) -> str:
    """Write settings as a properties file."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())
