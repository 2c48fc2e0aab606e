"""The process that a hook runs in: python -m flows.hook_child <entry point> <socket>."""

import ctypes
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import msgspec

from flows.hook_frames import receive, send
from schemas.hooks import GROUP, HookMessage, Verdict

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_decode = msgspec.msgpack.Decoder(list[HookMessage]).decode


def serve(hook: Callable[[list[HookMessage]], Any], line: socket.socket) -> None:
    """Answer frames until the line ends."""
    while (frame := receive(line)) is not None:
        try:
            messages = _decode(frame)
            answer: tuple[str, Any] = ("ok", _checked(hook(messages), len(messages)))
        except Exception as error:  # noqa: BLE001 - whatever a tenant's code raises is its answer
            answer = ("fault", f"{type(error).__name__}: {error}"[:500])
        send(line, msgspec.msgpack.encode(answer))


def _checked(verdicts: Any, count: int) -> list[Any]:
    if verdicts is None:
        return []
    found = list(verdicts)
    if len(found) != count:
        raise ValueError(f"{len(found)} verdicts for {count} messages")
    for one in found:
        if one is not None and not isinstance(one, Verdict):
            raise TypeError(f"a verdict must be a Verdict or None, not {type(one).__name__}")
    return found


def main(name: str, descriptor: int) -> None:
    """Load the hook, say whether that went well, and serve."""
    if sys.platform == "linux":  # a hook that hangs does not see the end of its line
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the flow drains first, and ends this one
    line = socket.socket(fileno=descriptor)
    try:
        (entry,) = entry_points(group=GROUP, name=name)
        hook = entry.load()
    except Exception as error:  # noqa: BLE001 - as above
        send(line, msgspec.msgpack.encode(("fault", f"cannot load {name}: {error}"[:500])))
        return
    send(line, msgspec.msgpack.encode(("ready", None)))
    serve(hook, line)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
