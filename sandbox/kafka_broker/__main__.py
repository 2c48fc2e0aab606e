"""Runs the broker as a process: prints "ready <port>", ends on SIGTERM or with its parent."""

import argparse
import asyncio
import logging
import signal
import sys

import uvloop

from sandbox.child import die_with_parent
from sandbox.kafka_broker.broker import Broker
from sandbox.kafka_broker.connection import Connection

MEMORY_MIB = 2_048
MAX_CONNECTIONS = 1_000


async def serve(*, host: str, port: int, memory_bytes: int, advertise: str = "") -> None:
    """Serve until SIGTERM or SIGINT.

    port: 0 picks a free one. advertise: the ``host:port`` that clients are told, when it is not
    where the broker listens (a forwarded port). Raises OSError when the port is taken.
    """
    loop = asyncio.get_running_loop()
    told_host, _, told_port = advertise.rpartition(":")
    broker = Broker(loop, memory_bytes=memory_bytes, host=told_host or host, port=port)
    connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(broker, connections, max_connections=MAX_CONNECTIONS), host, port
    )
    listening = server.sockets[0].getsockname()[1]
    broker.port = int(told_port or listening)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    print(f"ready {listening}", flush=True)  # noqa: T201 - the line its starter waits for
    await ended.wait()
    server.close()
    for connection in list(connections):
        connection.close()
    broker.close()


def main(arguments: list[str] | None = None) -> int:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.kafka_broker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--memory-mib", type=int, default=MEMORY_MIB, help="of all topics together")
    parser.add_argument("--advertise", default="", help="host:port to tell clients, if another")
    options = parser.parse_args(arguments)
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        uvloop.run(
            serve(
                host=options.host,
                port=options.port,
                memory_bytes=options.memory_mib << 20,
                advertise=options.advertise,
            )
        )
    except OSError as error:
        print(f"kafka: {error}", file=sys.stderr)  # noqa: T201 - a program's own error line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
