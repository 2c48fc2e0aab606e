"""A real Apache Kafka on loopback: one node or several, each a combined broker and controller.

Its state is as durable as Kafka's: a node that is killed finds its log again on the same ports.
"""

import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from sandbox.processes import Child, StartError, free_port
from tests.servers.install import class_archive, kafka_jars
from tests.servers.kafka_properties import Ports, properties, written

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
ASK_TIMEOUT_S = 2.0
LOG4J = Path(__file__).with_name("log4j2.xml")
JVM = [
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",  # the quickest to start, and without threads of its own
    "-XX:TieredStopAtLevel=1",  # brokers of tests live too briefly to earn back an optimised build
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    f"-Dlog4j2.configurationFile={LOG4J}",
]


class ApacheKafka:
    """A cluster of nodes 0 to n-1, a child process each. bootstrap: set once started.

    directory: holds ``node-<i>/`` (settings and data) and ``node-<i>.log``.
    nodes: with 3, topics get 3 replicas and 2 must be in sync; else topics have 1.
    config: broker settings, such as {"message.max.bytes": "2000000"}.
    listeners: protocols of more listeners by their names, such as {"SECURE": "SASL_SSL"}.
    jvm: options for Java beside ours, such as ["-Xmx1g"].
    The children die with this process, also when it is killed: start it from the main thread.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int = 1,
        *,
        config: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        jvm: Sequence[str] = (),
    ) -> None:
        self._directory = directory
        self._nodes = nodes
        self._config = dict(config or {})
        self._listeners = dict(listeners or {})
        self._jvm = list(jvm)
        self._jars = Path()
        self._ports: list[Ports] = []
        self._children: list[Child] = []
        self._admin: AdminClient | None = None
        self.bootstrap = ""

    def start(self) -> str:
        """Start all nodes and wait until each serves. Returns the bootstrap addresses.

        Raises StartError with the end of a node's log, InstallError without Java or Maven.
        """
        self._jars = kafka_jars()
        self._ports = [
            Ports(free_port(), free_port(), {name: free_port() for name in self._listeners})
            for _ in range(self._nodes)
        ]
        self.bootstrap = ",".join(f"127.0.0.1:{port.broker}" for port in self._ports)
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        self._format()
        self._children = [self._child(node) for node in range(self._nodes)]
        for child in self._children:
            child.start()
        for node in range(self._nodes):
            self.wait_until_serving(node)
        return self.bootstrap

    def addresses(self, listener: str) -> str:
        """Give the bootstrap addresses of one of the further listeners."""
        return ",".join(f"127.0.0.1:{port.more[listener]}" for port in self._ports)

    def log(self, node: int = 0) -> str:
        """Give all that a node has logged."""
        return (self._directory / f"node-{node}.log").read_text(errors="replace")

    def pid(self, node: int = 0) -> int:
        """Give the process id of a node."""
        return self._children[node].pid

    def runs(self, node: int = 0) -> bool:
        """Tell whether a node's process runs."""
        return bool(self._children) and self._children[node].returncode() is None

    def kill(self, node: int = 0) -> None:
        """Kill a node at once (SIGKILL)."""
        self._children[node].kill()

    def stop(self, node: int | None = None) -> None:
        """End a node, or all, with SIGTERM: partitions move first, logs are closed.

        The last nodes of a cluster may find no quorum to take leave of; they are then killed.
        """
        ending = self._children if node is None else [self._children[node]]
        for child in ending:
            child.ask_to_stop()
        for child in ending:
            child.stop(timeout_s=STOP_TIMEOUT_S if node is not None else ASK_TIMEOUT_S * 2)

    def start_node(self, node: int = 0, *, wait: bool = True) -> None:
        """Start a node that was killed or stopped, on its ports and data.

        wait: until it serves; without it, for starting several that need each other.
        """
        if self.runs(node):
            raise RuntimeError(f"node {node} runs already")
        self._children[node].start()
        if wait:
            self.wait_until_serving(node)

    def restart(self, node: int = 0) -> None:
        """Stop a node with SIGTERM, unless it is down already, and start it again."""
        self.stop(node)
        self.start_node(node)

    def wait_until_serving(self, node: int = 0) -> None:
        """Wait until the cluster lists the node among its live brokers."""
        address = f"127.0.0.1:{self._ports[node].broker}"
        # A client of its own asks this very node, which answers when it has caught up.
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        self._children[node].wait_until(
            lambda: self._holds(admin, lambda cluster: node in cluster.brokers),
            timeout_s=READY_TIMEOUT_S,
        )

    def wait_until_in_sync(self) -> None:
        """Wait until every partition has a leader and all of its replicas in sync."""
        running = next(child for child in self._children if child.returncode() is None)
        running.wait_until(partial(self._holds, self._admin, _in_sync), timeout_s=READY_TIMEOUT_S)

    def cluster(self) -> ClusterMetadata:
        """Give brokers, topics, and leaders and replicas of partitions. Raises KafkaException."""
        assert self._admin is not None, "start it first"
        return self._admin.list_topics(timeout=READY_TIMEOUT_S)

    def leader(self, topic: str, partition: int = 0) -> int:
        """Give the node that leads a partition, -1 when there is none."""
        return self.cluster().topics[topic].partitions[partition].leader

    def group_coordinator(self, group: str) -> int:
        """Give the node that coordinates a consumer group."""
        return self._coordinator("__consumer_offsets", group)

    def transaction_coordinator(self, transactional_id: str) -> int:
        """Give the node that coordinates a producer's transactions."""
        return self._coordinator("__transaction_state", transactional_id)

    def _coordinator(self, topic: str, name: str) -> int:
        partitions = self.cluster().topics[topic].partitions
        return partitions[_java_hash(name) % len(partitions)].leader

    @staticmethod
    def _holds(admin: AdminClient, met: Callable[[ClusterMetadata], bool]) -> bool:
        try:
            return met(admin.list_topics(timeout=ASK_TIMEOUT_S))
        except KafkaException:  # not up yet
            return False

    def _child(self, node: int) -> Child:
        return Child(
            f"kafka node {node}",
            self._java("kafka.Kafka", str(self._home(node) / "server.properties")),
            log=self._directory / f"node-{node}.log",
        )

    def _java(self, *command: str) -> list[str]:
        archive = class_archive(self._jars)
        shared = [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
        return ["java", *JVM, *shared, *self._jvm, "-cp", f"{self._jars}/*", *command]

    def _home(self, node: int) -> Path:
        return self._directory / f"node-{node}"

    def _format(self) -> None:
        """Write settings and the first metadata of every node."""
        cluster_id = _kafka_uuid()
        for node in range(self._nodes):
            home = self._home(node)
            home.mkdir(parents=True)
            settings = properties(node, self._ports, home / "data", self._config, self._listeners)
            (home / "server.properties").write_text(written(settings))
            if node == 0:
                self._format_first(cluster_id)
            else:
                # Nodes differ in these two ids only, and a Java process each takes seconds.
                shutil.copytree(self._home(0) / "data", home / "data")
                ids = {"version": "1", "cluster.id": cluster_id, "node.id": str(node)}
                ids["directory.id"] = _kafka_uuid()
                (home / "data" / "meta.properties").write_text(written(ids))

    def _format_first(self, cluster_id: str) -> None:
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "--cluster-id", cluster_id,
                       "--config", str(self._home(0) / "server.properties")),
            capture_output=True, text=True, check=False, timeout=READY_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise StartError(f"kafka was not formatted: {done.stdout}{done.stderr}")


def _in_sync(cluster: ClusterMetadata) -> bool:
    return all(
        partition.leader >= 0 and set(partition.isrs) == set(partition.replicas)
        for topic in cluster.topics.values()
        for partition in topic.partitions.values()
    )


def _kafka_uuid() -> str:
    # A leading dash would look like an option.
    return "c" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:].rstrip("=")


def _java_hash(text: str) -> int:
    """Hash as String.hashCode does, without its sign: how coordinators are chosen.

    Source: org.apache.kafka.common.utils.Utils.abs(groupId.hashCode()) % partitions.
    """
    value = 0
    for character in text:
        value = (value * 31 + ord(character)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF
