"""The Python client of the HTTP API: docs/client.md."""

from api.client.async_producer import AsyncProducer
from api.client.backlog import Batching
from api.client.client import AsyncClient, Client
from api.client.errors import (
    ApiError,
    BadAnswerError,
    ClarionError,
    ClosedError,
    FullError,
    NotDeliveredError,
    Problem,
    UnreachableError,
)
from api.client.events import Event, Result
from api.client.producer import Producer
from api.client.retrying import Retry

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncProducer",
    "BadAnswerError",
    "Batching",
    "ClarionError",
    "Client",
    "ClosedError",
    "Event",
    "FullError",
    "NotDeliveredError",
    "Problem",
    "Producer",
    "Result",
    "Retry",
    "UnreachableError",
]
