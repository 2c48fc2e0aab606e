"""The embedded Kafka-compatible broker: for the demo and tests, never for production.

It is not durable: it survives a stop but not a kill (docs/decisions/0003-embedded-broker.md).
"""

import os
from importlib.resources import files
from pathlib import Path

from sandbox.processes import Child, accepts, claim_port

# It answers a fetch with all there is, whatever limit the client gave, so the client must be
# ready for a whole backlog in one response. Never needed, and not set, with a real Kafka.
CLIENT_SETTINGS = {"receive.message.max.bytes": 1_000_000_000}


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
        binary = Path(str(files("noida_db") / "noida-db"))
        if not os.access(binary, os.X_OK):  # some installers drop the bit
            binary.chmod(0o755)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.child = Child(
            "kafka",
            [str(binary), "start", "--data-dir", str(self._data_dir), "--only", "kafka",
             "--kafka-port", str(port)],
            log=self._data_dir / "broker.log",
        )  # fmt: skip
        self.child.start()
        self.child.wait_until(lambda: accepts(port))
        self.bootstrap = f"127.0.0.1:{port}"
        return self.bootstrap

    def stop(self) -> None:
        """Stop it."""
        if self.child is not None:
            self.child.stop()
