"""The broker's state, and the requests that its parts answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import NamedTuple

from sandbox.kafka_broker.codec import Reader, Writer
from sandbox.kafka_broker.groups import Groups
from sandbox.kafka_broker.memory import Memory
from sandbox.kafka_broker.topics import Topics
from sandbox.kafka_broker.transactions import Transactions

NODE_ID = 1
CLUSTER_ID = "embedded"
LEADER_EPOCH = 0


class Broker:
    """One node that leads every partition and coordinates every group and transaction.

    host, port: the address that clients are told.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, memory_bytes: int, host: str, port: int
    ) -> None:
        self.host = host
        self.port = port
        self.loop = loop
        self.topics = Topics(Memory(memory_bytes))
        self.groups = Groups(loop)
        self.transactions = Transactions(loop)

    def close(self) -> None:
        """Stop all timers."""
        self.groups.close()
        self.transactions.close()


class Request:
    """A request: its version, its body to read, and who asks."""

    __slots__ = ("_correlation_id", "_tagged_header", "body", "client_id", "host", "version")

    def __init__(
        self,
        version: int,
        body: Reader,
        *,
        correlation_id: int,
        tagged_header: bool,
        client_id: str,
        host: str,
    ) -> None:
        self.version = version
        self.body = body
        self.client_id = client_id
        self.host = host
        self._correlation_id = correlation_id
        self._tagged_header = tagged_header

    def reply(self) -> Writer:
        """Begin the response."""
        return Writer(
            self._correlation_id, flexible=self.body.flexible, tagged_header=self._tagged_header
        )


Answer = Writer | None | Coroutine[None, None, Writer]
"""A response, none (a produce without acknowledgement), or one that has to wait.

A handler reads the whole request before it gives a coroutine: the body is a view of a buffer that
is used again.
"""


class Api(NamedTuple):
    """A kind of request: the versions spoken, the first flexible one, and who answers."""

    lowest: int
    highest: int
    flexible_from: int
    handle: Callable[[Broker, Request], Answer]
