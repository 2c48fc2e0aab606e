"""What a request did, for the audit log."""

from typing import Any, NamedTuple, Protocol

from fastapi import Request

from schemas.access import Principal


class Deed(NamedTuple):
    """One mutating call that was answered, or refused.

    action: method and route, such as "PUT /v1/users/{user_id}". target: what it was about.
    before, after: digests of what was there and what is, "" where there is nothing to compare.
    """

    principal: Principal
    action: str
    target: str
    status: int
    address: str
    user_agent: str
    request_id: str
    before: str
    after: str


class AuditTrail(Protocol):
    """Keeps deeds for good."""

    async def keep(self, deed: Deed) -> None:
        """Return once it is kept. Raises NotTakenError."""
        ...

    def count(self, deed: Deed, items: int) -> None:
        """Count calls too many to keep one by one, such as events: kept as sums by the minute."""
        ...

    def used(self, principal: Principal, address: str, user_agent: str) -> None:
        """Note that a credential was used from an address: the first time in an hour is kept."""
        ...

    def refused(self, address: str) -> None:
        """Count a credential that proved nobody, by its address."""
        ...

    def start(self) -> None:
        """Begin to put out what is counted, in the running event loop."""
        ...

    async def stop(self) -> None:
        """Put out what is left, and end."""
        ...


def note(request: Request, *, target: str = "", before: Any = None, after: Any = None) -> None:
    """Say what this request is about; digests are made of before and after. Call it in a route."""
    request.state.audit = (target, before, after)


def address_of(request: Request) -> str:
    """Give the client's address, "" when there is none, as on a Unix socket."""
    return request.client.host if request.client is not None else ""
