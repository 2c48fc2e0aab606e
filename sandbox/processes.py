"""Child processes of the embedded stack: started, waited for, ended by their own id."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.child import die_with_parent

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02


class StartError(RuntimeError):
    """A part of the stack did not come up; the message names it, the cause and its log."""


class PortTakenError(StartError):
    """A port that was asked for is in use."""


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def claim_port(name: str, port: int, host: str = "127.0.0.1") -> int:
    """Check that a wanted port is free, or pick one for 0. Raises PortTakenError naming it."""
    if port == 0:
        return free_port(host)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} for {name} is taken on {host}: free it, or choose another with "
                f"--{name}-port"
            ) from error
    return port


class Child:
    """One child process with its log file; it dies with this process, also when killed."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; does not wait for it to be ready."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self._env) if self._env is not None else None,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the stack starts from its main thread
            )

    @property
    def pid(self) -> int:
        """Its process id. Raises RuntimeError before start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    def returncode(self) -> int | None:
        """Its exit code, or None while it runs (or before start)."""
        return None if self._process is None else self._process.poll()

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until ready() holds. Raises StartError when it ends first or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            code = self.returncode()
            if code is not None:
                raise StartError(f"{self.name} ended with code {code}: {self.tail()}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{self.name} was not ready after {timeout_s:.0f} s: {self.tail()}"
                )
            time.sleep(POLL_S)

    def kill(self) -> None:
        """Kill it at once (SIGKILL) and reap it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def ask_to_stop(self) -> None:
        """Send SIGTERM; stop() then waits."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """End it: SIGTERM, and SIGKILL when that takes too long. Returns its exit code."""
        if self._process is None:
            return None
        self.ask_to_stop()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.poll()

    def tail(self, lines: int = 12) -> str:
        """Give the last lines of its log."""
        if not self._log.exists():
            return "(no log)"
        text = self._log.read_text(errors="replace").splitlines()
        return "\n".join(text[-lines:]) or "(empty log)"


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something listens on the port."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False
