"""The clients: one that blocks, and one for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx

from api.client.access import Audit, Credentials, Keys
from api.client.areas import Awaited, Blocking, M
from api.client.core import Core, Paged, Reply, Request, Steps, Wait
from api.client.events import Events
from api.client.marketing import Campaigns, Figures, Segments, Templates
from api.client.people import (
    ClickLinks,
    Devices,
    Erasures,
    Feedback,
    Messages,
    Preferences,
    Users,
)
from api.client.retrying import Retry

T = TypeVar("T")
Key = str | Callable[[], str]
USER_AGENT = "clarion-python/1"
MAX_CONNECTIONS = 20


class _Areas(Generic[M]):
    """What both clients are made of.

    base_url: such as "https://push.example.com". key: an API key or a JWT, or what gives one for
    each request. timeout_s: for each part of an answer, connect_timeout_s for a connection, both
    of one attempt. transport: of httpx, for tests and proxies.
    """

    def __init__(
        self,
        base_url: str,
        key: Key,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retry: Retry | None = None,
        transport: Any = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url: write http:// or https:// before {base_url!r}")
        self._key = key
        self._http = self._connect(
            base_url=base_url.rstrip("/"),
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            headers={"User-Agent": USER_AGENT},
            transport=transport,
        )
        core = Core(retry or Retry())
        self.events: Events[M] = Events(core, self)
        self.messages: Messages[M] = Messages(core, self)
        self.devices: Devices[M] = Devices(core, self)
        self.users: Users[M] = Users(core, self)
        self.preferences: Preferences[M] = Preferences(core, self)
        self.erasures: Erasures[M] = Erasures(core, self)
        self.feedback: Feedback[M] = Feedback(core, self)
        self.links: ClickLinks[M] = ClickLinks(core, self)
        self.segments: Segments[M] = Segments(core, self)
        self.templates: Templates[M] = Templates(core, self)
        self.campaigns: Campaigns[M] = Campaigns(core, self)
        self.figures: Figures[M] = Figures(core, self)
        self.keys: Keys[M] = Keys(core, self)
        self.credentials: Credentials[M] = Credentials(core, self)
        self.audit: Audit[M] = Audit(core, self)

    def _connect(self, **options: Any) -> Any:
        raise NotImplementedError

    def drive(self, steps: Steps[Any]) -> Any:
        """Do steps; see Driver."""
        raise NotImplementedError

    def iterate(self, paged: Paged[Any]) -> Any:
        """Walk a list; see Driver."""
        raise NotImplementedError

    def _prepared(self, request: Request) -> httpx.Request:
        """Make httpx's request, with the credential of this moment."""
        key = self._key if isinstance(self._key, str) else self._key()
        params = {
            name: value for name, value in (request.params or {}).items() if value is not None
        }
        headers: Mapping[str, str] = {**request.headers, "Authorization": f"Bearer {key}"}
        found: httpx.Request = self._http.build_request(
            request.method,
            request.path,
            params=params or None,
            content=request.content,
            headers=headers,
        )
        return found


class Client(_Areas[Blocking]):
    """Talks to the API and waits for each answer. Threads may share it.

    `with Client(url, key) as client: client.events.send({...})`
    """

    _http: httpx.Client

    def _connect(self, **options: Any) -> httpx.Client:
        return httpx.Client(**options)

    def drive(self, steps: Steps[T]) -> T:
        """Do steps; see Driver."""
        reply: Reply = None
        try:
            while True:
                step = steps.send(reply)
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    reply = None
                else:
                    reply = self._reply(step.request)
        except StopIteration as done:
            result: T = done.value
            return result

    def _reply(self, request: Request) -> Reply:
        try:
            return self._http.send(self._prepared(request))
        except httpx.TransportError as error:
            return error

    def iterate(self, paged: Paged[T]) -> Iterator[T]:
        """Walk a list; see Driver."""
        cursor = ""
        while True:
            items, cursor = self.drive(paged.page(cursor))
            yield from items
            if not cursor:
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Areas[Awaited]):
    """Talks to the API in asyncio; every method of Client is awaited here.

    `async with AsyncClient(url, key) as client: await client.events.send({...})`
    """

    _http: httpx.AsyncClient

    def _connect(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)

    async def drive(self, steps: Steps[T]) -> T:
        """Do steps; see Driver."""
        reply: Reply = None
        try:
            while True:
                step = steps.send(reply)
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    reply = None
                else:
                    reply = await self._reply(step.request)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _reply(self, request: Request) -> Reply:
        try:
            return await self._http.send(self._prepared(request))
        except httpx.TransportError as error:
            return error

    async def iterate(self, paged: Paged[T]) -> AsyncIterator[T]:
        """Walk a list; see Driver."""
        cursor = ""
        while True:
            items, cursor = await self.drive(paged.page(cursor))
            for one in items:
                yield one
            if not cursor:
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
