"""A TCP relay that can break a connection after the request went through, before its answer."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PRODUCE = b"\x00\x00"


class Relay:
    """Relays to a broker. losses: how many answers to produce requests are still to be lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.losses = 0
        self.lost = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection, request by request."""
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while True:
                request = await _frame(reader)
                upstream.write(request)
                answer = await _frame(upstream_reader)
                if request[4:6] == PRODUCE and self.losses > 0:
                    self.losses -= 1
                    self.lost += 1
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # either side has gone
        finally:
            for each in (writer, upstream):
                each.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size, "big"))


@contextmanager
def relay_to(port: int, relay_port: int) -> Iterator[Relay]:
    """Run a relay on relay_port in a thread."""
    relay = Relay(port)
    started = threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with await asyncio.start_server(relay.relay, "127.0.0.1", relay_port):
            started.set()
            await stop.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # ends what is still relaying
            runner.run(run())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(10)
    yield relay
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
