"""A real Redis on loopback that keeps its data over a kill."""

import signal
from os import kill as send_signal
from pathlib import Path

import redis

from sandbox.processes import Child, StartError, free_port
from tests.servers.install import redis_server

ASK_TIMEOUT_S = 5.0


class RealRedis:
    """A redis-server in a child process. url: ``redis://...``, set once started.

    directory: holds its append-only file and its log.
    cluster: one node that holds all slots and refuses commands whose keys lie in several.
    It dies with this process, also when that is killed: start it from the main thread.
    """

    def __init__(self, directory: Path, *, cluster: bool = False) -> None:
        self._directory = directory
        self._cluster = cluster
        self._child: Child | None = None
        self._port = 0
        self.url = ""

    def start(self) -> str:
        """Start it and wait until it serves. Returns its URL. Raises StartError, InstallError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        command = [
            str(redis_server()), "--port", str(self._port), "--bind", "127.0.0.1",
            "--dir", str(self._directory), "--save", "",
            # As the docs advise production to run: a kill of the process alone loses nothing that
            # was acknowledged, a machine's end at most the last second; "always" would cost a disk
            # write per command. Source: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
            "--appendonly", "yes", "--appendfsync", "everysec",
        ]  # fmt: skip
        if self._cluster:
            command += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        self._child = Child("redis", command, log=self._directory / "redis.log")
        self.url = f"redis://127.0.0.1:{self._port}" + ("" if self._cluster else "/0")
        self._run()
        return self.url

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started.pid

    def kill(self) -> None:
        """Kill it at once (SIGKILL)."""
        self._started.kill()

    def restart(self) -> None:
        """Start it again on its port and data, after ending it with SIGTERM if it still runs."""
        self.resume()
        self._started.stop()
        self._run()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections open and nothing answers."""
        send_signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after pause(); else without effect."""
        if self._child is not None and self._child.returncode() is None:
            send_signal(self._child.pid, signal.SIGCONT)

    def flush(self) -> None:
        """Remove all keys."""
        with self.client() as client:
            client.flushall()

    def config_set(self, name: str, value: str) -> None:
        """Change a setting of the running server, such as maxmemory."""
        with self.client() as client:
            client.config_set(name, value)

    def stop(self) -> None:
        """End it; SIGTERM writes what it still holds."""
        self.resume()
        if self._child is not None:
            self._child.stop()

    def client(self) -> redis.Redis:
        """Make a plain client, for what the product's own does not do."""
        return redis.Redis(port=self._port, protocol=2, socket_timeout=ASK_TIMEOUT_S)

    @property
    def _started(self) -> Child:
        if self._child is None:
            raise StartError("redis is not started")
        return self._child

    def _run(self) -> None:
        self._started.start()
        self._started.wait_until(self._answers)
        if not self._cluster:
            return
        with self.client() as client:
            if b"cluster_slots_assigned:16384" not in _cluster_info(client):
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            # Reads wait until the node believes in its cluster (2 s, fixed in the server).
            self._started.wait_until(lambda: b"cluster_state:ok" in _cluster_info(client))

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:  # not up yet, or still loading
            return False


def _cluster_info(client: redis.Redis) -> bytes:
    told: bytes = client.execute_command("CLUSTER", "INFO")
    return told
