"""What goes over the line between a flow and a hook's process: a length, then msgpack."""

import socket
import struct
import time

MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")


def send(line: socket.socket, frame: bytes, *, deadline_s: float | None = None) -> None:
    """Send one frame. deadline_s: monotonic. Raises TimeoutError, OSError."""
    _limit(line, deadline_s)
    line.sendall(_LENGTH.pack(len(frame)) + frame)


def receive(line: socket.socket, *, deadline_s: float | None = None) -> bytes | None:
    """Receive one frame, None when the other side is gone. Raises TimeoutError, OSError."""
    head = _exactly(line, _LENGTH.size, deadline_s)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise OSError(f"a frame of {length} bytes")
    return _exactly(line, length, deadline_s)


def _exactly(line: socket.socket, count: int, deadline_s: float | None) -> bytes | None:
    found = bytearray()
    while len(found) < count:
        _limit(line, deadline_s)
        piece = line.recv(min(count - len(found), 1 << 20))
        if not piece:
            return None
        found += piece
    return bytes(found)


def _limit(line: socket.socket, deadline_s: float | None) -> None:
    if deadline_s is None:
        line.settimeout(None)
        return
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    line.settimeout(left_s)
