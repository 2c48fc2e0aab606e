"""The base of the client's areas: a method is written once and works in both clients.

A method of an area gives steps; `@method` makes of it one that is done at once in `Client`, and
awaited in `AsyncClient`, with the same types. `@listing` does so for lists.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from api.client.core import JSON, Core, Paged, Request, Steps, decoded, json_body

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M")


class Blocking:
    """Marks the areas of Client."""


class Awaited:
    """Marks the areas of AsyncClient."""


class Driver(Protocol):
    """Does steps: at once, or as something to be awaited."""

    def drive(self, steps: Steps[Any]) -> Any:
        """Give what the steps give."""
        ...

    def iterate(self, paged: Paged[Any]) -> Any:
        """Give an iterator over all items."""
        ...


class Area(Generic[M]):
    """Methods about one kind of thing."""

    def __init__(self, core: Core, driver: Driver) -> None:
        self._core = core
        self._driver = driver

    def _ask(
        self,
        verb: str,
        path: str,
        kind: type[T],
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Steps[T]:
        """Send a request and read its answer as JSON of a kind; `type(None)` for no answer."""
        content = None if body is None else json_body(body)
        sent = {"Content-Type": JSON} if content is not None else {}
        request = Request(verb, path, params, content, {**sent, **(headers or {})})
        answer = yield from self._core.ask(request)
        if kind is type(None):
            return None
        return decoded(answer, kind)

    def _paged(
        self, path: str, kind: type[T], *, params: Mapping[str, Any] | None = None
    ) -> Paged[T]:
        return Paged(self._core, Request("GET", path, params), kind)


class method(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that both clients have."""

    def __init__(self, build: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._build = build
        update_wrapper(self, build)  # type: ignore[arg-type]  # help() shows the method's own words

    @overload
    def __get__(self, area: None, owner: Any) -> "method[P, T]": ...
    @overload
    def __get__(self, area: Area[Blocking], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(self, area: Area[Awaited], owner: Any) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, area: Any, owner: Any) -> Any:
        """Bind it to an area."""
        if area is None:
            return self

        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return area._driver.drive(self._build(area, *args, **kwargs))  # noqa: SLF001 - its own

        return update_wrapper(bound, self._build)


class listing(Generic[P, T]):  # noqa: N801 - a decorator
    """A list that both clients have, fetched page by page while it is walked."""

    def __init__(self, build: Callable[Concatenate[Any, P], Paged[T]]) -> None:
        self._build = build
        update_wrapper(self, build)  # type: ignore[arg-type]  # as above

    @overload
    def __get__(self, area: None, owner: Any) -> "listing[P, T]": ...
    @overload
    def __get__(self, area: Area[Blocking], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, area: Area[Awaited], owner: Any) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, area: Any, owner: Any) -> Any:
        """Bind it to an area."""
        if area is None:
            return self

        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return area._driver.iterate(self._build(area, *args, **kwargs))  # noqa: SLF001 - its own

        return update_wrapper(bound, self._build)
