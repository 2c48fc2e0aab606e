"""The embedded Kafka-compatible broker: for the demo and tests, never for production.

It keeps everything in memory (docs/decisions/0003-embedded-broker.md).
"""

import sys
from pathlib import Path

from sandbox.processes import Child, accepts, claim_port


class EmbeddedBroker:
    """A broker in a child process. bootstrap: ``host:port`` once started."""

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        self._data_dir = data_dir
        self._port = port
        self.bootstrap = ""
        self.child: Child | None = None

    def start(self) -> str:
        """Start it and wait until it listens. Returns the bootstrap address."""
        port = claim_port("kafka", self._port)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.child = Child(
            "kafka",
            [sys.executable, "-m", "sandbox.kafka_broker", "--port", str(port)],
            log=self._data_dir / "broker.log",
        )
        self.child.start()
        self.child.wait_until(lambda: accepts(port))
        self.bootstrap = f"127.0.0.1:{port}"
        return self.bootstrap

    def stop(self) -> None:
        """Stop it."""
        if self.child is not None:
            self.child.stop()
