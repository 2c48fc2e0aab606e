"""Hooks as processes: a hook that hangs is killed, and one that goes on failing is left alone."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from flows.hook_frames import receive, send
from operators.hooks import HookAnswer, HookFailed
from schemas import metrics
from schemas.hooks import Hook, HookMessage, Point, Verdict
from schemas.tenant import Tenant

START_S = 10.0
"""For a hook's process to start and load its code."""
FAILURES = 3
"""After so many failures in a row a hook is switched off."""
OFF_S = 60.0
AT_ONCE = 1_000
"""Messages in one call."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, Any]).decode


class HookError(Exception):
    """The hook failed; the message says how."""


class Asking(Protocol):
    """A running hook."""

    def ask(self, messages: Sequence[HookMessage], timeout_s: float) -> list[Verdict | None]:
        """Give a verdict for each message. Raises HookError."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class HookProcess:
    """One hook in a process of its own: nothing that it does can hold up the flow for longer.

    A thread would not do: Python cannot end one, and code that keeps the interpreter's lock would
    stop the flow with it. The process starts with the first call.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._child: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def ask(self, messages: Sequence[HookMessage], timeout_s: float) -> list[Verdict | None]:
        """See Asking."""
        try:
            line = self._line or self._start()
            deadline_s = time.monotonic() + timeout_s
            send(line, _encode(messages), deadline_s=deadline_s)
            found = self._read(line, deadline_s)
            verdicts = msgspec.convert(found, list[Verdict | None])
        except TimeoutError:
            self.close()
            raise HookError(f"no answer within {timeout_s:g} s") from None
        except (OSError, msgspec.MsgspecError) as error:
            self.close()
            raise HookError(f"its process failed: {error}") from error
        return verdicts or [None] * len(messages)

    def close(self) -> None:
        """See Asking."""
        line, self._line = self._line, None
        child, self._child = self._child, None
        if line is not None:
            line.close()
        if child is not None:
            child.kill()
            child.wait()

    def _start(self) -> socket.socket:
        own, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", "flows.hook_child", self._name, str(its.fileno())]
            self._child = subprocess.Popen(  # noqa: S603 - our own module; the name is an argument
                command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL
            )
        self._line = own
        try:
            self._read(own, time.monotonic() + START_S)
        except HookError:  # it could not be loaded
            self.close()
            raise
        return own

    def _read(self, line: socket.socket, deadline_s: float) -> Any:
        frame = receive(line, deadline_s=deadline_s)
        if frame is None:
            raise OSError("it has ended")
        kind, found = _decode(frame)
        if kind == "fault":
            raise HookError(str(found))
        return found


class HookRunner:
    """Asks tenants' hooks; see operators.hooks.HookCaller.

    After FAILURES failures in a row a hook is not asked for OFF_S, and then once to see.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        make: Callable[[str], Asking] = HookProcess,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenants = tenants
        self._make = make
        self._monotonic = monotonic
        self._running: dict[tuple[str, str], Asking] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._off_until_s: dict[tuple[str, str], float] = {}
        self._log = structlog.get_logger()

    def hook(self, tenant: str, point: Point) -> Hook | None:
        """See HookCaller."""
        found = self._tenants.get(tenant)
        return found.hooks.at(point) if found is not None else None

    def ask(self, tenant: str, hook: Hook, messages: Sequence[HookMessage]) -> HookAnswer:
        """See HookCaller."""
        key = (tenant, hook.name)
        if self._monotonic() < self._off_until_s.get(key, 0.0):
            return HookFailed(f"hook {hook.name} is switched off after {FAILURES} failures")
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = self._make(hook.name)
        verdicts: list[Verdict | None] = []
        try:
            for start in range(0, len(messages), AT_ONCE):
                verdicts += running.ask(messages[start : start + AT_ONCE], hook.timeout_s)
        except HookError as error:
            self._failed(key, str(error))
            return HookFailed(f"hook {hook.name}: {error}")
        self._failures[key] = 0
        metrics.HOOK_OFF.labels(*key).set(0)
        return verdicts

    def close(self) -> None:
        """End all hooks."""
        for running in self._running.values():
            running.close()
        self._running.clear()

    def _failed(self, key: tuple[str, str], why: str) -> None:
        metrics.HOOK_FAILURES.labels(*key).inc()
        self._failures[key] = self._failures.get(key, 0) + 1
        if self._failures[key] >= FAILURES:
            self._off_until_s[key] = self._monotonic() + OFF_S
            metrics.HOOK_OFF.labels(*key).set(1)
        self._log.warning("hook failed", tenant=key[0], hook=key[1], error=why[:200])
